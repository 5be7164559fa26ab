"""Measures of a result against the true video, as pure functions on arrays.

Frames are uint8 `(F, H, W, 3)`; masks `(F, H, W)`, bool, 0..1 or 0..255; keypoints float
`(F, 18, 3)` in pixels with confidence. What a network has to see first (keypoints and masks of a
result) comes in as arrays. A measure with nothing to look at is `nan`, never a perfect score.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, center_of_mass
from scipy.optimize import linear_sum_assignment
from skimage.color import deltaE_ciede2000, rgb2lab

Array = NDArray[np.float32]
GRID = 8  # cells along each side of a picture in `leak`


def _soft(masks: NDArray) -> Array:
    """Masks as float32 in 0..1."""
    scale = 255.0 if masks.dtype == np.uint8 else 1.0
    return masks.astype(np.float32) / np.float32(scale)


def person_height(masks: NDArray) -> float:
    """Height of the person in pixels: median over frames of the mask's extent. `(F, H, W)`."""
    rows = (_soft(masks) > 0.5).any(axis=2)  # (F, H)
    spans = [np.ptp(np.flatnonzero(row)) + 1 for row in rows if row.any()]
    return float(np.median(spans)) if spans else float("nan")


def pck(
    predicted: NDArray, true: NDArray, height: float, *, within: float = 0.1, sure: float = 0.2
) -> float:
    """Share of the truly visible keypoints found within `within` of the person's height.

    predicted, true: `(F, 18, 3)` pixels and confidence; height: pixels. A keypoint that the
    predictor calls absent (confidence below `sure`) counts as missed. Returns 0..1, or `nan` when
    nothing is visible. PCKh of Andriluka et al. 2014 with the person's height for the head's.
    """
    visible = true[..., 2] > 0.5  # (F, 18)
    if not visible.any():
        return float("nan")
    distance = np.linalg.norm(predicted[..., :2] - true[..., :2], axis=-1)
    found = (distance <= within * height) & (predicted[..., 2] >= sure)
    return float(found[visible].mean())


def silhouette_iou(predicted: NDArray, true: NDArray) -> float:
    """Mean over frames of intersection over union of two masks `(F, H, W)` cut at one half."""
    a, b = _soft(predicted) > 0.5, _soft(true) > 0.5
    union = (a | b).sum(axis=(1, 2))
    if not union.any():
        return float("nan")
    return float(((a & b).sum(axis=(1, 2))[union > 0] / union[union > 0]).mean())


def psnr(result: NDArray, truth: NDArray) -> float:
    """PSNR in dB of whole frames `(F, H, W, 3)`, mean over frames; `inf` if one is equal."""
    squared = (result.astype(np.float32) - truth.astype(np.float32)) ** 2
    with np.errstate(divide="ignore"):
        return float(np.mean(10 * np.log10(255.0**2 / squared.mean((1, 2, 3), dtype=np.float64))))


def person_psnr(result: NDArray, truth: NDArray, mask: NDArray) -> float:
    """PSNR in dB over the person's pixels, weighted by the true soft mask; `inf` if equal."""
    weight = _soft(mask)[..., None]  # (F, H, W, 1)
    total = float(weight.sum()) * 3
    if not total:
        return float("nan")
    squared = (result.astype(np.float32) - truth.astype(np.float32)) ** 2
    error = float((weight * squared).sum(dtype=np.float64)) / total
    return float(10 * np.log10(255.0**2 / error)) if error else float("inf")


def _spaced(count: int, most: int) -> NDArray:
    """At most `most` of `count` indices, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def _matched(result: NDArray, truth: NDArray) -> float:
    """Mean CIEDE2000 of Lab pixels of the truth, each matched to one of the result's pixels.

    A pixel of the result may serve twice, which makes up for the chance in thinning them.
    """
    cost = np.tile(deltaE_ciede2000(truth[:, None], result[None]), 2)
    return float(cost[linear_sum_assignment(cost)].mean())


def person_delta_e(
    result: NDArray,
    truth: NDArray,
    parts: NDArray,
    names: Sequence[str],
    masks: NDArray | None = None,
    *,
    within: float = 0.1,
    least: int = 8,
    most: int = 48,
) -> dict[str, float]:
    """Color error of the person, part by part, in CIEDE2000 (about 2: just visible; 0: equal).

    parts: uint8 `(F, H, W)`, index into `names`, of which the first is the background; masks: the
    person's mask in the result. Per frame, about `most` pixels of a part are matched with pixels
    of the result's person so that their mean difference is least, no further from the part than
    `within` of the person's height, which is what `pck` forgives (with `masks`, the persons'
    centers are laid upon each other first): pose has its own measures, this one is about looks.
    Misalignment or a pattern out of phase so cost little; another color, or a lost pattern,
    costs, and a flickering color does not average out as it would in a mean color. On puppets: a
    shift of two pixels about 1, the same person in another pose 1 to 6, another person 8 to 26.
    Parts under `least` true pixels in a frame are left out there, and where the result shows no
    person near; a part that it never shows is compared with the scene in its place. Returns every
    part's mean over frames, and "mean" over the parts.
    """
    reach = int(within * person_height(parts > 0)) if parts.any() else 0
    disk = np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1]) <= reach
    # both pictures are thinned at the same random places: a copy matches itself, and a color must
    # be about as frequent near a part as it is in it
    thin = np.random.default_rng(0).random(parts.shape[1:])
    shown: dict[str, list[float]] = {}
    instead: dict[str, list[float]] = {}
    for frame, (made, true, part) in enumerate(zip(result, truth, parts, strict=True)):
        made_lab, true_lab = rgb2lab(made), rgb2lab(true)
        person = np.ones_like(part, bool) if masks is None else _soft(masks[frame]) > 0.5
        moved = [0, 0]  # the whole person, down and right
        if masks is not None and person.any() and part.any():
            centers = zip(center_of_mass(person), center_of_mass(part > 0), strict=True)
            moved = [round(a - b) for a, b in centers]
        for index in np.unique(part[part > 0]):
            region = part == index
            if region.sum() < least:
                continue
            near = binary_dilation(np.roll(region, moved, (0, 1)), disk) & person
            kept = thin <= max(most / region.sum(), np.sort(thin[region])[least - 1])
            found = (kept & near).any()
            place = kept & (near if found else region)
            error = _matched(made_lab[place], true_lab[kept & region])
            (shown if found else instead).setdefault(names[index], []).append(error)
    errors = {name: float(np.mean(values)) for name, values in (instead | shown).items()}
    return {"mean": float(np.mean(list(errors.values()))) if errors else float("nan"), **errors}


def _cells(frame: NDArray, mask: NDArray) -> Array:
    """Background cells of a picture: Lab mean, spread of lightness, row and column. `(N, 6)`."""
    height, width = (GRID * (side // GRID) for side in frame.shape[:2])
    shape = (GRID, height // GRID, GRID, width // GRID)
    lab = rgb2lab(frame[:height, :width]).astype(np.float32).reshape(*shape, 3)
    free = 1 - _soft(mask)[:height, :width].reshape(shape)  # 1 where the scene shows
    area = free.sum(axis=(1, 3)) + 1e-6  # (GRID, GRID)
    mean = (lab * free[..., None]).sum(axis=(1, 3)) / area[..., None]
    deviation = (lab[..., 0] - mean[:, None, :, None, 0]) ** 2 * free
    spread = np.sqrt(deviation.sum(axis=(1, 3)) / area)
    place = np.indices((GRID, GRID)).transpose(1, 2, 0).astype(np.float32) / GRID
    cells = np.concatenate([mean, spread[..., None], place], axis=-1)
    return cells[free.mean(axis=(1, 3)) > 0.7]


def _unlike(a: Array, b: Array) -> float:
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


def leak(
    result: NDArray,
    result_masks: NDArray,
    reference: NDArray,
    reference_masks: NDArray,
    unrelated: NDArray,
    unrelated_masks: NDArray | None = None,
    *,
    looks: int = 4,
) -> float:
    """How much of the reference's scene shows where another was asked for, outside the person.

    0: no more like the reference's scene than unrelated scenes are; 1: the reference's scene
    itself. `1 - d(result, reference) / d(unrelated, reference)`, cut to 0..1, where d matches the
    background cells of two pictures (color, texture, place) one to one at least cost: a copy has
    d = 0, half a copy about half, and a wall of the same color and texture elsewhere in the
    picture counts too. unrelated: `(K, H, W, 3)` pictures of other scenes than the reference's,
    best of the scene that was asked for (then a faithful result is 0 by construction). `looks`
    frames of each clip are compared; of the reference's the nearest counts. The definition is
    ours. On puppets: truth 0 to 0.08, half mixed in 0.3 to 0.5, pasted 0.99. A washed-out gray
    lies between all scenes and reads up to 0.4: see it beside `scene_accuracy`.
    """
    known = [_cells(reference[i], reference_masks[i]) for i in _spaced(len(reference), looks)]
    if unrelated_masks is None:
        unrelated_masks = np.zeros(unrelated.shape[:3], np.uint8)

    def distance(frame: NDArray, mask: NDArray) -> float:
        cells = _cells(frame, mask)
        return min(_unlike(cells, other) for other in known)

    chosen = _spaced(len(result), looks)
    own = np.nanmean([distance(result[i], result_masks[i]) for i in chosen])
    usual = np.nanmean([distance(*pair) for pair in zip(unrelated, unrelated_masks, strict=True)])
    return float(np.clip(1 - own / usual, 0, 1))


def scene_accuracy(probabilities: NDArray, asked: int) -> float:
    """Share of frames whose most likely scene, of probabilities `(F, S)`, is the one asked for."""
    return float((probabilities.argmax(axis=1) == asked).mean())
