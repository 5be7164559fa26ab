"""Samples as a base learns them: at its frame rate, and in one of its frame sizes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from animateanywhere.core.errors import UsageError
from animateanywhere.core.frame_size import Size
from animateanywhere.datasets.samples import (
    CLIP,
    PICTURES,
    Samples,
    frames_file,
    parse_captions,
    parse_sample_poses,
)
from animateanywhere.media.memory import Crop, cover, decode_clip, decode_picture
from animateanywhere.pose.keypoints import VISIBLE, in_frame
from animateanywhere.pose.skeleton import Poses


@dataclass(frozen=True)
class View:
    """A sample in a frame size, F frames at a frame rate; its frames are decoded when needed."""

    captions: list[str]
    keypoints: np.ndarray  # (F, 18, 3) float32, in pixels of the frame size
    frames: Iterator[np.ndarray]  # F of uint8 (H, W, 3)


def frame_counts(samples: Samples, fps: float) -> np.ndarray:
    """The numbers of frames of samples at `fps`, (N,) int; at least 1."""
    own = np.where(samples.frames > 1, samples.fps, fps)
    return np.maximum(samples.frames * (fps / own) + 1e-6, 1).astype(int)


def view(samples: Samples, number: int, size: Size, fps: float) -> View:
    """A sample in frames of `size`, which are filled and centered on the person.

    Raises UsageError, with file and key, if anything of it is missing or wrong; the iterator of the
    frames does if they cannot be decoded, or are fewer than the poses.
    """
    sample = samples.read(number, [CLIP, *PICTURES, "pose.json", "caption.txt"])
    poses = parse_sample_poses(sample, samples.name(number, "pose.json"))
    kind = frames_file(sample.files, samples.name(number, "*"))
    where = samples.name(number, kind)
    count = int(frame_counts(samples, fps)[number]) if kind == CLIP else 1
    own = float(samples.fps[number])
    if len(poses.keypoints) != samples.frames[number] and kind == CLIP:
        raise UsageError(
            f"{samples.name(number, 'pose.json')}: {len(poses.keypoints)} poses for "
            f"{samples.frames[number]} frames; there must be one for each"
        )
    middle = middle_of(poses)

    def crop(source: Size) -> Crop:
        return cover(source, size, middle)

    moments = np.round(np.arange(count) * (own / fps if own else 0)).astype(int)
    points = poses.keypoints[np.minimum(moments, len(poses.keypoints) - 1)]
    keypoints = keypoints_in(points, crop(Size(poses.width, poses.height)), poses)
    captions = parse_captions(sample, samples.name(number, "caption.txt"))
    data = sample.files[kind]
    if kind == CLIP:
        frames = _exactly(decode_clip(data, where, fps, crop), count, where, fps)
    else:
        frames = iter([decode_picture(data, where, crop)])
    return View(captions, keypoints, frames)


def middle_of(poses: Poses) -> tuple[float, float]:
    """The middle of the person over all frames, as shares of width and height."""
    shown = poses.keypoints[poses.keypoints[..., 2] >= VISIBLE][:, :2]
    if not len(shown):
        return 0.5, 0.5
    x, y = (shown.min(0) + shown.max(0)) / 2 / (poses.width, poses.height)
    return float(x), float(y)


def keypoints_in(points: np.ndarray, crop: Crop, poses: Poses) -> np.ndarray:
    """Keypoints (F, 18, 3) of a picture of the poses' size in pixels of the crop; those outside get
    confidence 0."""
    factor = np.divide(crop.scaled, (poses.width, poses.height))
    out = points.astype(np.float32)
    out[..., :2] = out[..., :2] * factor - (crop.left, crop.top)
    return np.stack([in_frame(one, crop.size.height, crop.size.width) for one in out])


def _exactly(
    frames: Iterator[np.ndarray], count: int, where: str, fps: float
) -> Iterator[np.ndarray]:
    """`count` frames; the last is repeated once if rounding removed one. All are decoded, so that
    damage is found. Raises UsageError if more are missing."""
    number, last = 0, None
    for frame in frames:
        if number < count:
            yield frame
        number, last = number + 1, frame
    if number < count - 1 or last is None:
        raise UsageError(
            f"{where} has {number} frames at {fps:g} fps but {count} poses; make both the same "
            "length"
        )
    if number < count:
        yield last
