"""Rendered people for training: the same scene and motion with one person and with another, and
pictures of the first in other scenes and poses.

The paper lacks this and makes pairs by its own model (section 3.3, "Pair Construction"); puppets
have it exactly: with B's appearance on A's skeleton, keypoints and scene are equal to the last bit.
References are from other scenes than the target, so the light must be left behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from animateanywhere import puppets
from animateanywhere.core.frame_size import Size
from animateanywhere.methods.anycharv.reference_picture import cut_out
from animateanywhere.methods.anycharv.settings import Corpus

SKELETON = ("height", "shoulders", "hips", "head", "legs", "arms")  # fields of `Identity`
LENGTH = 4.0  # seconds of a motion, of which one frame is drawn
NEAR = (0.78, 0.9)  # height of the person in a reference picture before cropping, as a share
FILLED = (0.8, 0.98)  # see `reference_picture.cut_out`
BRIGHTNESS = 0.1  # standard deviation of the gain of a reference picture
STRIDE = 1_000  # seeds for each person


@dataclass(frozen=True)
class Triplet:
    """One person in S scenes of F frames, and K reference pictures."""

    truth: np.ndarray  # (S, F, H, W, 3) uint8: this person
    other: np.ndarray  # (S, F, H, W, 3) uint8: another one, the same otherwise
    masks: np.ndarray  # (S, F, H, W) uint8, of `truth`
    other_masks: np.ndarray
    keypoints: np.ndarray  # (S, F, 18, 3) float32, of both
    pictures: np.ndarray  # (K, h, w, 3) uint8, cut out
    picture_keypoints: np.ndarray  # (K, 18, 3) float32
    caption: str  # of the person alone


def triplets(
    corpus: Corpus, numbers: range, frames: int, size: int, fps: float, reference: Size, seed: int,
    split: str = "train",
) -> Iterator[Triplet]:  # fmt: skip
    """Render the people of some numbers; each depends on its number and the seed alone.

    frames: of each scene; 1 for single frames. size: of the square frames, in pixels. split: of
    all people in it; those held out never meet the others.
    """
    for number in numbers:
        seeds = range(start := (seed * 1_000_000 + number) * STRIDE, start + STRIDE)
        person = puppets.sample_spec(seeds[0], split, corpus.detailed).identity
        scenes = corpus.scenes if frames == 1 else 1
        olds = [puppets.sample_spec(s, split, corpus.detailed) for s in seeds[1 : 1 + scenes]]
        news = [replace(old, identity=on_skeleton(person, old.identity)) for old in olds]
        if frames == 1:
            times = [float(np.random.default_rng(old.seed).uniform(0, LENGTH)) for old in olds]
            clips = puppets.render_batch([*news, *olds], times * 2, size)
        else:
            clips = [puppets.render(spec, frames, size, fps) for spec in (*news, *olds)]
        new, old = clips[:scenes], clips[scenes:]
        pictures, points = _references(
            person, seeds[-corpus.pictures :], reference, split, corpus.reference_background
        )
        yield Triplet(
            np.stack([clip.frames for clip in new]), np.stack([clip.frames for clip in old]),
            np.stack([clip.masks for clip in new]), np.stack([clip.masks for clip in old]),
            np.stack([clip.keypoints for clip in new]), pictures, points,
            puppets.describe_identity(person),
        )  # fmt: skip


def on_skeleton(person: puppets.Identity, other: puppets.Identity) -> puppets.Identity:
    """A person with the bones of another one."""
    bones = {name: getattr(other, name) for name in SKELETON}
    return replace(person, **bones)


def _references(
    person: puppets.Identity, seeds: range, size: Size, split: str, background: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (K, h, w, 3) of a person alone, each in another scene and pose, cut out or with the
    background, and their keypoints. The first is seen from the front, those of odd number from the
    side or back."""
    specs, times = [], []
    for number, seed in enumerate(seeds):
        rng = np.random.default_rng([seed, 3])
        spec = puppets.sample_spec(seed, split)
        side = rng.uniform(0.35, 1.0) * np.pi * rng.choice([-1, 1])
        yaw = float(side if number % 2 else rng.normal(0, 0.35))
        motion = replace(spec.motion, yaw=yaw, travel=0.0)
        if number == 0 and motion.name in ("turn", "sit"):
            motion = replace(motion, name="idle")
        height = float(rng.uniform(*NEAR)) / person.height
        camera = puppets.Camera(height, 0.95, 0.0, spec.camera.pitch, 0.0)
        thing = replace(spec.object, name="none")
        specs.append(
            replace(spec, identity=person, motion=motion, camera=camera, object=thing,
                    occluder=None)
        )  # fmt: skip
        times.append(float(rng.uniform(0, LENGTH)))
    clips = puppets.render_batch(specs, times, max(size))
    each = []
    for clip, seed in zip(clips, seeds, strict=True):
        rng = np.random.default_rng([seed, 4])
        gain = float(np.exp(rng.normal(0, BRIGHTNESS)))
        bright = (clip.frames[0] * gain + 0.5).clip(0, 255).astype(np.uint8)
        filled = float(rng.uniform(*FILLED))
        each.append(
            cut_out(
                bright, clip.masks[0] / 255, clip.keypoints[0], size, filled, background=background
            )
        )
    pictures, points = (np.stack(part) for part in zip(*each, strict=True))
    return pictures, points
