"""The colors of people's clothes, by which people are distinguished."""

from __future__ import annotations

import numpy as np

from animateanywhere.pose.keypoints import VISIBLE

ACROSS = np.linspace(0.2, 0.8, 6)  # positions on the trunk, from right to left and top to bottom
ALONG = np.linspace(0.15, 0.85, 8)  # positions along the thighs
QUANTILES = (0.25, 0.5, 0.75)
COUNT = 2 * 3 * len(QUANTILES)


def colors(frame: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """Quartiles of red, green and blue on the trunk and on the thighs.

    Args:
        frame: uint8 (H, W, 3).
        keypoints: (N, 18, 3) in its pixels.

    Returns:
        float32 (N, 18) in 0..255; NaN for a part that is not visible.
    """
    rows = [[_quartiles(frame, _trunk(pose)), _quartiles(frame, _thighs(pose))]
            for pose in keypoints]  # fmt: skip
    return np.array(rows, np.float32).reshape(len(keypoints), COUNT)


def _trunk(pose: np.ndarray) -> np.ndarray:
    """Points (N, 2) on the trunk between shoulders and hips."""
    if (pose[[2, 5, 8, 11], 2] < VISIBLE).any():
        return np.empty((0, 2))
    right, left, right_hip, left_hip = pose[[2, 5, 8, 11], :2]
    down, side = (grid.reshape(-1, 1) for grid in np.meshgrid(ACROSS, ACROSS))
    top, bottom = right + side * (left - right), right_hip + side * (left_hip - right_hip)
    return top + down * (bottom - top)


def _thighs(pose: np.ndarray) -> np.ndarray:
    """Points (N, 2) on the visible thighs."""
    shown = [pair for pair in ((8, 9), (11, 12)) if (pose[list(pair), 2] >= VISIBLE).all()]
    lines = [pose[a, :2] + ALONG[:, None] * (pose[b, :2] - pose[a, :2]) for a, b in shown]
    return np.concatenate([np.empty((0, 2)), *lines])


def _quartiles(frame: np.ndarray, points: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    inside = ((points >= 0) & (points < (width, height))).all(1)
    x, y = points[inside].astype(int).T
    if len(x) < 4:
        return np.full(3 * len(QUANTILES), np.nan)
    return np.quantile(frame[y, x], QUANTILES, axis=0).ravel()
