"""What stands behind the old person: as other frames of the scene show it, where they do; elsewhere
the colors around.

What the network sees of each frame is laid on one canvas, on which the background stands still
(`camera`); frames that show something else have a canvas of their own. What the canvas tells is
taken for a frame only where it agrees with what that frame shows nearby.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import binary_dilation, gaussian_filter

from animateanywhere.collage.camera import Canvas, canvas_of, fitted, followed

FRAMES = 32  # of a chunk, evenly spread, that the canvas is made of
AROUND = 0.06  # of the longer side: the width around the person in which both must agree
AGREE = 10.0  # gray levels near a place: up to so many it is taken, and from twice as many on not
SEVERAL = 3  # frames that show a pixel: of fewer, a frame is compared with itself
CONTRAST = (0.25, 4.0)  # of a frame to the others, as a light fades: limits
STEADY = 0.1  # a contrast that differs by less is the same
NOT_SHOWN = 999  # more than any color


def behind(
    scene: np.ndarray, places: np.ndarray, hidden: np.ndarray, unsure: np.ndarray | None = None,
    advance: Callable[[], None] = lambda: None,
) -> np.ndarray:  # fmt: skip
    """Parts of a scene without who is hidden.

    Args:
        scene: uint8 (F, H, W, 3), of consecutive frames.
        places: int (F, 3), left, top and width of each in pixels of the scene.
        hidden: bool (F, H, W), where people are.
        unsure: bool (F, H, W), what else is not surely the background: made up beyond the edges of
            the scene, or somebody whom `hidden` lacks (`unmasked`). None: nothing.
        advance: called for each frame.

    Returns:
        uint8 (F, H, W, 3), which equals `scene` where nobody is, and in frames that people fill.
    """
    if not hidden.any():
        return scene.copy()
    known = ~hidden if unsure is None else ~(hidden | unsure)  # (F, H, W)
    shown = (known * 255).astype(np.uint8)
    size = scene.shape[2], scene.shape[1]
    canvas, views = followed(scene, shown, canvas_of(places, size))
    out = scene.copy()
    for view in range(views.max() + 1):
        some = np.flatnonzero(views == view)
        own = fitted(canvas.scale[some], canvas.corner[some], size)
        plate, count = _plate(scene[some], shown[some], own)
        plate = filled_smoothly(plate, count == 0)
        sure = ((count >= SEVERAL) * 255).astype(np.uint8)
        for row, index in enumerate(some):
            advance()
            if hidden[index].any():
                there, compared = (own.cut(one, row, size) for one in (plate, sure))
                out[index] = _filled(
                    scene[index], hidden[index], known[index], there, compared > 127
                )
    return out


def _filled(
    own: np.ndarray, hole: np.ndarray, known: np.ndarray, there: np.ndarray, sure: np.ndarray
) -> np.ndarray:
    """A frame (H, W, 3) uint8 without who is in a hole, (H, W): there is what the canvas shows,
    uint8 (H, W, 3), and sure, (H, W), where several frames did."""
    near = binary_dilation(hole, iterations=max(round(AROUND * max(hole.shape)), 1))
    both = known & sure
    around = near & both
    if not around.any():
        return filled_smoothly(own, hole)
    filled = there * _contrast(own, there, both)  # (H, W, 3)
    filled += np.median((own - filled)[around], 0)  # exposure changes
    wrong = np.abs(own - filled).mean(-1, keepdims=True).clip(0, 255)
    wrong[~sure] = 255
    share = (2 - filled_smoothly(wrong, ~known) / AGREE).clip(0, 1)  # (H, W, 1)
    if (share[hole] < 1).any():
        smooth = filled_smoothly(own, hole)
        filled = smooth + share * (filled - smooth)
    out = own.copy()
    out[hole] = (filled[hole] + 0.5).clip(0, 255)
    return out


def filled_smoothly(frame: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """A frame (H, W, C) in 0..255, as uint8, with the colors around a hole, bool (H, W), in it:
    means, of ever wider surroundings the farther they are."""
    known = (~hole).astype(np.float32)[..., None]
    out, sums, left = frame.astype(np.float32), frame * known, hole.copy()
    width = 1.5
    while left.any() and width < 2 * len(frame):
        share = gaussian_filter(known, (width, width, 0))
        near = left & (share[..., 0] > 0.05)
        means = gaussian_filter(sums, (width, width, 0)) / np.maximum(share, 1e-6)
        out[near] = means[near]
        left &= ~near
        width *= 2
    return (out + 0.5).clip(0, 255).astype(np.uint8)


def _plate(scene: np.ndarray, shown: np.ndarray, canvas: Canvas) -> tuple[np.ndarray, np.ndarray]:
    """The median uint8 (H, W, 3) of the frames that show each pixel of the canvas, and how many do,
    (H, W)."""
    some = np.linspace(0, len(scene) - 1, min(FRAMES, len(scene))).round().astype(int)
    stack = np.full((len(some), canvas.height, canvas.width, 3), NOT_SHOWN, np.int16)
    for row, index in zip(stack, some, strict=True):
        seen = canvas.laid(shown[index], index) > 127
        row[seen] = canvas.laid(scene[index], index)[seen]
    plate, count = _median(stack)
    seen = stack[..., 0] != NOT_SHOWN  # (N, H, W)
    for row, own in zip(stack, seen, strict=True):  # as bright as the others
        both = own & (count >= SEVERAL)
        if both.any():
            even = row * _contrast(plate, row, both)
            even += np.median((plate - even)[both], 0)
            row[own] = (even[own] + 0.5).clip(0, 255)
    return _median(stack)


def middles(stack: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The lower and the upper middle value (H, W, 3) of pictures int16 (N, H, W, 3), of which not
    all show each pixel (`NOT_SHOWN`), and how many do, (H, W). Where none does, both are that."""
    count = (stack[..., 0] != NOT_SHOWN).sum(0)
    ordered = np.sort(stack, 0)  # what is not shown comes last
    lower, upper = (
        np.take_along_axis(ordered, place[None, ..., None], 0)[0]
        for place in (np.maximum(count - 1, 0) // 2, count // 2)
    )
    return lower, upper, count


def _median(stack: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The median uint8 (H, W, 3) of pictures as for `middles`, and how many show each pixel."""
    lower, _, count = middles(stack)
    return np.where(count[..., None] > 0, lower, 0).astype(np.uint8), count


def _contrast(own: np.ndarray, other: np.ndarray, where: np.ndarray) -> np.ndarray:
    """The contrast (3,) float32 of a picture (H, W, 3) as a multiple of another one's, by what is
    at the same place."""
    if not where.any():
        return np.ones(3, np.float32)
    gain = own[where].std(0) / np.maximum(other[where].std(0), 1e-3)
    gain = gain.clip(*CONTRAST)
    return np.where(np.abs(gain - 1) < STEADY, 1, gain).astype(np.float32)
