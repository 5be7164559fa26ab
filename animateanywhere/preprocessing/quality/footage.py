"""Measures of footage: sharpness, cuts, camera motion, flicker of masks, light. Numbers only; what
they mean is said in `findings`."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image
from scipy.ndimage import (
    binary_dilation,
    binary_erosion,
    gaussian_filter,
    laplace,
    maximum_filter,
    minimum_filter,
)

from animateanywhere.pose import skeleton
from animateanywhere.pose.keypoints import VISIBLE

SMALL, LARGE = 64, 160  # pixels of the longer side to look for cuts, and for shifts of the camera
SAMPLED = 16  # frames of a clip that tell how sharp and bright it is
BINS = 8  # of the histogram, a color
MIN_CORRELATION = (
    0.3  # correlation of two backgrounds from which a shift counts; unlike ones reach 0.2
)
MIN_BACKGROUND = 0.15  # share of the frame that must be background for its shift to be told


def gray(frames: np.ndarray) -> np.ndarray:
    """Luma, float32 (F, H, W) in 0..255, of uint8 (F, H, W, 3)."""
    return frames.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


def downscaled(frames: np.ndarray, longer: int) -> np.ndarray:
    """Frames (F, H, W[, 3]), uint8 or float32, area-averaged to this longer side if theirs is."""
    scale = longer / max(frames.shape[1:3])
    if scale >= 1:
        return frames
    width, height = (max(round(side * scale), 8) for side in (frames.shape[2], frames.shape[1]))
    small = [Image.fromarray(f).resize((width, height), Image.Resampling.BOX) for f in frames]
    return np.stack([np.asarray(one) for one in small])


def sharpness(pictures: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """(F,) the Laplacian's RMS against the contrast (standard deviation) where the person is.

    pictures: uint8 (F, S, S, 3); masks: (F, S, S) in 0..1. NaN where nobody is, and in frames
    between the some twenty that are looked at.
    """
    out = np.full(len(pictures), np.nan)
    for index in range(0, len(pictures), max(len(pictures) // SAMPLED, 1)):
        picture = gray(pictures[index : index + 1])[0]
        person = binary_dilation(masks[index] > 0.5, iterations=2)
        if person.sum() > 50:
            detail = np.sqrt((laplace(picture)[person] ** 2).mean())
            out[index] = detail / max(float(picture[person].std()), 1e-3)
    return out


def plain_share(frames: np.ndarray, squares: np.ndarray, masks: np.ndarray) -> float:
    """Share of the person, neither dark nor burnt out, that is one plain color in windows of 5 x 5
    pixels of the whole pictures, uint8 (F, H, W, 3); NaN where too little of them is seen.

    squares: (F, 3), where the masks, (F, S, S) in 0..1, lie. Of four frames.
    """
    even = seen = 0
    for index in np.linspace(0, len(frames) - 1, min(len(frames), 4)).astype(int):
        x, y, side = squares[index].round().astype(int)
        left, top = max(x - side // 2, 0), max(y - side // 2, 0)
        picture = frames[index, top : y - side // 2 + side, left : x - side // 2 + side]
        whole = Image.fromarray(masks[index]).resize((side, side), Image.Resampling.NEAREST)
        skipped = left - (x - side // 2), top - (y - side // 2)
        mask = np.asarray(whole)[skipped[1] :, skipped[0] :][: len(picture), : picture.shape[1]]
        luma = gray(picture[None])[0]
        person = binary_erosion(mask > 0.8, iterations=3) & (luma > 60) & (luma < 225)
        window = (5, 5, 1)
        ranges = maximum_filter(picture, window) - minimum_filter(picture, window)
        even += int((ranges.max(-1)[person] <= 6).sum())
        seen += int(person.sum())
    return even / seen if seen > 4000 else float("nan")


def color_changes(frames: np.ndarray) -> np.ndarray:
    """(F - 1,) how far the colors of neighboring frames are apart, 0..1: half the L1 distance of
    their joint RGB histograms, which where a person stands does not change."""
    bins = downscaled(frames, SMALL).astype(np.int64) * BINS // 256
    index = (bins[..., 0] * BINS + bins[..., 1]) * BINS + bins[..., 2]
    counts = [np.bincount(one.ravel(), minlength=BINS**3) / one.size for one in index]
    return np.abs(np.diff(counts, axis=0)).sum(1) / 2


def camera_shifts(frames: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """(F - 1,) how far the background moves from frame to frame, in frame widths.

    Correlation of the fine detail outside of the person's box. NaN where that tells nothing.
    """
    small = gray(downscaled(frames, LARGE))
    height, width = small.shape[1:]
    ground = [_background(pose, height, width, width / frames.shape[2]) for pose in keypoints]
    detail = small - np.stack([gaussian_filter(one, 4) for one in small])
    out = np.full(max(len(frames) - 1, 0), np.nan)
    for index in range(len(out)):
        both = ground[index] * ground[index + 1]
        if both.mean() < MIN_BACKGROUND:
            continue
        a, b = (np.fft.rfft2(detail[index + k] * gaussian_filter(both, 2)) for k in (0, 1))
        alike = np.fft.irfft2(a * np.conj(b), s=both.shape)
        power = np.sqrt(_power(a, both.shape) * _power(b, both.shape))
        if alike.max() < MIN_CORRELATION * max(power, 1e-6):
            continue
        peak = np.unravel_index(alike.argmax(), alike.shape)
        moved = [(int(p) + n // 2) % n - n // 2 for p, n in zip(peak, alike.shape, strict=True)]
        out[index] = math.hypot(*moved) / width
    return out


def mask_flicker(masks: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """(F,) share of the person that a mask gains or loses for one frame only, beyond what the pose
    does; 0 for the first and last. masks: (F, S, S); keypoints: (F, 18, 3) in their pixels."""
    size = masks.shape[1]
    drawn = skeleton.draw(keypoints, size, size).max(-1) > 60
    bodies = np.stack([binary_dilation(one, iterations=max(size // 32, 1)) for one in drawn])
    out = np.zeros(len(masks))
    out[1:-1] = _flicker(masks) - _flicker(bodies.astype(np.float32))
    return out.clip(0)


def joint_coverage(masks: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """(F,) share of the seen joints that lie on the mask, or by its edge; 1 where none is seen."""
    size = masks.shape[1]
    out = np.ones(len(masks))
    for index, (mask, pose) in enumerate(zip(masks, keypoints, strict=True)):
        points = pose[pose[:, 2] >= VISIBLE, :2]
        if len(points):
            near = binary_dilation(mask > 0.3, iterations=max(size // 40, 1))
            x, y = points.astype(int).clip(0, size - 1).T
            out[index] = near[y, x].mean()
    return out


def brightness(pictures: np.ndarray, masks: np.ndarray) -> tuple[float, float]:
    """Luma, 0..255, that a tenth of the person's pixels exceed, and the share of them that is
    burnt out; (255, 0) where nobody is."""
    some = (
        slice(None, None, max(len(pictures) // SAMPLED, 1)),
        slice(None, None, 2),
        slice(None, None, 2),
    )
    person = gray(pictures[some])[masks[some] > 0.5]
    if not len(person):
        return 255.0, 0.0
    return float(np.quantile(person, 0.9)), float((person > 250).mean())


def _flicker(masks: np.ndarray) -> np.ndarray:
    """(F - 2,) how far inner frames lie from the median with their neighbors, a share of the area.
    What only moves on in one direction gives little."""
    before, here, after = masks[:-2], masks[1:-1], masks[2:]
    middle = np.maximum(np.minimum(before, here), np.minimum(np.maximum(before, here), after))
    area = np.maximum(here.sum((1, 2)), middle.sum((1, 2)))
    return np.abs(here - middle).sum((1, 2)) / np.maximum(area, 1)


def _background(pose: np.ndarray, height: int, width: int, scale: float) -> np.ndarray:
    """float32 (height, width): 0 in the person's box with some room, 1 elsewhere."""
    out = np.ones((height, width), np.float32)
    seen = pose[pose[:, 2] >= VISIBLE, :2] * scale
    if len(seen):
        (left, top), (right, bottom) = seen.min(0), seen.max(0)
        room = 0.15 * (bottom - top)
        rows = slice(max(int(top - 1.2 * room), 0), max(int(bottom + room), 0) + 1)
        out[rows, max(int(left - room), 0) : max(int(right + room), 0) + 1] = 0
    return out


def _power(transformed: np.ndarray, shape: tuple[int, ...]) -> float:
    """Sum of squares of the picture with this half spectrum."""
    return float((np.fft.irfft2(transformed, s=shape) ** 2).sum())
