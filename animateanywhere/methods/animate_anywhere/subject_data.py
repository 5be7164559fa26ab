"""What a person is learned from: the subject's rows, encoded once, and regularization rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from animateanywhere.backbones.base import Base, encode_poses, encode_text, token_ids
from animateanywhere.backbones.personal_weights import add_token
from animateanywhere.backbones.vae import each_clip, encode_frames, latent_count, whole_clip
from animateanywhere.datasets.subject import Subject
from animateanywhere.methods.animate_anywhere.batch import Batch
from animateanywhere.methods.animate_anywhere.prior_preservation import Regular
from animateanywhere.methods.animate_anywhere.settings import Personal
from animateanywhere.pose.skeleton import draw
from animateanywhere.preprocessing.captions import template as caption
from animateanywhere.preprocessing.crop import crop_frames, crop_keypoints
from animateanywhere.training.stage import Stage

STARTS = 4  # of clips in each view, where a clip is something else than its frames


@dataclass(frozen=True)
class Elsewhere:
    """P clips of F frames of the subject, in other places; pictures are clips of one."""

    latents: Tensor  # (P, F, C, h, w)
    poses: Tensor  # (P, F, C, h, w)
    masks: Tensor  # (P, F, 1, h, w) in [0, 1], soft
    captions: list[str]
    tokens: Tensor  # (P, T) in {-1, 0, 1}


@dataclass(frozen=True)
class Rows:
    """The subject, encoded once: N frames in V views, as filmed and moved about in the frame.

    Of a base whose VAE packs time (`backbones.vae`) these are pictures, and what clips are learned
    from is encoded apart.
    """

    latents: Tensor  # (V, N, C, h, w)
    poses: Tensor  # (V, N, C, h, w)
    masks: Tensor  # (V, N, 1, h, w) in [0, 1], soft
    captions: list[str]
    tokens: Tensor  # (N, T) in {-1, 0, 1}
    token: str
    token_index: int | None  # of its row, where the base learns words
    clips: Elsewhere | None = None  # as filmed, for a base whose VAE packs time


def encode_subject(
    model: Base, subject: Subject, token: str, personal: Personal, length: int = 1
) -> Rows:
    """Latents, pose latents, masks at latent size (area averages) and token regions of a clip.

    personal: how many views, and the style of the captions. length: frames of the clips that the
    motion stage learns from.
    """
    index = new_word(model, token, subject.class_word) if model.learns_words else None
    latents, poses, masks = [], [], []
    for view in range(personal.views):
        seen = moved(subject, view) if view else subject
        latents.append(encode_frames(model.vae, seen.frames))  # (N, C, h, w)
        skeletons = draw(seen.keypoints, *seen.frames.shape[1:3])
        poses.append(encode_poses(model, skeletons))
        masks.append(latent_masks(seen.masks, latents[0]))
    word, looks = subject.class_word, personal.looks
    texts = subject.captions
    if personal.captions == "plain":
        texts = [f"a <token> {word}"] * len(texts)
    texts = [caption.with_appearance(text, "<token>", word, looks) for text in texts]
    captions = [text.replace("<token>", token) for text in texts]
    person, scenes = [token, word, looks], [subject.scene or ""]
    tokens = token_regions(model, captions, person, scenes)
    clips = None
    if model.packed > 1:
        clips = _clips(model, subject, captions, tokens, personal.views, length)
    return Rows(
        torch.stack(latents), torch.stack(poses), torch.stack(masks), captions, tokens, token,
        index, clips,
    )  # fmt: skip


def new_word(model: Base, token: str, class_word: str) -> int:
    """Add a token to a base that learns words, as something rare of the class; return its id."""
    index = add_token(model, token)
    table: Any = model.text_encoder.get_input_embeddings().weight
    words = model.tokenizer(class_word, add_special_tokens=False).input_ids
    with torch.no_grad():
        rare = torch.randn(table.shape[1], generator=torch.Generator().manual_seed(0)).to(table)
        rare = table[:index].mean(0) + table[:index].std(0) * rare
        table[index] = (table[words].mean(0) + rare) / 2**0.5
    return index


def _clips(
    model: Base, subject: Subject, captions: list[str], tokens: Tensor, views: int, length: int
) -> Elsewhere:
    """Clips of the subject from several starts in each view, each encoded on its own: of latents
    that know what came before them none is the first."""
    length = whole_clip(min(length, len(subject.frames)), model.packed)
    starts = np.linspace(0, len(subject.frames) - length, STARTS).astype(int)
    starts = np.unique(starts).tolist()
    parts = [
        moved(part, view) if view else part
        for view in range(views)
        for part in [subject.take(range(start, start + length)) for start in starts]
    ]
    frames = np.stack([part.frames for part in parts])  # (P, F, H, W, 3)
    latents = each_clip(partial(encode_frames, model.vae), frames)  # (P, T, C, h, w)
    skeletons = np.stack([draw(part.keypoints, *frames.shape[2:4]) for part in parts])
    poses = each_clip(partial(encode_poses, model), skeletons)
    masks = torch.stack([latent_masks(part.masks, latents[0]) for part in parts])
    said = [captions[start] for start in starts] * views
    return Elsewhere(latents, poses, masks, said, tokens[starts].repeat(views, 1))


def latent_masks(masks: np.ndarray, latents: Tensor) -> Tensor:
    """Masks (N, H, W) at the size of latents (T, C, h, w): the share of each that the person
    covers, (T, 1, h, w). Where fewer latents hold a clip, the first holds its first frame."""
    fine = torch.from_numpy(masks)[:, None].to(latents)  # (N, 1, H, W)
    small = F.interpolate(fine, latents.shape[-2:], mode="area")
    if len(small) == len(latents):
        return small
    rest = small[1:].unflatten(0, (len(latents) - 1, -1)).mean(1)
    return torch.cat([small[:1], rest])


def moved(subject: Subject, number: int) -> Subject:
    """The same clip smaller and elsewhere in the frame, another way for each `number`.

    Driving people stand elsewhere than the filmed one, and a look learned at one size and place
    only fades away from there. Eq. 1 allows it: around the person lies repeated edge, and the
    background hardly counts. Ours.
    """
    size = subject.frames.shape[1]
    rng = np.random.default_rng(number)
    room = size // 2
    side = size * rng.uniform(1.0, 1.6)
    middle = size / 2 + room + rng.uniform(-0.5, 0.5, 2) * (side - 0.8 * size)
    where = np.tile([*middle, side], (len(subject.frames), 1))
    around = ((0, 0), (room, room), (room, room))
    masks = np.pad((subject.masks * 255).astype(np.uint8), around)
    keypoints = subject.keypoints + np.array([room, room, 0], np.float32)
    return replace(
        subject,
        frames=crop_frames(np.pad(subject.frames, (*around, (0, 0)), mode="edge"), where, size),
        masks=crop_frames(masks, where, size).astype(np.float32) / 255,
        keypoints=crop_keypoints(keypoints, where, size),
    )


def token_regions(model: Base, captions: list[str], person: list[str], scenes: list[str]) -> Tensor:
    """(N, T): +1 for the words of the person, −1 for those of a scene, 0 for all others."""
    ids = token_ids(model.tokenizer, captions)
    regions = torch.zeros(ids.shape)
    for words, value in (([scene.strip().rstrip(".") for scene in scenes], -1.0), (person, 1.0)):
        for word in filter(None, words):
            piece = torch.tensor(model.tokenizer(word, add_special_tokens=False).input_ids)
            for start in range(ids.shape[1] - len(piece) + 1):
                found = (ids[:, start : start + len(piece)] == piece).all(1)  # (N,)
                regions[found, start : start + len(piece)] = value
    return regions.to(model.vae.device)


def batches(
    model: Base,
    stage: Stage,
    rows: Rows | Elsewhere,
    regular: Regular,
    text_learns: bool,
    elsewhere: Elsewhere | None = None,
    share: float = 0.0,
) -> Callable[[torch.Generator], Batch]:
    """Draw subject rows, then regularization rows, of `stage.frames` frames each.

    Text states are encoded once, unless the token or the text encoder is still learning.
    share: of the subject's rows that show it elsewhere. Captions are dropped (`stage.dropout`)
    from regularization rows only: did the empty prompt learn the subject as well, guidance would
    push away from the person.
    """
    frames = latent_count(stage.frames, model.packed)
    frames = min(frames, rows.latents.shape[1], regular.latents.shape[1])

    def starts(some: Any) -> int:
        """Where a row may begin: latents of packed time are the first but at their clip's start."""
        if model.packed > 1 and not isinstance(some, Rows):
            return 1
        return some.latents.shape[1] - frames + 1

    def encode(captions: list[str]) -> dict[str, Tensor]:
        unique = sorted(set(captions))
        return dict(zip(unique, encode_text(model, unique), strict=True))

    with torch.no_grad():
        others = elsewhere.captions if elsewhere else []
        fixed = encode(["", *rows.captions, *others, *regular.captions])

    def draw_rows(generator: torch.Generator) -> Batch:
        def pick(most: int) -> int:
            return int(torch.randint(most, (), generator=generator))

        latents, poses, masks, tokens, captions, made = [], [], [], [], [], []
        for _ in range(stage.batch):
            some: Any = rows
            if elsewhere and float(torch.rand((), generator=generator)) < share:
                some = elsewhere
            clip = pick(len(some.latents))
            start = pick(starts(some))
            latents.append(some.latents[clip, start : start + frames])
            poses.append(some.poses[clip, start : start + frames])
            masks.append(some.masks[clip, start : start + frames])
            said = start if isinstance(some, Rows) else clip  # a caption a frame, or one a clip
            captions.append(some.captions[said])
            tokens.append(some.tokens[said])
            made.append(some is not rows)
        for _ in range(stage.regular_batch):
            clip = pick(len(regular.latents))
            start = pick(starts(regular))
            latents.append(regular.latents[clip, start : start + frames])
            poses.append(regular.poses[clip, start : start + frames])
            masks.append(torch.ones_like(masks[0]))
            tokens.append(torch.zeros_like(tokens[0]))
            dropped = float(torch.rand((), generator=generator)) < stage.dropout
            captions.append("" if dropped else regular.captions[clip])
        states = encode(captions) if text_learns else fixed
        text = [states[caption] for caption in captions]
        made += [False] * stage.regular_batch
        device = latents[0].device
        return Batch(
            torch.stack(latents), torch.stack(poses), torch.stack(text), torch.stack(masks),
            torch.stack(tokens), torch.arange(len(latents), device=device) >= stage.batch,
            made=torch.tensor(made, device=device),
        )  # fmt: skip

    return draw_rows
