"""Frames that a photographer's flash lights: one shot, far brighter for a moment.

The shot goes on after it. Where it does not, as a cut comes right before or after the flash, the
lit frames must show the same as the shot, at least one of them, where the others are nothing but
white: so a white title card between two shots is none.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from animateanywhere.preprocessing.quality.footage import downscaled, gray

SIDE = 24  # pixels of the longer side of the frames that are compared
LONGEST = 0.8  # seconds of a flash
BRIGHTER = 10.0  # gray levels that a flash adds on average
NOWHERE_DARKER = 0.9  # share of the pixels, but for what moves
ALIKE = 12.0  # gray levels by which the frames before and after differ at most on average,
NOISE, SPREAD = 2.0, 0.75  # and of dark or plain ones: so many, and this share of their contrast
BLUR, PLAIN = 1.5, 1.0  # deviation in pixels, and in gray levels: less is nothing but noise
STILL = 0.5  # correlation, so blurred, of frames before and after in which somebody small moves
SHOWS = 0.8  # correlation from which a lit frame shows the same as the shot
WHITE = 250  # gray level; brighter is nothing but white
ALL = 0.95  # share of a frame's pixels


class Flashes(NamedTuple):
    """Of each frame, bool (F,): whether a flash lights it, whether that leaves nothing but white,
    and whether it goes on with the shot of the frame before, whatever its colors say."""

    lit: np.ndarray
    white: np.ndarray
    goes_on: np.ndarray


def brightness(frames: np.ndarray) -> np.ndarray:
    """Frames uint8 (F, H, W, 3) in gray and small, uint8 (F, h, w)."""
    return gray(downscaled(frames, SIDE)).round().astype(np.uint8)


def find_flashes(small: np.ndarray, fps: float) -> Flashes:
    """The flashes of a scene. small: of `brightness`."""
    count = len(small)
    lit, goes_on = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
    most = max(round(LONGEST * fps), 1)
    for start in range(1, count):  # within a shot, or at its end
        stop = _end(small, start, most)
        if lit[start] or stop == start:
            continue
        within = stop < count and _alike(small[start - 1], small[stop])
        if within or _shows(small[start:stop], small[start - 1]):
            lit[start:stop] = True
            goes_on[start : stop + within] = True
    backwards = small[::-1]
    for start in range(1, count):  # at the beginning of a shot
        stop = _end(backwards, start, most)
        here = slice(count - stop, count - start)
        if stop > start and not lit[here].any() and _shows(small[here], backwards[start - 1]):
            lit[here] = True
            goes_on[count - stop + 1 : count - start + 1] = True
    return Flashes(lit, lit & _white(small), goes_on)


def _end(small: np.ndarray, start: int, most: int) -> int:
    """The end of the frames from `start` on that are brighter than the one before them; `start`
    where it is not, or where more are than `most`."""
    added = small[start : start + most + 1].astype(np.int16) - small[start - 1]
    bright = added.mean((1, 2)) > BRIGHTER
    bright &= (added >= 0).mean((1, 2)) >= NOWHERE_DARKER
    if not bright.all():
        return start + int(np.argmin(bright))
    return start + len(bright) if len(bright) <= most else start


def _alike(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether two frames (h, w) are of one shot."""
    spread = np.abs(before - before.mean()).mean()
    apart = np.abs(before.astype(np.int16) - after).mean()
    if apart > min(ALIKE, NOISE + SPREAD * spread):
        return False
    # On average a small person before a plain ground changes little
    soft = [gaussian_filter(one.astype(np.float32), BLUR) for one in (before, after)]
    return max(one.std() for one in soft) < PLAIN or _correlation(*soft) >= STILL


def _shows(lit: np.ndarray, shot: np.ndarray) -> bool:
    """Whether frames (n, h, w) show what another one, (h, w), does, only brighter: at least one,
    and all that are not white."""
    left = lit[~_white(lit)]
    return bool(len(left)) and all(_correlation(one, shot) >= SHOWS for one in left)


def _white(small: np.ndarray) -> np.ndarray:
    """Which frames (F, h, w) are nothing but white, bool (F,)."""
    white: np.ndarray = (small >= WHITE).mean((1, 2)) >= ALL
    return white


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """That of two frames (h, w); 0 with one that shows nothing."""
    if not (one.std() and other.std()):
        return 0.0
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])
