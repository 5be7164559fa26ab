"""What stands behind the old person: as other frames of the scene show it, where they do; elsewhere
the colors around.

What the network sees of each frame is laid on one canvas, on which the background of a still camera
stands still; a camera that pans or shakes is followed by whole pixels (masked normalized
cross-correlation, Padfield 2012, doi:10.1109/TIP.2011.2181402), one that zooms by least squares.
Frames that show something else, after a cut or damaged, have a canvas of their own. What the canvas
tells is taken for a frame only where it agrees with what that frame shows nearby.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.ndimage import binary_dilation, binary_erosion, gaussian_filter

LARGEST = 384  # pixels of the canvas's longer side
FRAMES = 32  # of a chunk, evenly spread, that the canvas is made of
AROUND = 0.06  # of the longer side: the width around the person in which both must agree
AGREE = 10.0  # gray levels near a place: up to so many it is taken, and from twice as many on not
SEVERAL = 3  # frames that show a pixel: of fewer, a frame is compared with itself
STILL = 4.0  # gray levels from frame to frame: less, and the camera stood still
OVERLAP = 0.5  # of two frames, at least, when a camera is followed
SHARED = 0.7  # of what two frames show: with less in common, the next is compared with its neighbor
BETTER = 0.8  # times what they differed by: a shift that gains less is none
ROUNDS, BLUR = 3, 1.5  # steps in which a zoom is found, in pictures blurred by so many pixels
ZOOM = 0.004  # by less, a camera does not zoom
LARGER, LIMITS = 0.05, (0.25, 4.0)  # at most, from step to step and in all
USUAL = 0.9  # of the pixels; those that differ most are left out of it
ENOUGH = 64  # pixels: by fewer, nothing is compared
ALIKE = 0.6  # a correlation: with less, and if they differ by so many times `STILL`,
OTHER = 2.0  # two frames show something else
CONTRAST = (0.25, 4.0)  # of a frame to the others, as a light fades: limits
STEADY = 0.1  # a contrast that differs by less is the same
NOT_SHOWN = 999  # more than any color


class _Canvas(NamedTuple):
    """Where pictures (F, H, W, 3) lie: on a canvas of `width` x `height` pixels, the pixel p of
    frame f is at p * scale[f] + corner[f]; scale (F,), corner (F, 2)."""

    width: int
    height: int
    scale: np.ndarray
    corner: np.ndarray

    def laid(self, picture: np.ndarray, frame: int) -> np.ndarray:
        """A picture (H, W[, 3]) uint8 on the canvas, with zeros around it."""
        scale, (left, top) = 1 / self.scale[frame], self.corner[frame]
        data = (scale, 0, -left * scale, 0, scale, -top * scale)
        return _moved(picture, (self.width, self.height), data)

    def cut(self, canvas: np.ndarray, frame: int, size: tuple[int, int]) -> np.ndarray:
        """Of a canvas (H, W[, 3]) uint8, the place of a picture, of a size in pixels."""
        scale, (left, top) = self.scale[frame], self.corner[frame]
        return _moved(canvas, size, (scale, 0, left, 0, scale, top))


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
    canvas, views = _followed(scene, shown, _canvas_of(places, size))
    out = scene.copy()
    for view in range(views.max() + 1):
        some = np.flatnonzero(views == view)
        own = _fitted(canvas.scale[some], canvas.corner[some], size)
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


def _canvas_of(places: np.ndarray, size: tuple[int, int]) -> _Canvas:
    """A canvas that holds all places (F, 3), about as fine as their pictures, which have a size."""
    corner, widths = places[:, :2].astype(np.float64), places[:, 2].astype(np.float64)
    fine = size[0] / np.median(widths)
    return _fitted(widths / size[0] * fine, corner * fine, size)


def _fitted(
    scale: np.ndarray, corner: np.ndarray, size: tuple[int, int], largest: float = LARGEST
) -> _Canvas:
    """A canvas that just holds pictures, smaller if it would be larger than `largest`."""
    low, high = corner.min(0), (corner + np.array(size) * scale[:, None]).max(0)
    smaller = min(1.0, largest / (high - low).max())
    width, height = np.ceil((high - low) * smaller).astype(int)
    return _Canvas(int(width), int(height), scale * smaller, (corner - low) * smaller)


class _Place(NamedTuple):
    """Where a frame is against where its square is: `zoom` times as large, and moved (2,)."""

    zoom: float
    moved: np.ndarray


def _followed(
    scene: np.ndarray, shown: np.ndarray, canvas: _Canvas
) -> tuple[_Canvas, np.ndarray]:  # fmt: skip
    """The canvas with pictures moved and enlarged as the camera moves and zooms, from frame to
    frame; and which view each shows, int (F,), from 0 on: after a cut, or damaged, it is another
    one."""
    grays = scene.mean(-1).astype(np.uint8)  # (F, H, W)
    places = [_Place(1.0, np.zeros(2))]
    views, keys, lasts = np.zeros(len(scene), int), [0], [0]  # of each view its key and last frame

    def pair(key: int, index: int, place: _Place) -> tuple[np.ndarray, ...]:
        some = [key, index]
        zoom = np.array([places[key].zoom, place.zoom])
        corner = canvas.corner[some] * zoom[:, None] + [places[key].moved, place.moved]
        return _laid_both(grays[some], shown[some], canvas.scale[some] * zoom, corner)

    for index in range(1, len(scene)):
        for view in dict.fromkeys((views[index - 1], np.bincount(views[:index]).argmax())):
            key, last = keys[view], lasts[view]
            _, _, was, now, _ = pair(key, index, places[last])
            # From one frame for as long as possible: what is less than a pixel must not add up
            if (was & now).sum() < SHARED * max(min(was.sum(), now.sum()), 1):
                key = last
            place, same = _nearest(partial(pair, key, index), places[last])
            if same:
                break
        else:
            view, key, place = len(keys), index, places[index - 1]
            keys.append(key)
            lasts.append(index)
        places.append(place)
        views[index], keys[view], lasts[view] = view, key, index
    zooms = np.array([place.zoom for place in places])
    corner = canvas.corner * zooms[:, None] + np.stack([place.moved for place in places])
    return _fitted(canvas.scale * zooms, corner, (scene.shape[2], scene.shape[1])), views


def _nearest(
    pair: Callable[[_Place], tuple[np.ndarray, ...]], place: _Place
) -> tuple[_Place, bool]:  # fmt: skip
    """The place of a frame in which it differs least from another one, and whether it shows the
    same. pair: both, as `_laid_both` gives them, for a place of the frame; place: where it is if
    no other place is better."""
    from skimage.registration import phase_cross_correlation

    old, new, was, now, _ = best = pair(place)
    least = _apart(old, new, was & now)
    if least > STILL:
        shift = phase_cross_correlation(
            old, new, reference_mask=was, moving_mask=now, overlap_ratio=OVERLAP
        )[0][::-1]
        other = _Place(place.zoom, place.moved + shift)
        old, new, was, now, _ = found = pair(other)
        if (apart := _apart(old, new, was & now)) < BETTER * least:  # else there is no other place
            place, least, best = other, apart, found
    if least > STILL:
        other, found = place, best
        for _ in range(ROUNDS):
            other = _zoomed(other, *found)
            zooms = max(abs(other.zoom - 1), abs(place.zoom - 1)) > ZOOM  # else by whole pixels
            if not (zooms and LIMITS[0] < other.zoom < LIMITS[1]):
                break
            found = pair(other)
        else:
            old, new, was, now, _ = found
            if _apart(old, new, was & now) < BETTER * least:
                place, best = other, found
    old, new, was, now, _ = best
    return place, _alike(old, new, was & now)


def _zoomed(
    place: _Place, old: np.ndarray, new: np.ndarray, was: np.ndarray, now: np.ndarray,
    low: np.ndarray,
) -> _Place:  # fmt: skip
    """A place in which a picture is nearer to another one, as `_laid_both` gives both: one step of
    least squares for zoom, shift, contrast and exposure (Lucas & Kanade 1981)."""
    old, new = (gaussian_filter(one.astype(np.float32), BLUR) for one in (old, new))
    where = binary_erosion(was & now, iterations=round(2 * BLUR))
    if where.sum() < ENOUGH:
        return place
    down, across = np.gradient(old)
    y, x = np.nonzero(where)
    dx, dy, level = across[where], down[where], old[where]
    rows = np.stack([dx * (x + 0.5) + dy * (y + 0.5), dx, dy, level, np.ones_like(level)], 1)
    target = new[where] - level
    apart = np.abs(target - np.median(target))
    near = apart <= np.quantile(apart, USUAL)  # not what moves by itself
    larger, *shift, _, _ = np.linalg.lstsq(rows[near], target[near], rcond=None)[0]
    larger = float(np.clip(larger, -LARGER, LARGER))
    moved = place.moved * (1 + larger) + shift - larger * low
    return _Place(place.zoom * (1 + larger), moved)


def _alike(old: np.ndarray, new: np.ndarray, where: np.ndarray) -> bool:
    """Whether two pictures may show the same: for all that is known, or by their correlation."""
    first, second = old[where].astype(np.float32), new[where].astype(np.float32)
    if len(first) < ENOUGH or _apart(old, new, where) < OTHER * STILL:
        return True
    if not (first.std() and second.std()):
        return False
    return bool(np.corrcoef(first, second)[0, 1] > ALIKE)


def _laid_both(
    grays: np.ndarray, shown: np.ndarray, scale: np.ndarray, corner: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Two pictures (2, H, W) uint8 on a canvas of their own, where each is shown, bool, and the
    corner (2,) of that canvas."""
    both = _fitted(scale, corner, (grays.shape[2], grays.shape[1]), largest=np.inf)
    old, new = (both.laid(one, n) for n, one in enumerate(grays))
    was, now = (both.laid(one, n) == 255 for n, one in enumerate(shown))
    return old, new, was, now, corner.min(0)


def _apart(old: np.ndarray, new: np.ndarray, where: np.ndarray) -> float:
    """By how many gray levels two pictures differ, but for the exposure; 0 where nothing is."""
    apart = (new.astype(np.float32) - old)[where]
    return float(np.abs(apart - np.median(apart)).mean()) if apart.size else 0.0


def _plate(scene: np.ndarray, shown: np.ndarray, canvas: _Canvas) -> tuple[np.ndarray, np.ndarray]:
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


def _moved(picture: np.ndarray, size: tuple[int, int], data: tuple[float, ...]) -> np.ndarray:
    """A picture uint8 (H, W[, 3]) in another frame of a size, by an affine map of its pixels."""
    image = Image.fromarray(picture)
    moved = image.transform(size, Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
    return np.asarray(moved)
