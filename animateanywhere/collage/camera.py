"""A camera that is followed: where each frame of a scene lies on one canvas, on which the
background stands still.

A camera that pans or shakes is followed by whole pixels (masked normalized cross-correlation,
Padfield 2012, doi:10.1109/TIP.2011.2181402), one that zooms by least squares. Frames that show
something else, after a cut or damaged, are another view.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.ndimage import binary_erosion, gaussian_filter

LARGEST = 384  # pixels of the canvas's longer side
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


class Canvas(NamedTuple):
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


def canvas_of(places: np.ndarray, size: tuple[int, int]) -> Canvas:
    """A canvas that holds all places (F, 3), about as fine as their pictures, which have a size."""
    corner, widths = places[:, :2].astype(np.float64), places[:, 2].astype(np.float64)
    fine = size[0] / np.median(widths)
    return fitted(widths / size[0] * fine, corner * fine, size)


def fitted(
    scale: np.ndarray, corner: np.ndarray, size: tuple[int, int], largest: float = LARGEST
) -> Canvas:
    """A canvas that just holds pictures, smaller if it would be larger than `largest`."""
    low, high = corner.min(0), (corner + np.array(size) * scale[:, None]).max(0)
    smaller = min(1.0, largest / (high - low).max())
    width, height = np.ceil((high - low) * smaller).astype(int)
    return Canvas(int(width), int(height), scale * smaller, (corner - low) * smaller)


class _Place(NamedTuple):
    """Where a frame is against where its square is: `zoom` times as large, and moved (2,)."""

    zoom: float
    moved: np.ndarray


def followed(
    scene: np.ndarray, shown: np.ndarray, canvas: Canvas
) -> tuple[Canvas, np.ndarray]:  # fmt: skip
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
    return fitted(canvas.scale * zooms, corner, (scene.shape[2], scene.shape[1])), views


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
    both = fitted(scale, corner, (grays.shape[2], grays.shape[1]), largest=np.inf)
    old, new = (both.laid(one, n) for n, one in enumerate(grays))
    was, now = (both.laid(one, n) == 255 for n, one in enumerate(shown))
    return old, new, was, now, corner.min(0)


def _apart(old: np.ndarray, new: np.ndarray, where: np.ndarray) -> float:
    """By how many gray levels two pictures differ, but for the exposure; 0 where nothing is."""
    apart = (new.astype(np.float32) - old)[where]
    return float(np.abs(apart - np.median(apart)).mean()) if apart.size else 0.0


def _moved(picture: np.ndarray, size: tuple[int, int], data: tuple[float, ...]) -> np.ndarray:
    """A picture uint8 (H, W[, 3]) in another frame of a size, by an affine map of its pixels."""
    image = Image.fromarray(picture)
    moved = image.transform(size, Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
    return np.asarray(moved)
