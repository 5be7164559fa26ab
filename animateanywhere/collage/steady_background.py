"""A background that stands still where a small network's trembles.

Not in a paper. Such a network draws each frame of a still scene a little differently. A median over
many frames ends that; where the scene itself moves, which a median over few frames tells from
trembling, that one is taken, and the frame as it is where something passes faster still.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from animateanywhere.collage.background import NOT_SHOWN, middles

MANY, FEW = 8, 2  # frames on both sides, of which the medians are taken
MOVES = 10.0  # gray levels between both, near a place: up to so many it is still
PASSES = 30.0  # gray levels from a frame to that; from twice as many on, neither median is taken
NEARBY = 0.024  # of a frame's height: deviation of the means of what is near a place


def steady_background(frames: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Frames uint8 (F, H, W, 3) of consecutive frames, steadied but where people are hidden, bool
    (F, H, W): there they are as they were, and count for no other frame."""
    known = ~hidden
    stack = np.where(known[..., None], frames, np.int16(NOT_SHOWN))
    out = frames.copy()
    for index, (own, seen) in enumerate(zip(frames.astype(np.float32), known, strict=True)):
        steady, many = (
            _median(stack[max(index - reach, 0) : index + reach + 1]) for reach in (FEW, MANY)
        )
        steady += _alike(many, steady, seen, MOVES) * (many - steady)
        new = own + _alike(steady, own, seen, PASSES) * (steady - own)
        out[index][seen] = (new[seen] + 0.5).astype(np.uint8)
    return out


def _median(stack: np.ndarray) -> np.ndarray:
    """The median float32 (H, W, 3) of pictures as for `middles`, where any shows a pixel."""
    lower, upper, _ = middles(stack)
    return np.asarray((lower + upper) / np.float32(2))


def _alike(one: np.ndarray, other: np.ndarray, known: np.ndarray, limit: float) -> np.ndarray:
    """Where two pictures (H, W, 3) show the same, (H, W, 1) in 0..1: 1 up to a limit of their mean
    difference nearby, and 0 from twice that on. known: bool (H, W), what counts."""
    sigma = NEARBY * len(known)
    apart = np.abs(one - other).mean(-1) * known
    share = gaussian_filter(known.astype(np.float32), sigma)
    near = gaussian_filter(apart, sigma) / np.maximum(share, 1e-3)
    return np.asarray((2 - near / limit).clip(0, 1)[..., None])
