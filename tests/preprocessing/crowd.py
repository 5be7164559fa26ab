"""Clips of several rendered people, with their exact keypoints and masks."""

from dataclasses import replace
from functools import cache
from typing import NamedTuple

import numpy as np

from animateanywhere import puppets
from animateanywhere.preprocessing import clothes
from animateanywhere.preprocessing.tracking import Persons, keypoint_boxes

SIZE = 96  # pixels a side of a rendered person's frame


class Crowd(NamedTuple):
    """frames uint8 (F, H, W, 3); keypoints (P, F, 18, 3); masks bool (P, F, H, W), as seen."""

    frames: np.ndarray
    keypoints: np.ndarray
    masks: np.ndarray


@cache
def walker(seed: int, frames: int) -> puppets.Clip:
    """A person who dances on the spot."""
    spec = puppets.sample_spec(seed, split="held-out")
    motion = replace(spec.motion, name="dance", yaw=0.3, travel=0.0)
    camera = replace(spec.camera, scale=0.8, ground=0.92, x=0.0, pan=0.0)
    nothing = replace(spec.object, name="none")
    alone = replace(spec, motion=motion, camera=camera, object=nothing)
    return puppets.render(alone, frames, SIZE)


def crowd(paths: dict[int, np.ndarray], width: int = 256) -> Crowd:
    """People of these seeds, whose frames lie at x = path[f] of frame f, NaN where they are away.

    Later people stand before earlier ones.
    """
    count = len(next(iter(paths.values())))
    shape = (count, SIZE, width)
    frames = np.empty((*shape, 3), np.uint8)
    frames[:] = np.linspace(90, 180, width).astype(np.uint8)[:, None]
    keypoints = np.zeros((len(paths), count, 18, 3), np.float32)
    masks = np.zeros((len(paths), *shape), bool)
    for person, (seed, path) in enumerate(paths.items()):
        clip = walker(seed, count)
        for f in np.flatnonzero(np.isfinite(path)):
            x = int(path[f])
            columns = np.arange(SIZE) + x
            shown = (columns >= 0) & (columns < width)
            solid = clip.masks[f][:, shown] > 127
            frames[f][:, columns[shown]] = np.where(
                solid[..., None], clip.frames[f][:, shown], frames[f][:, columns[shown]]
            )
            masks[:person, f, :, columns[shown]] &= ~solid.T[:, None]
            masks[person, f][:, columns[shown]] = solid
            points = clip.keypoints[f] + (x, 0, 0)
            points[(points[:, 0] < 0) | (points[:, 0] >= width), 2] = 0
            keypoints[person, f] = points
    return Crowd(frames, keypoints, masks)


def detections(
    scene: Crowd, seed: int = 0, hidden: float = 0.5, colors: bool = True
) -> list[Persons]:
    """What a detector finds: all who are at most `hidden` behind others, in random order, with
    noise in their keypoints."""
    rng = np.random.default_rng(seed)
    out = []
    for f, frame in enumerate(scene.frames):
        found = []
        for person, pose in enumerate(scene.keypoints[:, f]):
            whole = max(int(walker_area(scene, person)), 1)
            if (pose[:, 2] > 0.5).sum() >= 6 and scene.masks[person, f].sum() > (
                1 - hidden
            ) * whole:
                noise = rng.normal(0, 0.8, (18, 2))
                found.append(pose + np.column_stack([noise, np.zeros(18)]))
        rng.shuffle(found)
        poses = np.array(found, np.float32).reshape(-1, 18, 3)
        seen = clothes.colors(frame, poses) if colors else np.empty((len(poses), 0))
        out.append(Persons(keypoint_boxes(poses, 0.3), poses, np.ones(len(poses)), seen))
    return out


def walker_area(scene: Crowd, person: int) -> int:
    """The largest area in pixels that a person covers in a clip."""
    return int(scene.masks[person].sum((1, 2)).max())
