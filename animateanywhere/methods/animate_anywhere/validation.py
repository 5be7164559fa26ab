"""Scores of weights that are being learned, from frames held out and scenes never filmed.

No truth and no other network is needed, so it works offline, for real people, on any base: what
the weights so far generate is held against the clip, and against what the untouched base makes of
the same poses, noise and words without the person's name. Ours.
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
from animateanywhere.methods.animate_anywhere.generation import render_latents
from animateanywhere.methods.animate_anywhere.settings import Recipe
from animateanywhere.methods.animate_anywhere.subject_data import placed
from animateanywhere.metrics.arrays import evenly_spaced
from animateanywhere.preprocessing.captions.template import with_appearance

PARTS = {"identity": 1.0, "scene": 1.0, "leak": 1.0}  # of the score, and their weights in it
# Learning may lose one scene and keep all others: the first four that the clip does not name
SCENES = ("on a beach", "in a forest", "in the snow", "in a room", "on a street")
FEW = 12  # frames; of a clip with fewer none are held out
CLIP = 4  # frames of each generated clip, of which there are fewer than pictures
PLACEMENT = 101  # of `placed`: a place and size in the frame that no row of training has
SEED = 5


@dataclass(frozen=True)
class Case:
    """F frames to generate, and the person in the same poses as filmed."""

    prompt: str  # "a sks man on a beach"
    plain: str  # "a man on a beach": for the untouched base
    other_scene: bool  # in another scene than the clip's
    poses: Tensor  # (F, C, h, w)
    frames: NDArray  # (F, H, W, 3) uint8
    masks: NDArray  # (F, H, W) float32 in [0, 1]
    held: NDArray  # (F,) bool: the frames that training never sees


@dataclass(frozen=True)
class Validation:
    """What a stage is scored with."""

    cases: tuple[Case, ...]
    base: tuple[NDArray, ...]  # what the untouched base makes of each, (F, H, W, 3) uint8
    frames: NDArray  # (K, H, W, 3) uint8, of the clip: the scene that must not leak
    masks: NDArray  # (K, H, W)


def held_out(count: int) -> list[int]:
    """Which frames of a clip training is not to see: a few at both ends, none of a short clip.

    At the ends, so that the motion stage still has frames in a row. Scored are these, else frames
    spread over the whole clip, which training sees too.
    """
    each = min(count // 16, 4) if count >= 16 else int(count >= FEW)
    return [*range(each), *range(count - each, count)]


def learned_part(subject: Subject) -> Subject:
    """The clip without the frames held out."""
    held = held_out(len(subject.frames))
    return subject.take([i for i in range(len(subject.frames)) if i not in held])


def make_validations(
    model: Base, settings: Recipe, subject: Subject, token: str
) -> dict[str, Validation]:
    """A validation for each stage that learns a person; made before anything is learned."""
    stages = settings.personal_stages
    validations = {}
    # A motion UNet is first filled at random
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
    """Cases from a whole clip: pictures as filmed, and in four other scenes at another place and
    size; of clips only three of the latter.

    unet: the untouched base's, for images or, with `video`, for clips. steps: of generation.
    appearance: what is said of the person in every caption.
    """
    count = len(subject.frames)
    held = held_out(count) or evenly_spaced(count, 4).tolist()
    words = " ".join(subject.captions)
    scenes = [scene for scene in SCENES if scene.split()[-1] not in words][:4]
    if video:  # at the ends of the clip, where held-out frames are
        length = min(max(CLIP, model.packed + 1), int(model.config["frames"]), count)
        length = whole_clip(length, model.packed)
        ends = list(range(length)), list(range(count - length, count))
        plan = [(ends[n % 2], scene) for n, scene in enumerate(scenes[:3])]
    else:
        filmed = [held[0], held[-1]]  # two pictures, which a VAE that packs time takes for a clip
        plan = [
            *((some, "") for some in ([[at] for at in filmed] if model.packs_clips else [filmed])),
            *(([held[n % len(held)]], scene) for n, scene in enumerate(scenes)),
        ]
    apart = placed(subject, PLACEMENT)
    cases = []
    for window, scene in plan:
        shown = (apart if scene else subject).take(window)
        text = f"a <token> {subject.class_word} {scene}" if scene else shown.captions[0]
        text = with_appearance(text, "<token>", subject.class_word, appearance)
        known = np.isin(window, held)
        cases.append(Case(
            text.replace("<token>", token), text.replace("<token> ", ""), bool(scene),
            _poses(model, unet, shown, video), shown.frames, shown.masks,
            known if known.any() else np.ones_like(known),
        ))  # fmt: skip
    some = evenly_spaced(count, 4)
    made = generate(model, unet, cases, [case.plain for case in cases], steps)
    return Validation(tuple(cases), made, subject.frames[some], subject.masks[some])


def _poses(model: Base, unet: nn.Module, shown: Subject, video: bool) -> Tensor:
    with room_for_vae(model, unet):
        return encode_skeletons(model, shown.keypoints, shown.frames.shape[1], video)


def generate(
    model: Base, unet: nn.Module, cases: Sequence[Case], prompts: Sequence[str], steps: int
) -> tuple[NDArray, ...]:
    """Frames (F, H, W, 3) uint8 for each case, with the same noise every time."""
    with progress("pictures to score", total=len(cases) * steps) as bar:
        latents = [
            render_latents(
                model, unet, prompt, case.poses, SEED, steps=steps, on_step=lambda: bar.advance(1)
            )
            for case, prompt in zip(cases, prompts, strict=True)
        ]
    with room_for_vae(model, unet):
        return tuple(
            decode_latents(model.vae, some, clip=len(case.frames) > 1)
            for case, some in zip(cases, latents, strict=True)
        )


def score(validation: Validation, made: Sequence[NDArray]) -> dict[str, float]:
    """How good generated frames, (F, H, W, 3) uint8 for each case, are; lower is better.

    identity: color error of the person against the frames held out, in the scene filmed and in
    the others, as a share of the untouched base's: 1 is no nearer than anyone of the class.
    scene: how unlike the untouched base's the other scenes are, as a share of how unlike two
    different scenes are. leak: of the clip's scene in the others, as `metrics.leak` has it, 0..1.
    score: their sum, weighted by `PARTS`. Scene and leak with nothing to look at, as in a close-up,
    are nan and left out of it; without the person it is nan.
    """
    cases = validation.cases
    error = [person_error(case, frames) for case, frames in zip(cases, made, strict=True)]
    usual = [
        person_error(case, frames) for case, frames in zip(cases, validation.base, strict=True)
    ]
    away = [i for i, case in enumerate(cases) if case.other_scene]
    masks = {i: around(cases[i].masks) for i in away}

    def apart(a: Sequence[NDArray], i: int, b: Sequence[NDArray], j: int) -> float:
        pairs = zip(a[i], masks[i], b[j], masks[j], strict=True)
        return float(np.mean([metrics.scene_distance(*pair) for pair in pairs]))

    drift = [apart(made, i, validation.base, i) for i in away]
    other = [apart(validation.base, i, validation.base, j) for i, j in combinations(away, 2)]
    covered = np.concatenate([masks[i] for i in away])
    with warnings.catch_warnings():  # of means of nothing
        warnings.simplefilter("ignore", RuntimeWarning)
        leak = metrics.leak(
            np.concatenate([made[i] for i in away]), covered,
            validation.frames, around(validation.masks),
            np.concatenate([validation.base[i] for i in away]), covered, max_frames=8,
        )  # fmt: skip
    parts = {"identity": _ratio(error, usual), "scene": _ratio(drift, other), "leak": leak}
    known = (PARTS[n] * v for n, v in parts.items() if n == "identity" or math.isfinite(v))
    return parts | {"score": sum(known)}


def person_error(case: Case, made: NDArray) -> float:
    """Color error of the person, CIEDE2000, in head, middle and legs of the frames held out."""
    thirds = np.stack([_thirds(mask) for mask in case.masks[case.held]])
    names = ("background", "upper", "middle", "lower")
    return metrics.person_delta_e(made[case.held], case.frames[case.held], thirds, names)["mean"]


def _thirds(mask: NDArray) -> NDArray:
    """uint8: 1, 2, 3 in the thirds of a person's height, 0 outside. `(H, W)`."""
    person = mask > 0.5
    rows = np.flatnonzero(person.any(1))
    if not len(rows):
        return person.astype(np.uint8)
    third = 1 + 3 * (np.arange(len(mask)) - rows[0]) // (np.ptp(rows) + 1)
    return np.where(person, third[:, None], 0).astype(np.uint8)


def around(masks: NDArray) -> NDArray:
    """Masks `(F, H, W)` with room for a person who is somewhat larger. float32."""
    room = max(masks.shape[1] // 24, 1)
    return np.stack([binary_dilation(m > 0.5, iterations=room) for m in masks]).astype(np.float32)


def _ratio(values: Sequence[float], units: Sequence[float]) -> float:
    unit = np.nanmean(units) if np.isfinite(units).any() else np.nan
    return float(np.nanmean(values) / unit) if np.isfinite(values).any() and unit else math.nan
