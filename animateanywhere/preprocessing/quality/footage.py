"""Measures of footage: sharpness, cuts, camera motion, flicker of masks, brightness. Numbers only;
`clip` turns them into findings."""

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

from animateanywhere.core.frame_size import Size
from animateanywhere.pose import skeleton
from animateanywhere.pose.keypoints import VISIBLE
from animateanywhere.preprocessing.crop import crop_corners

SMALL, LARGE = 64, 160  # pixels of the longer side, to detect cuts and camera shifts
SAMPLED = 16  # about this many frames, for sharpness and brightness
BINS = 8  # of the histogram, per color channel
MIN_CORRELATION = 0.3  # of two backgrounds, for a valid shift; unrelated ones reach 0.2
MIN_BACKGROUND = 0.15  # share of the frame needed to measure a shift


def gray(frames: np.ndarray) -> np.ndarray:
    """Luma, float32 (F, H, W) in 0..255, of uint8 (F, H, W, 3)."""
    return frames.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


def downscaled(frames: np.ndarray, longer: int) -> np.ndarray:
    """Frames (F, H, W[, 3]), uint8 or float32, reduced by area averaging to at most `longer` pixels
    on the longer side."""
    scale = longer / max(frames.shape[1:3])
    if scale >= 1:
        return frames
    width, height = (max(round(side * scale), 8) for side in (frames.shape[2], frames.shape[1]))
    small = [Image.fromarray(f).resize((width, height), Image.Resampling.BOX) for f in frames]
    return np.stack([np.asarray(one) for one in small])


def sharpness(pictures: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Sharpness (F,): RMS of the Laplacian over the standard deviation, on the person.

    pictures: uint8 (F, H, W, 3); masks: (F, H, W) in 0..1. NaN without a person, and in frames
    between the sampled ones (about SAMPLED).
    """
    out = np.full(len(pictures), np.nan)
    for index in range(0, len(pictures), max(len(pictures) // SAMPLED, 1)):
        picture = gray(pictures[index : index + 1])[0]
        person = binary_dilation(masks[index] > 0.5, iterations=2)
        if person.sum() > 50:
            detail = np.sqrt((laplace(picture)[person] ** 2).mean())
            out[index] = detail / max(float(picture[person].std()), 1e-3)
    return out


def plain_share(frames: np.ndarray, boxes: np.ndarray, masks: np.ndarray) -> float:
    """Share 0..1 of the person's pixels in windows of 5 x 5 pixels of one plain color.

    Dark and overexposed pixels are left out. High for drawings.

    Args:
        frames: uint8 (F, H, W, 3), the whole frames, of which four are sampled.
        boxes: (F, 3) of the crops that the masks belong to.
        masks: (F, h, w) in 0..1.

    Returns:
        NaN if fewer than 4000 pixels can be judged.
    """
    even = total = 0
    corners = crop_corners(boxes, Size(masks.shape[2], masks.shape[1]))
    for index in np.linspace(0, len(frames) - 1, min(len(frames), 4)).astype(int):
        x, y, width, height = corners[index]
        left, top = max(x, 0), max(y, 0)
        picture = frames[index, top : y + height, left : x + width]
        whole = Image.fromarray(masks[index]).resize((width, height), Image.Resampling.NEAREST)
        skipped = left - x, top - y
        mask = np.asarray(whole)[skipped[1] :, skipped[0] :][: len(picture), : picture.shape[1]]
        luma = gray(picture[None])[0]
        person = binary_erosion(mask > 0.8, iterations=3) & (luma > 60) & (luma < 225)
        window = (5, 5, 1)
        ranges = maximum_filter(picture, window) - minimum_filter(picture, window)
        even += int((ranges.max(-1)[person] <= 6).sum())
        total += int(person.sum())
    return even / total if total > 4000 else float("nan")


def color_changes(frames: np.ndarray) -> np.ndarray:
    """Color difference (F - 1,) of neighboring frames in 0..1: half the L1 distance of their joint
    RGB histograms, which do not depend on the person's position."""
    bins = downscaled(frames, SMALL).astype(np.int64) * BINS // 256
    index = (bins[..., 0] * BINS + bins[..., 1]) * BINS + bins[..., 2]
    counts = [np.bincount(one.ravel(), minlength=BINS**3) / one.size for one in index]
    return np.abs(np.diff(counts, axis=0)).sum(1) / 2


def camera_shifts(frames: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """Shift (F - 1,) of the background between neighboring frames, in frame widths.

    By cross-correlation of the fine detail outside of the person's bounding box; NaN where the
    background or the correlation is too small.
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
        correlation = np.fft.irfft2(a * np.conj(b), s=both.shape)
        power = np.sqrt(_power(a, both.shape) * _power(b, both.shape))
        if correlation.max() < MIN_CORRELATION * max(power, 1e-6):
            continue
        peak = np.unravel_index(correlation.argmax(), correlation.shape)
        moved = [
            (int(p) + n // 2) % n - n // 2 for p, n in zip(peak, correlation.shape, strict=True)
        ]
        out[index] = math.hypot(*moved) / width
    return out


def mask_flicker(masks: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """Flicker (F,): share of the person's area that a mask gains or loses for one frame only.

    The change of the pose is subtracted; 0 in the first and last frame.

    masks: (F, H, W) in 0..1; keypoints: (F, 18, 3) in pixels of the masks.
    """
    drawn = skeleton.draw(keypoints, *masks.shape[1:]).max(-1) > 60
    wide = max(masks.shape[1] // 32, 1)
    bodies = np.stack([binary_dilation(one, iterations=wide) for one in drawn])
    out = np.zeros(len(masks))
    out[1:-1] = _flicker(masks) - _flicker(bodies.astype(np.float32))
    return out.clip(0)


def joint_coverage(masks: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """Share (F,) of the visible joints that lie on the mask or near its edge; 1 without joints."""
    height, width = masks.shape[1:]
    out = np.ones(len(masks))
    for index, (mask, pose) in enumerate(zip(masks, keypoints, strict=True)):
        points = pose[pose[:, 2] >= VISIBLE, :2]
        if len(points):
            near = binary_dilation(mask > 0.3, iterations=max(height // 40, 1))
            x, y = points.astype(int).clip(0, (width - 1, height - 1)).T
            out[index] = near[y, x].mean()
    return out


def brightness(pictures: np.ndarray, masks: np.ndarray) -> tuple[float, float]:
    """Luma 0..255 that a tenth of the person's pixels exceed, and the share of them that is
    overexposed; (255, 0) without a person."""
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
    """Difference (F - 2,) of each inner frame to the median of it and its neighbors, as a share of
    the area; steady motion in one direction contributes little."""
    before, here, after = masks[:-2], masks[1:-1], masks[2:]
    middle = np.maximum(np.minimum(before, here), np.minimum(np.maximum(before, here), after))
    area = np.maximum(here.sum((1, 2)), middle.sum((1, 2)))
    return np.abs(here - middle).sum((1, 2)) / np.maximum(area, 1)


def _background(pose: np.ndarray, height: int, width: int, scale: float) -> np.ndarray:
    """float32 (height, width): 0 in the person's bounding box with a margin, 1 outside."""
    out = np.ones((height, width), np.float32)
    points = pose[pose[:, 2] >= VISIBLE, :2] * scale
    if len(points):
        (left, top), (right, bottom) = points.min(0), points.max(0)
        room = 0.15 * (bottom - top)
        rows = slice(max(int(top - 1.2 * room), 0), max(int(bottom + room), 0) + 1)
        out[rows, max(int(left - room), 0) : max(int(right + room), 0) + 1] = 0
    return out


def _power(transformed: np.ndarray, shape: tuple[int, ...]) -> float:
    """Sum of squares of the picture with this half spectrum (Parseval)."""
    return float((np.fft.irfft2(transformed, s=shape) ** 2).sum())
