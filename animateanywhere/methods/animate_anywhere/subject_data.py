"""The data of one-shot learning: the clip, encoded once, and batches drawn from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from animateanywhere.backbones.base import Base, encode_text, token_ids
from animateanywhere.backbones.personal_weights import add_token
from animateanywhere.backbones.vae import latent_count, whole_clip
from animateanywhere.datasets.subject import Subject
from animateanywhere.methods.animate_anywhere.batch import Batch
from animateanywhere.methods.animate_anywhere.encoded_clip import encode_clip
from animateanywhere.methods.animate_anywhere.prior_preservation import PriorData
from animateanywhere.methods.animate_anywhere.settings import Recipe, Stage
from animateanywhere.preprocessing.captions import template as caption
from animateanywhere.preprocessing.crop import crop_frames, crop_keypoints

STARTS = 4  # clips in each placement, if the VAE compresses time


@dataclass(frozen=True)
class Clips:
    """P encoded clips of F frames (latents) of the subject; pictures are clips of one frame."""

    latents: Tensor  # (P, F, C, h, w)
    poses: Tensor  # (P, F, C, h, w)
    masks: Tensor  # (P, F, 1, h, w) in [0, 1], soft
    captions: list[str]
    tokens: Tensor  # (P, T) in {-1, 0, 1}


@dataclass(frozen=True)
class SubjectData:
    """The subject, encoded: N frames in V placements, the first as filmed.

    If the base's VAE compresses time (`backbones.vae`), these are pictures, and the clips for the
    motion stage are encoded separately.
    """

    latents: Tensor  # (V, N, C, h, w)
    poses: Tensor  # (V, N, C, h, w)
    masks: Tensor  # (V, N, 1, h, w) in [0, 1], soft
    captions: list[str]
    tokens: Tensor  # (N, T) in {-1, 0, 1}
    token: str
    token_index: int | None  # row of the text encoder's embedding; None if no token is learned
    clips: Clips | None = None  # if the VAE compresses time


def encode_subject(
    model: Base, subject: Subject, token: str, settings: Recipe, length: int = 1
) -> SubjectData:
    """Encode a clip in all placements, and add the token to the base.

    length: frames of the clips for the motion stage.
    """
    index = new_token(model, token, subject.class_word) if model.family.learns_tokens else None
    placements = settings.extras.placements
    encoded = [encode_clip(model, placed(subject, number)) for number in range(placements)]
    word, appearance = subject.class_word, settings.extras.appearance
    texts = subject.captions
    if settings.personal.captions == "plain":
        texts = [f"a <token> {word}"] * len(texts)
    texts = [caption.with_appearance(text, "<token>", word, appearance) for text in texts]
    captions = [text.replace("<token>", token) for text in texts]
    person, scenes = [token, word, appearance], [subject.scene or ""]
    tokens = token_regions(model, captions, person, scenes)
    clips = None
    if model.packs_clips and settings.stages("motion"):
        clips = _clips(model, subject, captions, tokens, placements, length)
    latents, poses, masks = (torch.stack(part) for part in zip(*encoded, strict=True))
    return SubjectData(latents, poses, masks, captions, tokens, token, index, clips)


def new_token(model: Base, token: str, class_word: str) -> int:
    """Add a token to a base that learns tokens; return its id.

    Its embedding is initialized halfway between the class word and a random word.
    """
    index = add_token(model, token)
    table = model.text_encoder.get_input_embeddings().weight
    words = model.tokenizer(class_word, add_special_tokens=False).input_ids
    with torch.no_grad():
        rare = torch.randn(table.shape[1], generator=torch.Generator().manual_seed(0)).to(table)
        rare = table[:index].mean(0) + table[:index].std(0) * rare
        table[index] = (table[words].mean(0) + rare) / 2**0.5
    return index


def _clips(
    model: Base, subject: Subject, captions: list[str], tokens: Tensor, placements: int, length: int
) -> Clips:
    """Encode clips of the subject from several starts in each placement. A part of an encoded clip
    would not do, since each latent depends on the frames before."""
    length = whole_clip(min(length, len(subject.frames)), model.packed)
    starts = np.unique(np.linspace(0, len(subject.frames) - length, STARTS).astype(int)).tolist()
    encoded = [
        encode_clip(model, placed(subject.take(range(start, start + length)), number), video=True)
        for number in range(placements)
        for start in starts
    ]
    latents, poses, masks = (torch.stack(part) for part in zip(*encoded, strict=True))
    texts = [captions[start] for start in starts] * placements
    return Clips(latents, poses, masks, texts, tokens[starts].repeat(placements, 1))


def placed(subject: Subject, number: int) -> Subject:
    """Placement augmentation: the clip with the person smaller and shifted in the frame, by random
    amounts for each `number`; 0 is the clip as filmed. Ours, not the paper's.

    Driving motions have other places and sizes than the filmed person, and an appearance learned at
    only one is reproduced less well at others. The frame is extended by its edge pixels, which is
    possible since eq. 1 weakens the background.
    """
    if number == 0:
        return subject
    size = subject.size
    sides = np.array(size)
    rng = np.random.default_rng(number)
    room = sides // 2
    around = sides * rng.uniform(1.0, 1.6)  # of the frame, as far as it is shown
    middle = sides / 2 + room + rng.uniform(-0.5, 0.5, 2) * (around - 0.8 * sides)
    where = np.tile([*middle, around[1]], (len(subject.frames), 1))
    border = ((0, 0), (room[1],) * 2, (room[0],) * 2)
    masks = np.pad((subject.masks * 255).astype(np.uint8), border)
    keypoints = subject.keypoints + np.array([*room, 0], np.float32)
    return replace(
        subject,
        frames=crop_frames(np.pad(subject.frames, (*border, (0, 0)), mode="edge"), where, size),
        masks=crop_frames(masks, where, size).astype(np.float32) / 255,
        keypoints=crop_keypoints(keypoints, where, size),
    )


def token_regions(model: Base, captions: list[str], person: list[str], scenes: list[str]) -> Tensor:
    """The regions of the tokens of N captions, (N, T): +1 in words for the person, -1 in words for
    a scene, 0 in all others.

    person, scenes: words or phrases; empty ones are ignored.
    """
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
    subject: SubjectData | Clips,
    prior: PriorData | None,
    settings: Recipe,
    text_learns: bool,
    augmented: Clips | None = None,
) -> Callable[[torch.Generator], Batch]:
    """A function that draws a batch with a random generator: subject rows, then regularization
    rows, of `stage.frames` frames each.

    prior: None only if the stage has no regularization rows.
    text_learns: the token or the text encoder is trained, so text states are encoded in each step
    and not once. augmented: the subject in front of synthetic backgrounds, for a share of its rows.
    Captions are dropped (`stage.dropout`) from regularization rows only: if the empty prompt
    learned the subject as well, guidance would push away from the person.
    """
    frames = latent_count(stage.frames, model.packed)
    others = [some for some in (prior, augmented) if some is not None]
    frames = min(frames, *(some.latents.shape[1] for some in (subject, *others)))
    share = settings.extras.background_augmentation
    # alpha is inside the norm of eq. 1
    filmed = settings.loss.alpha**2 if settings.loss.weaken else 1.0
    synthetic = max(settings.extras.background_weight, filmed)

    def starts(some: SubjectData | Clips | PriorData) -> int:
        """How many starts a row may have within a clip: only one if the VAE compresses time, since
        the first latent of a clip differs from others."""
        if model.packs_clips and not isinstance(some, SubjectData):
            return 1
        return some.latents.shape[1] - frames + 1

    def encode(captions: list[str]) -> dict[str, Tensor]:
        unique = sorted(set(captions))
        return dict(zip(unique, encode_text(model, unique), strict=True))

    with torch.no_grad():
        captions = (caption for some in others for caption in some.captions)
        fixed = encode(["", *subject.captions, *captions])

    def draw_rows(generator: torch.Generator) -> Batch:
        def pick(most: int) -> int:
            return int(torch.randint(most, (), generator=generator))

        rows: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []  # latents, poses, mask, tokens
        captions, background, weight = [], [], []
        for _ in range(stage.batch):
            some = subject
            if augmented and float(torch.rand((), generator=generator)) < share:
                some = augmented
            clip, start = pick(len(some.latents)), pick(starts(some))
            cut = clip, slice(start, start + frames)
            index = start if isinstance(some, SubjectData) else clip  # captions of frames or clips
            rows.append((some.latents[cut], some.poses[cut], some.masks[cut], some.tokens[index]))
            captions.append(some.captions[index])
            background.append(filmed if some is subject else synthetic)
            weight.append(1.0)
        neutral = torch.full_like(rows[0][2], 0.5)
        for _ in range(stage.prior_batch):
            assert prior is not None
            clip, start = pick(len(prior.latents)), pick(starts(prior))
            cut = clip, slice(start, start + frames)
            rows.append(
                (prior.latents[cut], prior.poses[cut], neutral, torch.zeros_like(rows[0][3]))
            )
            dropped = float(torch.rand((), generator=generator)) < stage.dropout
            captions.append("" if dropped else prior.captions[clip])
            background.append(1.0)
            weight.append(settings.loss.prior_weight)
        latents, poses, masks, tokens = (torch.stack(part) for part in zip(*rows, strict=True))
        states = encode(captions) if text_learns else fixed
        text = torch.stack([states[caption] for caption in captions])
        backgrounds = torch.tensor(background).to(masks)  # (B,)
        weights = torch.tensor(weight).to(masks)
        return Batch(latents, poses, text, masks, tokens, backgrounds, weights)

    return draw_rows
