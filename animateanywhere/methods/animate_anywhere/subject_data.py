"""What a person is learned from: the clip, encoded once, and batches drawn from it."""

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

STARTS = 4  # of clips in each placement, where a clip is something else than its frames


@dataclass(frozen=True)
class Clips:
    """P clips of F frames of the subject; pictures are clips of one."""

    latents: Tensor  # (P, F, C, h, w)
    poses: Tensor  # (P, F, C, h, w)
    masks: Tensor  # (P, F, 1, h, w) in [0, 1], soft
    captions: list[str]
    tokens: Tensor  # (P, T) in {-1, 0, 1}


@dataclass(frozen=True)
class SubjectData:
    """The subject, encoded once: N frames in V placements, as filmed and elsewhere in the frame.

    Of a base whose VAE packs time (`backbones.vae`) these are pictures, and the clips that the
    motion stage learns from are encoded separately.
    """

    latents: Tensor  # (V, N, C, h, w)
    poses: Tensor  # (V, N, C, h, w)
    masks: Tensor  # (V, N, 1, h, w) in [0, 1], soft
    captions: list[str]
    tokens: Tensor  # (N, T) in {-1, 0, 1}
    token: str
    token_index: int | None  # of its row, where the base learns tokens
    clips: Clips | None = None  # as filmed, for a base whose VAE packs time


def encode_subject(
    model: Base, subject: Subject, token: str, settings: Recipe, length: int = 1
) -> SubjectData:
    """Latents, pose latents, masks and token regions of a clip in all placements.

    length: frames of the clips that the motion stage learns from.
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
    if model.packs_clips:
        clips = _clips(model, subject, captions, tokens, placements, length)
    latents, poses, masks = (torch.stack(part) for part in zip(*encoded, strict=True))
    return SubjectData(latents, poses, masks, captions, tokens, token, index, clips)


def new_token(model: Base, token: str, class_word: str) -> int:
    """Add a token to a base that learns tokens, as something rare of the class; return its id."""
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
    """Clips of the subject from several starts in each placement, each encoded on its own: of
    latents that know what came before them none is the first."""
    length = whole_clip(min(length, len(subject.frames)), model.packed)
    starts = np.unique(np.linspace(0, len(subject.frames) - length, STARTS).astype(int)).tolist()
    encoded = [
        encode_clip(model, placed(subject.take(range(start, start + length)), number), video=True)
        for number in range(placements)
        for start in starts
    ]
    latents, poses, masks = (torch.stack(part) for part in zip(*encoded, strict=True))
    said = [captions[start] for start in starts] * placements
    return Clips(latents, poses, masks, said, tokens[starts].repeat(placements, 1))


def placed(subject: Subject, number: int) -> Subject:
    """Placement augmentation: the same clip smaller and elsewhere in the frame, another way for
    each `number`; 0 as filmed. Ours.

    Driving people stand elsewhere than the filmed one, and an appearance learned at one size and
    place only fades away from there. Eq. 1 allows it: around the person lies repeated edge, and the
    background hardly counts.
    """
    if number == 0:
        return subject
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
    subject: SubjectData | Clips,
    prior: PriorData,
    settings: Recipe,
    text_learns: bool,
    augmented: Clips | None = None,
) -> Callable[[torch.Generator], Batch]:
    """Draw subject rows, then regularization rows, of `stage.frames` frames each.

    augmented: the subject before synthetic backgrounds, for a share of its rows.
    Text states are encoded once, unless the token or the text encoder is still learning. Captions
    are dropped (`stage.dropout`) from regularization rows only: did the empty prompt learn the
    subject as well, guidance would push away from the person.
    """
    frames = latent_count(stage.frames, model.packed)
    frames = min(frames, subject.latents.shape[1], prior.latents.shape[1])
    share = settings.extras.background_augmentation
    # alpha stands inside the norm of eq. 1
    filmed = settings.loss.alpha**2 if settings.loss.weaken else 1.0
    synthetic = max(settings.extras.background_weight, filmed)

    def starts(some: SubjectData | Clips | PriorData) -> int:
        """Where a row may begin: latents of packed time are the first but at their clip's start."""
        if model.packs_clips and not isinstance(some, SubjectData):
            return 1
        return some.latents.shape[1] - frames + 1

    def encode(captions: list[str]) -> dict[str, Tensor]:
        unique = sorted(set(captions))
        return dict(zip(unique, encode_text(model, unique), strict=True))

    with torch.no_grad():
        others = augmented.captions if augmented else []
        fixed = encode(["", *subject.captions, *others, *prior.captions])

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
            said = start if isinstance(some, SubjectData) else clip  # a caption a frame, or a clip
            rows.append((some.latents[cut], some.poses[cut], some.masks[cut], some.tokens[said]))
            captions.append(some.captions[said])
            background.append(filmed if some is subject else synthetic)
            weight.append(1.0)
        neither = torch.full_like(rows[0][2], 0.5)
        for _ in range(stage.prior_batch):
            clip, start = pick(len(prior.latents)), pick(starts(prior))
            cut = clip, slice(start, start + frames)
            rows.append(
                (prior.latents[cut], prior.poses[cut], neither, torch.zeros_like(rows[0][3]))
            )
            dropped = float(torch.rand((), generator=generator)) < stage.dropout
            captions.append("" if dropped else prior.captions[clip])
            background.append(1.0)
            weight.append(settings.loss.prior_weight)
        latents, poses, masks, tokens = (torch.stack(part) for part in zip(*rows, strict=True))
        states = encode(captions) if text_learns else fixed
        text = torch.stack([states[caption] for caption in captions])
        counts = torch.tensor(background).to(masks)  # (B,)
        weights = torch.tensor(weight).to(masks)
        return Batch(latents, poses, text, masks, tokens, counts, weights)

    return draw_rows
