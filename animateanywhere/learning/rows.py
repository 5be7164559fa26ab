"""What a person is learned from: the subject's rows, encoded once, and regularization rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from animateanywhere.batch import Batch, Subject
from animateanywhere.data.skeleton import draw
from animateanywhere.extraction import caption
from animateanywhere.extraction.crop import cut, move
from animateanywhere.learning.regularize import Regular
from animateanywhere.models.base import Base, encode_frames, encode_poses, encode_text, token_ids
from animateanywhere.models.personal import add_token
from animateanywhere.recipe import Personal, Stage


@dataclass(frozen=True)
class Elsewhere:
    """P clips of F frames of the subject in other places; pictures are clips of one."""

    latents: Tensor  # (P, F, C, h, w)
    poses: Tensor  # (P, F, C, h, w)
    masks: Tensor  # (P, F, 1, h, w) in [0, 1], soft
    captions: list[str]
    tokens: Tensor  # (P, T) in {-1, 0, 1}


@dataclass(frozen=True)
class Rows:
    """The subject, encoded once: N frames in V views, as filmed and moved about in the frame."""

    latents: Tensor  # (V, N, C, h, w)
    poses: Tensor  # (V, N, C, h, w)
    masks: Tensor  # (V, N, 1, h, w) in [0, 1], soft
    captions: list[str]
    tokens: Tensor  # (N, T) in {-1, 0, 1}
    token: str
    token_index: int


def encode_subject(model: Base, subject: Subject, token: str, personal: Personal) -> Rows:
    """Latents, pose latents, masks at latent size (area averages) and token regions of a clip.

    personal: how many views, and the style of the captions.
    """
    index = add_token(model, token)
    table: Any = model.text_encoder.get_input_embeddings().weight
    words = model.tokenizer(subject.class_word, add_special_tokens=False).input_ids
    with torch.no_grad():  # the new word starts as something rare of the class
        rare = torch.randn(table.shape[1], generator=torch.Generator().manual_seed(0)).to(table)
        rare = table[:index].mean(0) + table[:index].std(0) * rare
        table[index] = (table[words].mean(0) + rare) / 2**0.5
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
    texts = [caption.with_looks(text, "<token>", word, looks) for text in texts]
    captions = [text.replace("<token>", token) for text in texts]
    person, scenes = [token, word, looks], [subject.scene or ""]
    return Rows(
        torch.stack(latents), torch.stack(poses), torch.stack(masks),
        captions, token_regions(model, captions, person, scenes), token, index,
    )  # fmt: skip


def latent_masks(masks: np.ndarray, latents: Tensor) -> Tensor:
    """Masks (N, H, W) at the size of latents (N, C, h, w): the share of each that the person
    covers, (N, 1, h, w)."""
    fine = torch.from_numpy(masks)[:, None].to(latents)  # (N, 1, H, W)
    return F.interpolate(fine, latents.shape[-2:], mode="area")


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
        frames=cut(np.pad(subject.frames, (*around, (0, 0)), mode="edge"), where, size),
        masks=cut(masks, where, size).astype(np.float32) / 255,
        keypoints=move(keypoints, where, size),
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
    return regions.to(model.unet.device)


def batches(
    model: Base,
    stage: Stage,
    rows: Rows,
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
    frames = min(stage.frames, rows.latents.shape[1], regular.latents.shape[1])

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
            start = pick(some.latents.shape[1] - frames + 1)
            latents.append(some.latents[clip, start : start + frames])
            poses.append(some.poses[clip, start : start + frames])
            masks.append(some.masks[clip, start : start + frames])
            said = start if some is rows else clip  # a caption a frame as filmed, one a clip else
            captions.append(some.captions[said])
            tokens.append(some.tokens[said])
            made.append(some is elsewhere)
        for _ in range(stage.regular_batch):
            clip = pick(len(regular.latents))
            start = pick(regular.latents.shape[1] - frames + 1)
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
