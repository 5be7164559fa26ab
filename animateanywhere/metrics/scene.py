"""Scene metrics: the requested scene, and leakage of the reference's background."""

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
    """Background cells `(N, 6)` of a picture: Lab mean, spread of lightness, row and column."""
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
    """Mean difference of two pictures' cells in an optimal one-to-one matching.

    In units of CIEDE2000; texture counts as a difference of lightness, and moving a cell across the
    whole picture costs 20, so that a scene from a slightly shifted camera stays the same scene.
    """
    if not min(len(a), len(b)):
        return float("nan")
    color = deltaE_ciede2000(a[:, None, :3], b[None, :, :3])
    texture = np.abs(a[:, None, 3] - b[None, :, 3])
    place = np.linalg.norm(a[:, None, 4:] - b[None, :, 4:], axis=-1)
    cost = color + texture + 20 * place
    return float(cost[linear_sum_assignment(cost)].mean())


def scene_distance(a: NDArray, a_mask: NDArray, b: NDArray, b_mask: NDArray) -> float:
    """Difference of the backgrounds of two pictures `(H, W, 3)`, in units of CIEDE2000.

    0 for equal ones; small for the same scene from another position, 15 to 40 for another scene.
    Masks `(H, W)`: the persons. `nan` if one of them leaves no background. The definition is ours.
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
    """Leakage of the reference's scene into a result with another requested scene, 0..1.

    0: no more similar to the reference's scene than unrelated scenes are; 1: the reference's scene
    itself. `1 - d(result, reference) / d(unrelated, reference)`, clipped to 0..1, where d matches
    the background cells of two pictures (color, texture, position) one to one at minimal cost: a
    copy has d = 0, half a copy about half, and a wall of the same color and texture at another
    position counts too. unrelated: `(K, H, W, 3)` pictures of other scenes than the reference's,
    ideally of the requested scene (then a faithful result is 0 by construction). `max_frames`
    frames of each clip are compared; of the reference's the nearest counts. The definition is
    ours. On puppets: truth 0 to 0.08, half blended in 0.3 to 0.5, pasted 0.99. A washed-out gray
    lies between all scenes and reads up to 0.4: compare it with `scene_accuracy`.
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
    """Difference of the background to true pictures of the requested scene, in CIEDE2000.

    requested: `(K, H, W, 3)` pictures of that scene in several layouts, of which the nearest
    counts; color, texture and position are matched as in `leak`. Fog, mosaics and washed-out colors
    cost here, whereas `scene_accuracy` tolerates them. Another layout of the same scene has a
    natural difference too: compare with the truth's value. The definition is ours.
    """
    known = [_cells(*pair) for pair in zip(requested, asked_masks, strict=True)]
    chosen = evenly_spaced(len(result), max_frames)
    cells = [_cells(result[i], result_masks[i]) for i in chosen]
    return float(np.mean([min(_cell_distance(own, other) for other in known) for own in cells]))


def scene_accuracy(probabilities: NDArray, requested: int) -> float:
    """Share of frames whose most likely scene, of probabilities `(F, S)`, is the requested one."""
    return float((probabilities.argmax(axis=1) == requested).mean())


def object_present(
    result: NDArray, truth: NDArray, without: NDArray, *, within: int = 3, most: int = 64
) -> float:
    """Share of frames that show the object, judged by two true renders: with it and without it.

    result, truth, without: uint8 `(F, H, W, 3)`. The object is where the two renders differ;
    there, within `within` pixels, the result's colors are matched with those of either (as in
    `person_delta_e`), and the object counts as shown if its render is clearly nearer (by a quarter:
    noise is equally near to both). The definition is ours. `nan` if the renders are equal.
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
