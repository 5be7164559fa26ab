"""Validation scores during learning, on held-out frames and in scenes that were not filmed.

They need no ground truth and no further network, so they work offline, for real people, and on any
base: videos generated with the current weights are compared with the clip, and with what the
original base generates from the same poses, noise and prompts without the token. Ours.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from torch import Tensor, nn

from animateanywhere import metrics
from animateanywhere.backbones.base import Base
from animateanywhere.backbones.low_memory import room_for_vae
from animateanywhere.backbones.vae import decode_latents, whole_clip
from animateanywhere.core.messages import progress
from animateanywhere.datasets.subject import Subject
from animateanywhere.methods.animate_anywhere import method
from animateanywhere.methods.animate_anywhere.encoded_clip import encode_skeletons
from animateanywhere.methods.animate_anywhere.generation import Sampling, render_latents
from animateanywhere.methods.animate_anywhere.scores import PARTS
from animateanywhere.methods.animate_anywhere.settings import Recipe
from animateanywhere.methods.animate_anywhere.subject_data import placed
from animateanywhere.metrics.arrays import evenly_spaced
from animateanywhere.preprocessing.captions.template import with_appearance

# Several, since learning may degrade single ones; the first four that the captions do not name
SCENES = ("on a beach", "in a forest", "in the snow", "in a room", "on a street")
FEW = 12  # no frames of a clip with fewer frames are held out
CLIP = 4  # frames of each generated clip
PLACEMENT = 101  # number for `placed`: a place and size in the frame that training does not use
SEED = 5  # of the noise


@dataclass(frozen=True)
class Case:
    """F frames to generate, and the filmed person in the same poses."""

    prompt: str  # "a sks man on a beach"
    plain: str  # "a man on a beach": for the original base
    other_scene: bool  # whether the scene differs from the clip's
    poses: Tensor  # (F, *pose_shape)
    frames: NDArray  # (F, H, W, 3) uint8
    masks: NDArray  # (F, H, W) float32 in [0, 1]
    held: NDArray  # (F,) bool: the frames on which identity is measured, held out if possible


@dataclass(frozen=True)
class Validation:
    """The data that a stage is scored with."""

    cases: tuple[Case, ...]
    base: tuple[NDArray, ...]  # frames from the original base for each case, (F, H, W, 3) uint8
    frames: NDArray  # (K, H, W, 3) uint8, of the clip: its scene must not leak
    masks: NDArray  # (K, H, W) float32 in [0, 1]


def held_out(count: int) -> list[int]:
    """Indices of the held-out frames of a clip of `count` frames: a few at both ends, so that the
    motion stage still has consecutive frames; none of a short clip, which is scored on frames that
    are trained on."""
    each = min(count // 16, 4) if count >= 16 else int(count >= FEW)
    return [*range(each), *range(count - each, count)]


def learned_part(subject: Subject) -> Subject:
    """The clip without the held-out frames."""
    held = held_out(len(subject.frames))
    return subject.take([i for i in range(len(subject.frames)) if i not in held])


def make_validations(
    model: Base, settings: Recipe, subject: Subject, token: str
) -> dict[str, Validation]:
    """The validation of each stage that learns a person, by its name; to be called before any
    training, since it generates with the original base."""
    stages = settings.personal_stages
    validations = {}
    # Building a motion UNet draws random numbers
    with torch.random.fork_rng([]), progress("reference pictures for scoring", len(stages)) as bar:
        for stage in stages:
            video = stage.kind == "motion"
            unet = method.build(model, replace(settings.loss, guide=False), video).eval()
            steps = settings.extras.selection_steps
            words = settings.extras.appearance
            validations[stage.name] = make_validation(
                model, unet, subject, token, steps, video, words
            )
            bar.advance(1)
    return validations


def make_validation(
    model: Base, unet: nn.Module, subject: Subject, token: str, steps: int, video: bool,
    appearance: str = "",
) -> Validation:  # fmt: skip
    """The validation of one stage. subject: the whole clip, with held-out frames.

    For images, the cases are pictures in the filmed scene, and in four others with another
    placement; for clips (`video`), three of the latter. unet: the original base's network for
    images or clips. steps: denoising steps. appearance: words for the person in every prompt.
    """
    count = len(subject.frames)
    held = held_out(count) or evenly_spaced(count, 4).tolist()
    words = " ".join(subject.captions)
    scenes = [scene for scene in SCENES if scene.split()[-1] not in words][:4]
    if video:  # at the ends of the clip, which contain the held-out frames
        length = min(max(CLIP, model.packed + 1), int(model.config["frames"]), count)
        length = whole_clip(length, model.packed)
        ends = list(range(length)), list(range(count - length, count))
        plan = [(ends[n % 2], scene) for n, scene in enumerate(scenes[:3])]
    else:
        filmed = [held[0], held[-1]]  # a VAE that compresses time would encode both as one clip
        plan = [
            *((some, "") for some in ([[at] for at in filmed] if model.packs_clips else [filmed])),
            *(([held[n % len(held)]], scene) for n, scene in enumerate(scenes)),
        ]
    moved = placed(subject, PLACEMENT)
    cases = []
    for window, scene in plan:
        shown = (moved if scene else subject).take(window)
        text = f"a <token> {subject.class_word} {scene}" if scene else shown.captions[0]
        text = with_appearance(text, "<token>", subject.class_word, appearance)
        known = np.isin(window, held)
        cases.append(Case(
            text.replace("<token>", token), text.replace("<token> ", ""), bool(scene),
            _poses(model, unet, shown, video), shown.frames, shown.masks,
            known if known.any() else np.ones_like(known),
        ))  # fmt: skip
    some = evenly_spaced(count, 4)
    originals = generate(model, unet, cases, [case.plain for case in cases], steps)
    return Validation(tuple(cases), originals, subject.frames[some], subject.masks[some])


def _poses(model: Base, unet: nn.Module, shown: Subject, video: bool) -> Tensor:
    with room_for_vae(model, unet):
        return encode_skeletons(model, shown.keypoints, video)


def generate(
    model: Base, unet: nn.Module, cases: Sequence[Case], prompts: Sequence[str], steps: int
) -> tuple[NDArray, ...]:
    """Generate frames (F, H, W, 3) uint8 for each case, from the same noise in each call."""
    with progress("validation samples", total=len(cases) * steps) as bar:
        latents = [
            render_latents(
                model, unet, prompt, case.poses, SEED, Sampling(steps=steps), lambda: bar.advance(1)
            )
            for case, prompt in zip(cases, prompts, strict=True)
        ]
    with room_for_vae(model, unet):
        return tuple(
            decode_latents(model.vae, some, clip=len(case.frames) > 1)
            for case, some in zip(cases, latents, strict=True)
        )


def score(validation: Validation, generated: Sequence[NDArray]) -> dict[str, float]:
    """Score generated frames, (F, H, W, 3) uint8 for each case; lower is better.

    identity: color error of the person on the held-out frames, in the filmed scene and in others,
    relative to that of the original base; 1 is as far from the person as anyone of the class.
    scene: distance of the other scenes from those of the original base, relative to the distance
    between two different scenes. leak: of the clip's scene into the others, see `metrics.leak`,
    0..1. score: their sum, weighted by `PARTS`. Scene and leak are NaN, and left out of the sum, if
    no background is visible, as in a close-up; the score is NaN if the person is not visible.
    """
    cases = validation.cases
    error = [person_error(case, frames) for case, frames in zip(cases, generated, strict=True)]
    reference = [
        person_error(case, frames) for case, frames in zip(cases, validation.base, strict=True)
    ]
    others = [i for i, case in enumerate(cases) if case.other_scene]
    masks = {i: around(cases[i].masks) for i in others}

    def distance(a: Sequence[NDArray], i: int, b: Sequence[NDArray], j: int) -> float:
        pairs = zip(a[i], masks[i], b[j], masks[j], strict=True)
        return float(np.mean([metrics.scene_distance(*pair) for pair in pairs]))

    base = validation.base
    drift = [distance(generated, i, base, i) for i in others]
    between = [distance(base, i, base, j) for i, j in combinations(others, 2)]
    covered = np.concatenate([masks[i] for i in others])
    with warnings.catch_warnings():  # of means of nothing
        warnings.simplefilter("ignore", RuntimeWarning)
        leak = metrics.leak(
            np.concatenate([generated[i] for i in others]), covered,
            validation.frames, around(validation.masks),
            np.concatenate([base[i] for i in others]), covered, max_frames=8,
        )  # fmt: skip
    parts = {
        "identity": _ratio(error, reference), "scene": _ratio(drift, between), "leak": leak
    }  # fmt: skip
    known = (PARTS[n] * v for n, v in parts.items() if n == "identity" or math.isfinite(v))
    return parts | {"score": sum(known)}


def person_error(case: Case, generated: NDArray) -> float:
    """Color error (CIEDE2000) of the person in generated frames (F, H, W, 3), averaged over the
    upper, middle and lower third of the held-out frames."""
    thirds = np.stack([_thirds(mask) for mask in case.masks[case.held]])
    names, frames = ("background", "upper", "middle", "lower"), case.frames[case.held]
    return metrics.person_delta_e(generated[case.held], frames, thirds, names)["mean"]


def _thirds(mask: NDArray) -> NDArray:
    """Labels (H, W) uint8 of a mask (H, W): 1, 2, 3 in the thirds of the person's height, 0
    outside."""
    person = mask > 0.5
    rows = np.flatnonzero(person.any(1))
    if not len(rows):
        return person.astype(np.uint8)
    third = 1 + 3 * (np.arange(len(mask)) - rows[0]) // (np.ptp(rows) + 1)
    return np.where(person, third[:, None], 0).astype(np.uint8)


def around(masks: NDArray) -> NDArray:
    """Masks (F, H, W), binarized and dilated to allow for a somewhat larger person; float32."""
    room = max(masks.shape[1] // 24, 1)
    return np.stack([binary_dilation(m > 0.5, iterations=room) for m in masks]).astype(np.float32)


def _ratio(values: Sequence[float], units: Sequence[float]) -> float:
    """Mean of the values relative to that of the units, ignoring NaN."""
    unit = np.nanmean(units) if np.isfinite(units).any() else np.nan
    return float(np.nanmean(values) / unit) if np.isfinite(values).any() and unit else math.nan
