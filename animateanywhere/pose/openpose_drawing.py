"""Skeleton pictures as the detectors draw them on whose pictures public ControlNets and Wan VACE
were trained: OpenPose's rendering for ControlNet (arXiv 2302.05543).

A limb is an ellipse between its joints that is 8 pixels wide in a picture of 512, in 60 % of its
color; a joint is a disc of radius 4 in full color, on top; edges are hard. Geometry is truncated to
whole pixels and degrees as it is there. The bundled base was trained with wider limbs
(`skeleton.draw`).
"""

from __future__ import annotations

import numpy as np

from animateanywhere.pose.keypoints import COLORS, LIMBS, VISIBLE

RADIUS = 4 / 512  # of the shorter side: half the width of a limb, and a joint's radius
SHADE = 0.6  # of a limb's color
ROUND = 0.55  # pixels by which a polygon on whole pixels exceeds the ellipse


def draw(keypoints: np.ndarray, height: int, width: int) -> np.ndarray:
    """Skeleton pictures of OpenPose-18 keypoints, for networks trained on OpenPose's own.

    Args and result are those of `skeleton.draw`: keypoints float (F, 18, 3) in pixels ->
    uint8 (F, height, width, 3), on black.
    """
    points = np.asarray(keypoints, dtype=np.float32)
    radius = RADIUS * min(height, width)
    pictures = np.zeros((len(points), height, width, 3), dtype=np.uint8)
    shown = (points[..., 2] >= VISIBLE) & np.isfinite(points).all(-1)
    shaded = (COLORS * SHADE).astype(np.uint8)
    for picture, pose, visible in zip(pictures, points[..., :2], shown, strict=True):
        for (a, b), color in zip(LIMBS, shaded, strict=False):
            if visible[a] and visible[b]:
                _limb(picture, pose[a], pose[b], radius, color)
        for index in np.flatnonzero(visible):
            _disc(picture, pose[index], radius, COLORS[index])
    return pictures


def _limb(
    picture: np.ndarray, start: np.ndarray, end: np.ndarray, radius: float, color: np.ndarray
) -> None:
    """Fill an ellipse from start to end, (x, y), in a picture (H, W, 3), in place."""
    dx, dy = (float(value) for value in start - end)
    along = int(np.hypot(dx, dy) / 2)
    angle = np.radians(int(np.degrees(np.arctan2(dy, dx))))
    middle = np.trunc((start + end) / 2)
    x, y, patch = _around(picture, middle, max(along, radius) + 1)
    u = (x * np.cos(angle) + y * np.sin(angle)) / (along + ROUND)
    v = (y * np.cos(angle) - x * np.sin(angle)) / (radius + ROUND)
    patch[u**2 + v**2 <= 1] = color


def _disc(picture: np.ndarray, middle: np.ndarray, radius: float, color: np.ndarray) -> None:
    x, y, patch = _around(picture, np.trunc(middle), radius + 1)
    patch[x**2 + y**2 <= radius**2] = color


def _around(
    picture: np.ndarray, middle: np.ndarray, reach: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The part of a picture within reach of a point: x (1, w) and y (h, 1) relative to it, and the
    pixels (h, w, 3), a view."""
    height, width = picture.shape[:2]
    column, row = (int(value) for value in middle)
    left, top = (int(np.clip(v - reach, 0, s)) for v, s in ((column, width), (row, height)))
    right, bottom = (int(np.clip(v + reach + 1, 0, s)) for v, s in ((column, width), (row, height)))
    x = np.arange(left, right, dtype=np.float32)[None] - column
    y = np.arange(top, bottom, dtype=np.float32)[:, None] - row
    return x, y, picture[top:bottom, left:right]
