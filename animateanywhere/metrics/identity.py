"""Identity retrieval: which of several people, all rendered in the video's scene, motion and view,
a generated video shows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb2lab

from animateanywhere.metrics.arrays import Array

CONTEXT = 1  # pixels on each side that move with a pixel: `_box_mean`


def appearance_distance(
    result: NDArray, true: NDArray, parts: NDArray, *, reach: int = 3, least: int = 8
) -> float:
    """Difference of the person in `result` from the one in `true`, colors and patterns, in Lab; 0
    equal.

    result, true: uint8 `(F, H, W, 3)`; parts: uint8 `(F, H, W)`, of `true`, 0 is the background.
    Each pixel of the person is found again in the result, within `reach` pixels, as the one whose
    neighborhood of 3x3 is nearest: the image distortion model of Keysers et al. 2007 (Deformation
    models for image recognition, section 4.4), with colors instead of gradients. So a misaligned
    person costs little, and a lost, other or differently scaled pattern costs as much as its
    colors. Mean over a part's pixels in all frames, then over the parts with at least `least`
    pixels in all, so that shoes count as much as a coat. `nan` without any.
    """
    person = parts > 0  # (F, H, W)
    counts = np.bincount(parts.ravel(), minlength=int(parts.max()) + 1)
    kept = [part for part in range(1, len(counts)) if counts[part] >= least]
    if not kept:
        return float("nan")
    rows, columns = (np.flatnonzero(person.any(axis)) for axis in ((0, 2), (0, 1)))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    rim = reach + CONTEXT
    made, real = (_padded_lab(frames, box, rim) for frames in (result, true))
    height, width = real.shape[1] - 2 * reach, real.shape[2] - 2 * reach
    real = real[:, reach : reach + height, reach : reach + width]
    nearest = np.full(parts[:, *box].shape, np.inf, np.float32)
    for down, right in np.ndindex(2 * reach + 1, 2 * reach + 1):
        if np.hypot(down - reach, right - reach) <= reach:
            moved = made[:, down : down + height, right : right + width]
            np.minimum(nearest, _box_mean(((moved - real) ** 2).sum(-1)), out=nearest)
    sums = np.bincount(parts[:, *box].ravel(), np.sqrt(nearest).ravel(), len(counts))
    return float(np.mean(sums[kept] / counts[kept]))


def _padded_lab(frames: NDArray, box: tuple[slice, slice], rim: int) -> Array:
    """A box of frames in Lab, and `rim` pixels around it, repeated beyond the frames' edges."""
    height, width = frames.shape[1:3]
    rows = np.arange(box[0].start - rim, box[0].stop + rim).clip(0, height - 1)
    columns = np.arange(box[1].start - rim, box[1].stop + rim).clip(0, width - 1)
    return rgb2lab(frames[:, rows][:, :, columns]).astype(np.float32)


def _box_mean(x: Array) -> Array:
    """Means over the 3x3 neighborhood of each inner pixel: (F, H, W) to (F, H - 2, W - 2)."""
    rows = x[:, :-2] + x[:, 1:-1] + x[:, 2:]
    return (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]) / np.float32(9)
