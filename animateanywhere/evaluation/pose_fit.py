"""The renderer's pose nearest to the one that a video shows: a person can then be rendered as the
video shows them, without a pose that was asked for.

The poses are those of all motions of the puppets, seen from all sides, on a body of average
proportions. A found pose is compared with each of them up to one scale and one shift, which also
say how large and where the person is rendered.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from animateanywhere.metrics.arrays import Array
from animateanywhere.puppets import MOTIONS, Camera, Clip, Identity, Motion, Spec, render_batch
from animateanywhere.puppets.posing import pose_and_project
from animateanywhere.puppets.sample import sample_motion, sample_spec

DRAWS = 60  # motions of each name
SECONDS = 4.0
PITCH = 0.1  # of the camera, in radians: the mean of `sample_camera`
VISIBLE = 0.5  # confidence of a joint that counts
FEWEST = 6  # visible joints that a pose can be told by


@dataclass(frozen=True, eq=False)
class Repertoire:
    """Motions (M) and their joints (M, T, 18, 2), in heights of the body from the point on the
    ground below it, x to the right and y down."""

    motions: list[Motion]
    joints: Array
    fps: float


class Fit(NamedTuple):
    """A frame's nearest pose: that of a motion at a time in seconds, `scale` pixels a height, from
    the point (x, y) in pixels on. error: root mean square distance of joints, in heights."""

    motion: Motion
    time: float
    scale: float
    x: float
    y: float
    error: float


@cache
def repertoire(fps: float, draws: int = DRAWS) -> Repertoire:
    """`draws` motions of each name, always the same. 3 s of one core."""
    rng = np.random.default_rng(11)
    spec = sample_spec(0)
    spec = replace(
        spec, object=replace(spec.object, name="none"), camera=Camera(1.0, 0.0, -0.5, PITCH, 0.0),
        identity=replace(spec.identity, height=1.0, build=1.0, shoulders=1.0, hips=1.0, head=1.0),
    )  # fmt: skip
    motions = [replace(sample_motion(rng), name=name) for name in MOTIONS for _ in range(draws)]
    times = np.arange(round(SECONDS * fps)) / fps
    joints = [
        pose_and_project(replace(spec, motion=motion), times, 1).keypoints[..., :2]
        for motion in motions
    ]
    return Repertoire(motions, np.stack(joints).astype(np.float32), fps)


def fit_poses(known: Repertoire, keypoints: np.ndarray) -> list[Fit | None]:
    """The nearest pose to each of F found ones, (F, 18, 3) in pixels with confidence; None where
    too few joints are visible."""
    poses = known.joints.reshape(-1, 18, 2)
    fits: list[Fit | None] = []
    for pose in keypoints:
        seen = pose[:, 2] > VISIBLE
        if seen.sum() < FEWEST:
            fits.append(None)
            continue
        error, scale, shift = _aligned(poses[:, seen], pose[seen, :2])
        best = int(error.argmin())
        motion, frame = divmod(best, known.joints.shape[1])
        x, y = (float(value) for value in shift[best])
        fits.append(Fit(known.motions[motion], frame / known.fps, float(scale[best]), x, y,
                        float(error[best] / scale[best])))  # fmt: skip
    return fits


def _aligned(poses: Array, found: np.ndarray) -> tuple[Array, Array, Array]:
    """Poses (N, J, 2) laid over a found one (J, 2) by one scale and one shift each: root mean
    square distances in its pixels, scales (N,), and shifts (N, 2)."""
    middle, center = poses.mean(1), found.mean(0)
    own, there = poses - middle[:, None], (found - center).astype(np.float32)
    power = (own**2).sum((1, 2))
    scale = np.einsum("njk,jk->n", own, there).clip(1e-6) / power.clip(1e-9)
    left = ((scale[:, None, None] * own - there) ** 2).sum((1, 2)) / len(found)
    return np.sqrt(left), scale, center - scale[:, None] * middle


def posed(fit: Fit, spec: Spec, identity: Identity, size: int) -> Spec:
    """A person in the scene of a spec, in a fitted pose and as large as fitted, alone, in a frame
    of `size` pixels."""
    camera = Camera(
        fit.scale / identity.height / size, fit.y / size, fit.x / size - 0.5, PITCH, 0.0
    )
    return replace(spec, identity=identity, motion=fit.motion, camera=camera, occluder=None,
                   object=replace(spec.object, name="none"))  # fmt: skip


def render_posed(fits: list[Fit], spec: Spec, people: list[Identity], size: int) -> list[Clip]:
    """A clip of each person with a frame for each fit, in the scene of a spec."""
    specs = [posed(fit, spec, who, size) for who in people for fit in fits]
    single = render_batch(specs, [fit.time for _ in people for fit in fits], size)
    count = len(fits)
    return [_joined(single[n : n + count]) for n in range(0, len(single), count)]


def _joined(clips: list[Clip]) -> Clip:
    """Clips of one frame as one."""
    names = ("frames", "masks", "parts", "objects", "keypoints")
    whole: dict[str, Any] = {
        name: np.concatenate([getattr(one, name) for one in clips]) for name in names
    }
    return replace(clips[0], **whole)
