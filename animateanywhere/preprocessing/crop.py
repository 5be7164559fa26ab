"""The crop around a person in a clip: fixed for all frames, or following the person."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter1d, maximum_filter1d, median_filter

from animateanywhere.core.frame_size import Size
from animateanywhere.pose.keypoints import VISIBLE
from animateanywhere.pose.visibility import has_person

FOLLOW = 1.6  # times the person's own box: on a wider path the crop follows the person
HEAD = [0, 14, 15, 16, 17]
HELD = 1.25  # times the largest of the boxes: a square this large holds them all, and stands still
STEADY = 0.25  # seconds: standard deviation of the smoothing of a square that follows


def crop_boxes(keypoints: np.ndarray, height: int, width: int, aspect: float = 1.0) -> np.ndarray:
    """The box to crop from each frame, so that the whole body fits with some margin.

    keypoints: float (F, 18, 3) in pixels; frames without a person take the nearest frame's box.
    aspect: width over height of the box.

    Returns:
        float (F, 3): x and y of the center, and the height, in pixels; the width follows from the
        aspect. The height is the same in all frames; the box may extend beyond the frame, where
        `crop_frames` repeats the edge.
    """
    shape = np.array([aspect, 1.0])
    boxes = person_boxes(keypoints)
    boxes[:, [0, 2]] = boxes[:, [0, 2]].clip(0, width)
    boxes[:, [1, 3]] = boxes[:, [1, 3]].clip(0, height)
    low, high = np.quantile(boxes[:, :2], 0.03, axis=0), np.quantile(boxes[:, 2:], 0.97, axis=0)
    whole = float(((high - low) / shape).max())
    own = float(np.quantile(((boxes[:, 2:] - boxes[:, :2]) / shape).max(1), 0.95))
    if whole <= FOLLOW * own:
        middle, tall = np.tile((low + high) / 2, (len(boxes), 1)), whole
    else:
        middle = median_filter((boxes[:, :2] + boxes[:, 2:]) / 2, size=(5, 1), mode="nearest")
        middle, tall = gaussian_filter1d(middle, 2.0, axis=0, mode="nearest"), own
    # Repeated edges are useless for training: stay inside the frame where it is large enough
    for axis, (side, length) in enumerate(zip(tall * shape, (width, height), strict=True)):
        if side <= length:
            middle[:, axis] = middle[:, axis].clip(side / 2, length - side / 2)
    return np.column_stack([middle, np.full(len(boxes), tall)])


def following_squares(boxes: np.ndarray, fps: float) -> np.ndarray:
    """Squares that follow a person smoothly and hold the box of every frame.

    boxes: float (F, 4), left, top, right, bottom in pixels, of consecutive frames. The square
    stands still where it need not be much larger for that. Place and size are smoothed, so that
    neither jitter of the boxes nor a zoom of the camera makes it jump.

    Returns:
        float (F, 3) as `crop_boxes`: x and y of the center, and the side; it may leave the frame.
    """
    low, high = boxes[:, :2], boxes[:, 2:]
    whole = float((high.max(0) - low.min(0)).max())
    if whole <= HELD * float((high - low).max()):
        middle = (low.min(0) + high.max(0)) / 2
        return np.tile([*middle, whole], (len(boxes), 1))
    sigma = STEADY * fps
    middle = median_filter((low + high) / 2, size=(5, 1), mode="nearest")
    middle = gaussian_filter1d(middle, sigma, axis=0, mode="nearest")
    needed = 2 * np.maximum(middle - low, high - middle).max(1)
    radius = int(3 * sigma + 0.5)  # of the kernel: a mean of maxima within it is never too small
    largest = maximum_filter1d(needed, 2 * radius + 1, mode="nearest")
    side = gaussian_filter1d(largest, sigma, mode="nearest", radius=radius)
    return np.column_stack([middle, side])


def whole_squares(boxes: np.ndarray, fps: float, room: float) -> np.ndarray:
    """Squares as `following_squares`, with sides `room` times as long, in whole pixels: int (F, 3),
    left, top and side."""
    middle, side = np.split(following_squares(boxes, fps), [2], axis=1)
    side = np.ceil(side * room).clip(8)
    return np.concatenate([np.round(middle - side / 2), side], axis=1).astype(int)


def square_boxes(squares: np.ndarray) -> np.ndarray:
    """Squares (F, 3), left, top and side, as boxes of `crop_frames`: center and side."""
    return np.column_stack([squares[:, :2] + squares[:, 2:] / 2, squares[:, 2]])


def crop_corners(boxes: np.ndarray, size: Size) -> np.ndarray:
    """Boxes (F, 3) as int (F, 4), in pixels: left, top, width and height of what is cropped from
    each frame to be scaled to `size`, whose aspect the boxes have."""
    sides = boxes[:, 2:] * np.array([size.aspect, 1.0])
    corners = np.round(boxes[:, :2] - sides / 2)
    return np.column_stack([corners, np.round(sides).clip(1)]).astype(int)


def crop_frames(frames: np.ndarray, boxes: np.ndarray, size: Size) -> np.ndarray:
    """Crop boxes (F, 3) from uint8 (F, H, W, 3) or (F, H, W), and scale them to `size`.

    Beyond the frame its edge pixels are repeated.
    """

    def one(frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        left, top, across, tall = box
        height, width = frame.shape[:2]
        if left < 0 or top < 0 or left + across > width or top + tall > height:
            rows = np.arange(top, top + tall).clip(0, height - 1)
            columns = np.arange(left, left + across).clip(0, width - 1)
            picture = Image.fromarray(frame[rows][:, columns])
        else:
            picture = Image.fromarray(frame[top : top + tall, left : left + across])
        return np.array(picture.resize(size, Image.Resampling.LANCZOS))

    with ThreadPoolExecutor(2) as pool:  # Pillow releases the GIL while it resizes
        return np.stack(list(pool.map(one, frames, crop_corners(boxes, size))))


def crop_keypoints(keypoints: np.ndarray, where: np.ndarray, size: Size) -> np.ndarray:
    """Keypoints (F, 18, 3) in pixels of the crops of `crop_frames`; confidence 0 outside them."""
    box = crop_corners(where, size)[:, None].astype(np.float64)  # (F, 1, 4)
    out = keypoints.astype(np.float32, copy=True)
    out[..., :2] = (out[..., :2] - box[..., :2]) * (np.array(size) / box[..., 2:])
    outside = (out[..., :2] < 0).any(-1) | (out[..., :2] > size).any(-1)
    out[..., 2] = np.where(outside, 0, out[..., 2])
    return out


def person_boxes(keypoints: np.ndarray) -> np.ndarray:
    """Bounding boxes (F, 4) left, top, right, bottom, with a margin for hair, hands and shoes;
    frames without a person take the nearest frame's."""
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
