"""Footage as training data: clips of one person each, with masks and poses, as `aa corpus build`
writes them.

A draw is what the paper takes of a video (section 3.2): frames as the target, and as the reference
another frame of the same clip, at least `APART` frames away where the clip is long enough (by the
public code). The square around the person is that of `aa swap`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from animateanywhere.core.errors import UsageError
from animateanywhere.datasets.corpus_check import read_file, read_frames, require_shape
from animateanywhere.datasets.footage import MASKS, Footage, apart, shows_somebody
from animateanywhere.datasets.samples import CLIP, parse_sample_poses
from animateanywhere.datasets.shard_corpus import ShardCorpus, open_shards
from animateanywhere.datasets.views import frame_counts
from animateanywhere.methods.anycharv import geometry
from animateanywhere.methods.anycharv.full_size import stretched
from animateanywhere.methods.anycharv.settings import GROW, Corpus
from animateanywhere.methods.anycharv.stitch import cut_out


class Clip(NamedTuple):
    """A clip in squares around its person: frames uint8 (F, S, S, 3), masks uint8 (F, S, S),
    keypoints (F, 18, 3) in their pixels."""

    frames: np.ndarray
    masks: np.ndarray
    keypoints: np.ndarray


class Taken(NamedTuple):
    """What is taken of a clip: S scenes of F frames, and K reference pictures of the person."""

    truth: np.ndarray  # (S, F, H, W, 3) uint8
    masks: np.ndarray  # (S, F, H, W) uint8
    keypoints: np.ndarray  # (S, F, 18, 3) float32
    pictures: np.ndarray  # (K, H, W, 3) uint8, cut out


def open_footage(folder: Path, frames: int, side: int, fps: float) -> Footage[Clip]:
    """The clips of at least `frames` frames at a frame rate, in squares of `side` pixels. Raises
    UsageError if there are none."""
    corpus = open_shards(folder)
    masked = np.array([corpus.has(number, MASKS) for number in range(len(corpus))], bool)
    long = (corpus.frames > 1) & (frame_counts(corpus, fps) >= max(frames, 2))
    rows = np.flatnonzero(masked & long)
    if not len(rows):
        raise UsageError(
            f"{folder}: contains no clip with masks of at least {max(frames, 2)} frames at {fps:g} "
            "frames per second; `aa corpus build` makes a corpus of such clips"
        )
    return Footage(corpus, rows, lambda number: _read(corpus, number, side, fps))


def _read(corpus: ShardCorpus, number: int, side: int, fps: float) -> Clip:
    sample = corpus.read(number, [CLIP, MASKS, "pose.json", "meta.json"])
    where = str(corpus.shards[corpus.shard[number]])
    frames, masks = read_frames(sample, where), read_file(sample, MASKS, where)
    require_shape(masks, frames.shape[:3], f"{where}: {sample.key}.{MASKS}")
    poses = parse_sample_poses(sample, corpus.name(number, "pose.json"))
    if len(poses.keypoints) != len(frames):
        raise UsageError(
            f"{corpus.name(number, 'pose.json')}: {len(poses.keypoints)} poses for "
            f"{len(frames)} frames; there must be one for each"
        )
    count = int(frame_counts(corpus, fps)[number])
    moments = np.round(np.arange(count) * (corpus.fps[number] / fps)).astype(int)
    moments = moments.clip(max=len(frames) - 1)
    points = poses.keypoints[moments] * (
        frames.shape[2] / poses.width, frames.shape[1] / poses.height, 1.0
    )  # fmt: skip
    return _around(frames[moments], masks[moments][..., 0], points, side, fps)


def draws(
    footage: Footage[Clip], rule: Corpus, numbers: range, frames: int, seed: int
) -> Iterator[Taken]:
    """The draws of some numbers (`Footage.draws`). frames: of each scene, 1 for single frames."""
    count = rule.images if frames == 1 else rule.clips
    return footage.draws(count, numbers, seed, lambda clip, rng: _drawn(clip, rule, frames, rng))


def _drawn(clip: Clip, rule: Corpus, frames: int, rng: np.random.Generator) -> Taken:
    """Scenes and references of a clip. Raises UsageError if it does not show enough."""
    seen = shows_somebody(clip.masks)
    starts = np.flatnonzero(
        np.lib.stride_tricks.sliding_window_view(seen, frames).all(1)
    )  # of so many frames with the person
    if not len(starts):
        raise UsageError(f"the mask shows nobody in {frames} frames in a row")
    scenes = rule.scenes if frames == 1 else 1
    first = rng.choice(starts, scenes, replace=len(starts) < scenes)
    shown = first[:, None] + np.arange(frames)  # (S, F)
    known = np.flatnonzero(seen)
    pictures = apart(known, np.abs(known - first[0]), rule.pictures, rng)
    side = clip.frames.shape[1]
    cut_outs = [
        stretched(
            clip.frames[n], clip.masks[n] / np.float32(255), side, side, rule.reference_background
        )
        for n in pictures
    ]
    keypoints = clip.keypoints[shown].astype(np.float32)
    return Taken(clip.frames[shown], clip.masks[shown], keypoints, np.stack(cut_outs))


def _around(
    frames: np.ndarray, masks: np.ndarray, keypoints: np.ndarray, side: int, fps: float
) -> Clip:
    """A clip in squares around the person. Raises UsageError if nobody is found in it."""
    whole = np.tile([0, 0, 1], (len(frames), 1))  # masks of the frame, in its own pixels
    boxes = geometry.person_boxes(masks, whole * masks.shape[1], keypoints)
    if not np.isfinite(boxes).any():
        raise UsageError("neither masks nor poses show a person")
    squares = geometry.network_squares(geometry.regions(boxes, GROW), fps)
    height, width = frames.shape[1:3]
    inside = (squares[:, :2] + squares[:, 2:] > 0).all(1) & (squares[:, :2] < (width, height)).all(
        1
    )
    if not inside.all():
        raise UsageError("the person leaves the frame")
    return Clip(
        cut_out(frames, squares, side), _cut_masks(masks, squares, side),
        geometry.in_squares(keypoints, squares, side),
    )  # fmt: skip


def _cut_masks(masks: np.ndarray, squares: np.ndarray, side: int) -> np.ndarray:
    """Masks (F, H, W) in squares, 0 beyond the frame."""
    beyond = squares[:, :2] + squares[:, 2:] - (masks.shape[2], masks.shape[1])
    room = int(max(0, -squares[:, :2].min(), beyond.max()))
    padded = np.pad(masks, ((0, 0), (room, room), (room, room)))
    return cut_out(padded, squares + np.array([room, room, 0]), side)
