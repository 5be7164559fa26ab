"""Frames that a photographer's flash lights: one shot, far brighter for a moment."""

from __future__ import annotations

import numpy as np

from animateanywhere.preprocessing.quality.footage import downscaled, gray

SIDE = 24  # pixels of the longer side of the frames that are compared
LONGEST = 0.8  # seconds of a flash
BRIGHTER = 10.0  # gray levels that a flash adds on average
NOWHERE_DARKER = 0.9  # share of the pixels, but for what moves
ALIKE = 12.0  # gray levels by which the frames before and after differ at most on average


def brightness(frames: np.ndarray) -> np.ndarray:
    """Frames uint8 (F, H, W, 3) in gray and small, uint8 (F, h, w)."""
    return gray(downscaled(frames, SIDE)).round().astype(np.uint8)


def flash_frames(small: np.ndarray, fps: float) -> np.ndarray:
    """Which frames a flash lights, bool (F,). small: of `brightness`."""
    lit = np.zeros(len(small), dtype=bool)
    most = max(round(LONGEST * fps), 1)
    for start in range(1, len(small) - 1):
        if lit[start]:
            continue
        added = small[start : start + most + 1].astype(np.int16) - small[start - 1]
        bright = added.mean((1, 2)) > BRIGHTER
        bright &= (added >= 0).mean((1, 2)) >= NOWHERE_DARKER
        length = int(np.argmin(bright)) if not bright.all() else 0  # 0: it goes on
        if length and np.abs(added[length]).mean() <= ALIKE:
            lit[start : start + length] = True
    return lit
