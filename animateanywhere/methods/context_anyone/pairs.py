"""Rendered people for training: a video of a person, and pictures of the same person in another
action, scene, light and framing.

That is what the paper's figure 4 makes of one video by an image-editing model, a vision-language
model that drops wrong edits, and segmentation; puppets have it exactly. What differs between a
video and its references cannot be learned by copying, and what pictures of users are like (a
portrait, another camera, a mask with a piece missing) is among them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from animateanywhere import puppets
from animateanywhere.core.frame_size import square
from animateanywhere.methods.context_anyone.reference_picture import GRAY, WHITE, reference_picture
from animateanywhere.methods.context_anyone.settings import Corpus

LENGTH = 4.0  # seconds of a motion, in which a still begins
STRIDE = 1_000  # seeds for each person
BEHIND = 0.1  # share of the references that are seen from behind
BRIGHTNESS, TINT = 0.1, 0.05  # standard deviations of the gain of a reference, and of each color
SOFT = 0.15  # share of the references that are blurred
PIECE = 0.1  # share of the masks in which a piece is missing, or scene is left
# What is around the person, with shares; None: the person is not cut out
GROUNDS: tuple[tuple[int | None, float], ...] = ((WHITE, 0.8), (GRAY, 0.1), (None, 0.1))
FRAMINGS = {"whole": 0.7, "hips": 0.2, "head": 0.1}  # what is seen of the person, with shares
# Height of a person who stands, as a share of the frame
HEIGHTS = {"whole": (0.5, 0.98), "hips": (1.3, 1.9), "head": (2.4, 3.4)}
NOUNS = ("a person", "the person", "a {}", "the {}", "the same {}")


@dataclass(frozen=True)
class Person:
    """One person in a video of F frames and in K reference pictures."""

    frames: np.ndarray  # (F, H, W, 3) uint8
    keypoints: np.ndarray  # (F, 18, 3) float32
    pictures: np.ndarray  # (K, H, W, 3) uint8
    captions: list[str]  # that tell the appearance, and as many that do not
    words: str  # the appearance alone


def people(
    corpus: Corpus, numbers: range, frames: int, size: int, fps: float, seed: int,
    split: str = "train",
) -> Iterator[Person]:  # fmt: skip
    """Render the people of some numbers; each depends on its number and the seed alone.

    size: of the square frames, in pixels. split: of all people in it.
    """
    for number in numbers:
        first = (seed * 1_000_000 + number) * STRIDE
        rng = np.random.default_rng([first, 5])
        spec = puppets.sample_spec(first, split, corpus.detailed)
        start = float(rng.uniform(0, LENGTH - frames / fps)) if frames / fps < LENGTH else 0.0
        clip = puppets.render(spec, frames, size, fps, start)
        seeds = range(first + 1, first + 1 + corpus.pictures)
        pictures = (
            _of_itself(clip, seeds) if corpus.same_clip else _references(spec, seeds, size, split)
        )
        yield Person(
            clip.frames, clip.keypoints, pictures,
            _captions(spec, corpus.captions, rng), puppets.describe_identity(spec.identity),
        )  # fmt: skip


def _captions(spec: puppets.Spec, count: int, rng: np.random.Generator) -> list[str]:
    """Captions of a video, `count` with the appearance and `count` without."""
    seeds = rng.integers(2**31, size=2 * count).tolist()
    noun = spec.identity.gender
    told = [puppets.caption(spec, seed) for seed in seeds[:count]]
    return told + [
        puppets.caption(spec, seed, str(rng.choice(NOUNS)).format(noun), appearance=False)
        for seed in seeds[count:]
    ]


def _references(spec: puppets.Spec, seeds: range, size: int, split: str) -> np.ndarray:
    """Pictures (K, size, size, 3) uint8 of the person of a spec, each with another seed."""
    rngs = [np.random.default_rng([seed, 6]) for seed in seeds]
    others = [
        _elsewhere(spec.identity, puppets.sample_spec(seed, split), rng)
        for seed, rng in zip(seeds, rngs, strict=True)
    ]
    times = [float(rng.uniform(0, LENGTH)) for rng in rngs]
    clips = puppets.render_batch(others, times, size)
    return np.stack([
        _photographed(clip.frames[0], clip.masks[0] / 255, rng)
        for clip, rng in zip(clips, rngs, strict=True)
    ])  # fmt: skip


def _of_itself(clip: puppets.Clip, seeds: range) -> np.ndarray:
    """Pictures (K, size, size, 3) uint8 of a clip's own frames, cut out as others are."""
    pictures = []
    for seed in seeds:
        rng = np.random.default_rng([seed, 6])
        moment = int(rng.integers(len(clip.frames)))
        pictures.append(_cut_out(clip.frames[moment], _inexact(clip.masks[moment] / 255, rng)))
    return np.stack(pictures)


def _elsewhere(
    person: puppets.Identity, other: puppets.Spec, rng: np.random.Generator
) -> puppets.Spec:
    """A person in the scene and motion of another spec, without an object, framed at random."""
    framing = str(rng.choice(list(FRAMINGS), p=list(FRAMINGS.values())))
    side = float(rng.normal(0, 0.5))
    yaw = side + np.pi if framing == "whole" and rng.random() < BEHIND else side
    height = float(rng.uniform(*HEIGHTS[framing]))
    if framing == "whole":
        ground = float(rng.uniform(min(height + 0.02, 0.98), 0.98))
        name = other.motion.name
    else:  # the head is near the upper edge
        ground = float(rng.uniform(0.03, 0.15)) + 1.02 * height
        name = str(rng.choice(["idle", "walk", "wave", "raise"]))
    motion = replace(other.motion, name=name, yaw=yaw, travel=0.0)
    place = float(rng.uniform(-0.15, 0.15))
    camera = puppets.Camera(height / person.height, ground, place, other.camera.pitch, 0.0)
    thing = replace(other.object, name="none")
    return replace(other, identity=person, motion=motion, camera=camera, object=thing,
                   occluder=None)  # fmt: skip


def _photographed(picture: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A picture as of another camera, cut out by an inexact mask (H, W) in [0, 1]."""
    gain = np.exp(rng.normal(0, BRIGHTNESS) + rng.normal(0, TINT, 3))
    shot = picture * gain
    if rng.random() < SOFT:
        shot = ndimage.gaussian_filter(shot, (*[float(rng.uniform(0.4, 1.2))] * 2, 0))
    shot = shot.clip(0, 255).astype(np.uint8)
    ground = GROUNDS[int(rng.choice(len(GROUNDS), p=[share for _, share in GROUNDS]))][0]
    return shot if ground is None else _cut_out(shot, _inexact(mask, rng), ground)


def _cut_out(picture: np.ndarray, mask: np.ndarray, ground: int = WHITE) -> np.ndarray:
    return reference_picture(picture, mask, square(len(picture)), ground)


def _inexact(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A mask as tools find it: grown or shrunk by up to 2 of 128 pixels, soft, and sometimes with
    a piece missing or some of the scene."""
    pixels = float(rng.normal(0, 0.8)) * len(mask) / 128
    inside = ndimage.distance_transform_edt(mask > 0.5)
    outside = ndimage.distance_transform_edt(mask <= 0.5)
    soft: np.ndarray = np.clip(inside - outside + pixels + 0.5, 0, 1)
    rows, columns = np.nonzero(mask > 0.5)
    if rng.random() < PIECE and len(rows):
        at, side = int(rng.integers(len(rows))), int(rng.uniform(0.04, 0.1) * len(mask))
        y, x = (slice(max(int(part[at]) - side, 0), int(part[at]) + side)
                for part in (rows, columns))  # fmt: skip
        soft[y, x] = float(rng.random() < 0.5)
    return soft
