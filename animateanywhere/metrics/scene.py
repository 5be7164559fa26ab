"""Is it the scene that was asked for, and not the one the person was filmed in?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from scipy.optimize import linear_sum_assignment
from skimage.color import deltaE_ciede2000, rgb2lab

from animateanywhere.metrics.arrays import Array, evenly_spaced, soft
from animateanywhere.metrics.likeness import matched_delta_e

GRID = 8  # cells along each side of a picture in `leak`


def _cells(frame: NDArray, mask: NDArray) -> Array:
    """Background cells of a picture: Lab mean, spread of lightness, row and column. `(N, 6)`."""
    height, width = (GRID * (side // GRID) for side in frame.shape[:2])
    shape = (GRID, height // GRID, GRID, width // GRID)
    lab = rgb2lab(frame[:height, :width]).astype(np.float32).reshape(*shape, 3)
    free = 1 - soft(mask)[:height, :width].reshape(shape)  # 1 where the scene shows
    area = free.sum(axis=(1, 3)) + 1e-6  # (GRID, GRID)
    mean = (lab * free[..., None]).sum(axis=(1, 3)) / area[..., None]
    deviation = (lab[..., 0] - mean[:, None, :, None, 0]) ** 2 * free
    spread = np.sqrt(deviation.sum(axis=(1, 3)) / area)
    place = np.indices((GRID, GRID)).transpose(1, 2, 0).astype(np.float32) / GRID
    cells = np.concatenate([mean, spread[..., None], place], axis=-1)
    return cells[free.mean(axis=(1, 3)) > 0.7]


def _cell_distance(a: Array, b: Array) -> float:
    """Mean difference of two pictures' cells, matched one to one so that it is least.

    Units of CIEDE2000; texture counts as a difference of lightness, and moving a cell across the
    whole picture costs 20, so that a scene seen from a little further left stays the same scene.
    """
    if not min(len(a), len(b)):
        return float("nan")
    color = deltaE_ciede2000(a[:, None, :3], b[None, :, :3])
    texture = np.abs(a[:, None, 3] - b[None, :, 3])
    place = np.linalg.norm(a[:, None, 4:] - b[None, :, 4:], axis=-1)
    cost = color + texture + 20 * place
    return float(cost[linear_sum_assignment(cost)].mean())


def scene_distance(a: NDArray, a_mask: NDArray, b: NDArray, b_mask: NDArray) -> float:
    """How unlike two pictures `(H, W, 3)` are outside of their persons, in CIEDE2000 and more.

    0 for equal ones; a scene seen from elsewhere stays near, another scene is 15 to 40. Masks
    `(H, W)`: the persons. `nan` where one of them leaves no background.
    """
    return _cell_distance(_cells(a, a_mask), _cells(b, b_mask))


def leak(
    result: NDArray,
    result_masks: NDArray,
    reference: NDArray,
    reference_masks: NDArray,
    unrelated: NDArray,
    unrelated_masks: NDArray | None = None,
    *,
    max_frames: int = 4,
) -> float:
    """How much of the reference's scene shows where another was asked for, outside the person.

    0: no more like the reference's scene than unrelated scenes are; 1: the reference's scene
    itself. `1 - d(result, reference) / d(unrelated, reference)`, cut to 0..1, where d matches the
    background cells of two pictures (color, texture, place) one to one at least cost: a copy has
    d = 0, half a copy about half, and a wall of the same color and texture elsewhere in the
    picture counts too. unrelated: `(K, H, W, 3)` pictures of other scenes than the reference's,
    best of the scene that was asked for (then a faithful result is 0 by construction). `max_frames`
    frames of each clip are compared; of the reference's the nearest counts. The definition is
    ours. On puppets: truth 0 to 0.08, half mixed in 0.3 to 0.5, pasted 0.99. A washed-out gray
    lies between all scenes and reads up to 0.4: see it beside `scene_accuracy`.
    """
    known = [
        _cells(reference[i], reference_masks[i]) for i in evenly_spaced(len(reference), max_frames)
    ]
    if unrelated_masks is None:
        unrelated_masks = np.zeros(unrelated.shape[:3], np.uint8)

    def distance(frame: NDArray, mask: NDArray) -> float:
        cells = _cells(frame, mask)
        return min(_cell_distance(cells, other) for other in known)

    chosen = evenly_spaced(len(result), max_frames)
    own = np.nanmean([distance(result[i], result_masks[i]) for i in chosen])
    usual = np.nanmean([distance(*pair) for pair in zip(unrelated, unrelated_masks, strict=True)])
    return float(np.clip(1 - own / usual, 0, 1))


def scene_delta_e(
    result: NDArray,
    result_masks: NDArray,
    requested: NDArray,
    asked_masks: NDArray,
    *,
    max_frames: int = 4,
) -> float:
    """How far the background is from true pictures of the scene that was asked for, in CIEDE2000.

    asked: `(K, H, W, 3)` pictures of that scene in several layouts, of which the nearest counts;
    color, texture and place are matched as in `leak`. Fog, mosaics and washed-out colors cost here
    where `scene_accuracy`, content with a hint, sees none. Another layout of the same scene gives
    what is natural: see it beside the truth's own. The definition is ours.
    """
    known = [_cells(*pair) for pair in zip(requested, asked_masks, strict=True)]
    chosen = evenly_spaced(len(result), max_frames)
    cells = [_cells(result[i], result_masks[i]) for i in chosen]
    return float(np.mean([min(_cell_distance(own, other) for other in known) for own in cells]))


def scene_accuracy(probabilities: NDArray, requested: int) -> float:
    """Share of frames whose most likely scene, of probabilities `(F, S)`, is the one asked for."""
    return float((probabilities.argmax(axis=1) == requested).mean())


def object_present(
    result: NDArray, truth: NDArray, without: NDArray, *, within: int = 3, most: int = 64
) -> float:
    """Share of frames that show the object, judged by two true renders: with it and without it.

    result, truth, without: uint8 `(F, H, W, 3)`. Where the two renders differ is the object's
    place; there, give or take `within` pixels, the result's colors are matched with those of
    either (as in `person_delta_e`), and the object shows where it is clearly nearer (by a
    quarter: noise is as near to both). The definition is ours. `nan` where the renders are equal.
    """
    thin = np.random.default_rng(0).random(truth.shape[1:3])
    disk = np.hypot(*np.mgrid[-within : within + 1, -within : within + 1]) <= within
    shown = []
    for made, true, empty in zip(result, truth, without, strict=True):
        place = np.abs(true.astype(int) - empty).max(-1) > 24
        if place.sum() < 8:
            continue
        kept = thin <= max(most / place.sum(), np.sort(thin[place])[7])
        near = kept & binary_dilation(place, disk)
        made_lab, true_lab, empty_lab = (rgb2lab(frame) for frame in (made, true, empty))
        place = kept & place
        errors = [matched_delta_e(made_lab[near], lab[place]) for lab in (true_lab, empty_lab)]
        shown.append(errors[0] < 0.75 * errors[1])
    return float(np.mean(shown)) if shown else float("nan")
