"""Appearance metrics: the person's pixels compared with the true render."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, center_of_mass
from scipy.optimize import linear_sum_assignment
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import structural_similarity

from animateanywhere.metrics.arrays import soft
from animateanywhere.metrics.pose import person_height


def psnr(result: NDArray, truth: NDArray) -> float:
    """PSNR in dB of whole frames `(F, H, W, 3)`, mean over frames; `inf` if a frame is equal."""
    squared = (result.astype(np.float32) - truth.astype(np.float32)) ** 2
    with np.errstate(divide="ignore"):
        return float(np.mean(10 * np.log10(255.0**2 / squared.mean((1, 2, 3), dtype=np.float64))))


def person_psnr(result: NDArray, truth: NDArray, mask: NDArray) -> float:
    """PSNR in dB over the person's pixels, weighted by the true soft mask; `inf` if equal."""
    weight = soft(mask)[..., None]  # (F, H, W, 1)
    total = float(weight.sum()) * 3
    if not total:
        return float("nan")
    squared = (result.astype(np.float32) - truth.astype(np.float32)) ** 2
    error = float((weight * squared).sum(dtype=np.float64)) / total
    return float(10 * np.log10(255.0**2 / error)) if error else float("inf")


def person_ssim(result: NDArray, truth: NDArray, mask: NDArray) -> float:
    """SSIM (Wang et al. 2004) over the person's pixels, weighted by the true soft mask; 1 equal."""
    weight = soft(mask)  # (F, H, W)
    if not weight.any():
        return float("nan")
    maps = [
        structural_similarity(made, true, channel_axis=-1, full=True)[1].mean(-1)
        for made, true in zip(result, truth, strict=True)
    ]
    return float((weight * np.stack(maps)).sum() / weight.sum())


def matched_delta_e(result: NDArray, truth: NDArray) -> float:
    """Mean CIEDE2000 of Lab pixels `(N, 3)` of the truth, matched to pixels `(M, 3)` of the result.

    Every pixel of the truth is matched. A pixel of the result may be used twice, which compensates
    for their random sampling, or as often as there are more pixels of the truth.
    """
    times = max(2, -(-len(truth) // len(result)))
    cost = np.tile(deltaE_ciede2000(truth[:, None], result[None]), times)
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
    of the result's person so that their mean difference is minimal, within a distance of `within`
    of the person's height from the part, the tolerance of `pck` (with `masks`, the persons' centers
    are aligned first): pose has its own metrics, this one is about appearance. Misalignment or a
    pattern out of phase therefore cost little; another color or a lost pattern cost more, and a
    flickering color does not average out as in a mean color. On puppets: a shift of two pixels
    about 1, the same person in another pose 1 to 6, another person 8 to 26. Parts with fewer than
    `least` true pixels in a frame are left out there, and where the result shows no person near; a
    part that it never shows is compared with the scene at its position. Returns every part's mean
    over frames, and "mean" over the parts.
    """
    reach = int(within * person_height(parts > 0)) if parts.any() else 0
    disk = np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1]) <= reach
    # Both pictures are sampled at the same random positions: a copy matches itself, and a color
    # must be about as frequent near a part as in it
    thin = np.random.default_rng(0).random(parts.shape[1:])
    shown: dict[str, list[float]] = {}
    instead: dict[str, list[float]] = {}
    for frame, (made, true, part) in enumerate(zip(result, truth, parts, strict=True)):
        made_lab, true_lab = rgb2lab(made), rgb2lab(true)
        person = np.ones_like(part, bool) if masks is None else soft(masks[frame]) > 0.5
        moved = [0, 0]  # of the whole person, down and right
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
            error = matched_delta_e(made_lab[place], true_lab[kept & region])
            (shown if found else instead).setdefault(names[index], []).append(error)
    errors = {name: float(np.mean(values)) for name, values in (instead | shown).items()}
    return {"mean": float(np.mean(list(errors.values()))) if errors else float("nan"), **errors}
