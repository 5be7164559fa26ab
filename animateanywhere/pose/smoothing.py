"""Smoothing of keypoints over time and interpolation of short gaps."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from animateanywhere.pose.keypoints import VISIBLE

GAP = 0.4  # seconds: longer gaps are not interpolated
# Of the one-euro filter; speed is in hundredths of the body's extent per second, so a limb that
# crosses half the body in a second passes at 21 Hz, unsmoothed at 8 frames per second
CUTOFF, BETA, SPEED_CUTOFF = 1.0, 0.4, 1.0  # Hz, Hz per unit of speed, Hz


def smooth(keypoints: np.ndarray, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """Interpolate gaps of up to `GAP` seconds linearly and smooth jitter.

    The smoothing is the one-euro filter (Casiez et al., CHI 2012), which preserves fast motion;
    forward and backward passes are averaged, so that there is no lag.

    Args:
        keypoints: float (F, 18, 3): x, y in pixels, confidence.
        fps: frame rate.

    Returns:
        float32 (F, 18, 3), and bool (F, 18): which keypoints were interpolated.
    """
    points = np.array(keypoints, dtype=np.float32)
    filled = fill_gaps(points, round(GAP * fps))
    shown = points[..., 2] >= VISIBLE
    unit = _extent(points, shown) / 100
    there = _one_euro(points[..., :2] / unit, shown, fps)
    back = _one_euro(points[::-1, :, :2] / unit, shown[::-1], fps)[::-1]
    points[..., :2] = np.where(shown[..., None], (there + back) / 2 * unit, points[..., :2])
    return points, filled


def fill_gaps(points: np.ndarray, gap: int) -> np.ndarray:
    """Interpolate gaps of up to `gap` frames of poses (F, 18, 3), in place; returns the
    interpolated, bool (F, 18)."""
    filled = np.zeros(points.shape[:2], dtype=bool)
    for joint in range(points.shape[1]):
        track = points[:, joint]
        for a, b in pairwise(np.flatnonzero(track[:, 2] >= VISIBLE)):
            if 1 < b - a <= gap + 1:
                share = ((np.arange(a + 1, b) - a) / (b - a))[:, None]
                track[a + 1 : b] = track[a] * (1 - share) + track[b] * share
                filled[a + 1 : b, joint] = True
    return filled


def _extent(points: np.ndarray, shown: np.ndarray) -> float:
    """Median over frames of the body's longer side in pixels; 1 without visible keypoints."""
    sides = [np.ptp(pose[visible, :2], axis=0).max()
             for pose, visible in zip(points, shown, strict=True) if visible.sum() > 1]  # fmt: skip
    return max(float(np.median(sides)), 1.0) if sides else 1.0


def _one_euro(points: np.ndarray, shown: np.ndarray, fps: float) -> np.ndarray:
    """Filter (F, 18, 2); a joint is reset after frames in which it is not visible."""
    out = points.copy()
    speed = np.zeros(points.shape[1:])  # (18, 2)
    for index in range(1, len(points)):
        known = (shown[index] & shown[index - 1])[:, None]
        change = (points[index] - points[index - 1]) * fps
        speed = np.where(known, speed + _filter_weight(SPEED_CUTOFF, fps) * (change - speed), 0)
        share = _filter_weight(CUTOFF + BETA * np.hypot(*speed.T)[:, None], fps)
        out[index] = np.where(known, out[index - 1] + share * (points[index] - out[index - 1]),
                              points[index])  # fmt: skip
    return out


def _filter_weight(cutoff: float | np.ndarray, fps: float) -> float | np.ndarray:
    """Weight 0..1 of the new value in an exponential filter with this cutoff in Hz."""
    rate = 2 * np.pi * cutoff / fps
    return rate / (rate + 1)
