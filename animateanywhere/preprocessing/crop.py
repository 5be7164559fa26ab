"""The square crop around a person in a clip: fixed for all frames, or following the person."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter1d, median_filter

from animateanywhere.pose.keypoints import VISIBLE
from animateanywhere.pose.visibility import has_person

FOLLOW = 1.6  # times the person's own square: on a wider path the crop follows the person
HEAD = [0, 14, 15, 16, 17]


def crop_squares(keypoints: np.ndarray, height: int, width: int) -> np.ndarray:
    """The square to crop from each frame, so that the whole body fits with some margin.

    keypoints: float (F, 18, 3) in pixels; frames without a person take the nearest frame's box.

    Returns:
        float (F, 3): x and y of the center and side length, in pixels. The side is the same in all
        frames; it may extend beyond the frame, where `crop_frames` repeats the edge.
    """
    boxes = _boxes(keypoints)
    boxes[:, [0, 2]] = boxes[:, [0, 2]].clip(0, width)
    boxes[:, [1, 3]] = boxes[:, [1, 3]].clip(0, height)
    low, high = np.quantile(boxes[:, :2], 0.03, axis=0), np.quantile(boxes[:, 2:], 0.97, axis=0)
    whole = float((high - low).max())
    own = float(np.quantile((boxes[:, 2:] - boxes[:, :2]).max(1), 0.95))
    if whole <= FOLLOW * own:
        middle, side = np.tile((low + high) / 2, (len(boxes), 1)), whole
    else:
        middle = median_filter((boxes[:, :2] + boxes[:, 2:]) / 2, size=(5, 1), mode="nearest")
        middle, side = gaussian_filter1d(middle, 2.0, axis=0, mode="nearest"), own
    # Repeated edges are useless for training: stay inside the frame where it is large enough
    for axis, length in enumerate((width, height)):
        if side <= length:
            middle[:, axis] = middle[:, axis].clip(side / 2, length - side / 2)
    return np.column_stack([middle, np.full(len(boxes), side)])


def crop_frames(frames: np.ndarray, squares: np.ndarray, size: int) -> np.ndarray:
    """Crop squares (F, 3) from uint8 (F, H, W, 3) or (F, H, W) to uint8 (F, size, size[, 3]).

    Beyond the frame its edge pixels are repeated.
    """

    def one(frame: np.ndarray, square: np.ndarray) -> np.ndarray:
        left, top = np.round(square[:2] - square[2] / 2).astype(int)
        side = max(round(square[2]), 1)
        height, width = frame.shape[:2]
        if left < 0 or top < 0 or left + side > width or top + side > height:
            rows = np.arange(top, top + side).clip(0, height - 1)
            columns = np.arange(left, left + side).clip(0, width - 1)
            picture = Image.fromarray(frame[rows][:, columns])
        else:
            picture = Image.fromarray(frame[top : top + side, left : left + side])
        return np.array(picture.resize((size, size), Image.Resampling.LANCZOS))

    with ThreadPoolExecutor(2) as pool:  # Pillow releases the GIL while it resizes
        return np.stack(list(pool.map(one, frames, squares)))


def crop_keypoints(keypoints: np.ndarray, where: np.ndarray, size: int) -> np.ndarray:
    """Keypoints (F, 18, 3) in pixels of the crops of `crop_frames`; confidence 0 outside them."""
    corner = np.round(where[:, None, :2] - where[:, None, 2:] / 2)
    out = keypoints.astype(np.float32, copy=True)
    out[..., :2] = (out[..., :2] - corner) * (size / np.round(where[:, None, 2:]))
    outside = (out[..., :2] < 0).any(-1) | (out[..., :2] > size).any(-1)
    out[..., 2] = np.where(outside, 0, out[..., 2])
    return out


def _boxes(keypoints: np.ndarray) -> np.ndarray:
    """Bounding boxes (F, 4) left, top, right, bottom, with a margin for hair, hands and shoes."""
    shown = keypoints[..., 2:] >= VISIBLE
    points = np.where(shown, keypoints[..., :2], np.nan)
    found = np.flatnonzero(has_person(keypoints))
    low, high = np.nanmin(points[found], axis=1), np.nanmax(points[found], axis=1)
    # Head and neck are about a seventh of the joints' height; the crown lies above the eyes
    room = 0.14 * np.median((high - low)[:, 1])
    top = 1.2 if shown[found][:, HEAD].any() else 0.3
    grown = np.column_stack([
        low - room * np.array([0.9, top]), high + room * np.array([0.9, 0.75])
    ])  # fmt: skip
    nearest = np.abs(np.arange(len(keypoints))[:, None] - found[None]).argmin(1)
    return grown[nearest]
