"""Does it look like the true person?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, center_of_mass
from scipy.optimize import linear_sum_assignment
from skimage.color import deltaE_ciede2000, rgb2lab

from animateanywhere.metrics.arrays import Array, soft, spaced
from animateanywhere.metrics.pose import person_height

# Bones of OpenPose-18 that tell to which third of the body a pixel belongs
THIRDS = {
    "head": ((0, 14), (0, 15), (14, 16), (15, 17)),
    "upper": ((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (1, 11)),
    "lower": ((8, 9), (9, 10), (11, 12), (12, 13)),
}


def psnr(result: NDArray, truth: NDArray) -> float:
    """PSNR in dB of whole frames `(F, H, W, 3)`, mean over frames; `inf` if one is equal."""
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


def matched(result: NDArray, truth: NDArray) -> float:
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
        person = np.ones_like(part, bool) if masks is None else soft(masks[frame]) > 0.5
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
            error = matched(made_lab[place], true_lab[kept & region])
            (shown if found else instead).setdefault(names[index], []).append(error)
    errors = {name: float(np.mean(values)) for name, values in (instead | shown).items()}
    return {"mean": float(np.mean(list(errors.values()))) if errors else float("nan"), **errors}


def reference_delta_e(
    frames: NDArray,
    masks: NDArray,
    keypoints: NDArray | None,
    reference: NDArray,
    reference_masks: NDArray,
    reference_keypoints: NDArray | None,
    *,
    looks: int = 8,
    most: int = 256,
) -> dict[str, float]:
    """How far the person's colors are from the reference's, whatever the pose, in CIEDE2000.

    frames `(F, H, W, 3)`, masks `(F, H, W)`, keypoints `(F, 18, 3)` of the video, and those of the
    reference, of any other number and size. Each pixel of the person belongs to the third of the
    body (`THIRDS`) whose bone is nearest; of each third some `most` pixels from `looks` frames of
    the reference are matched with as many of the video's so that their mean difference is least.
    So a color must be there, at least half as often, since another pose hides some (matched one to
    one, another pose costs four times as much); where on the third it is does not count. Returns
    each third that both show, and "mean" over them; without keypoints the whole person is one
    ("whole"). Where `person_delta_e` asks for a true video this asks for none; the definition is
    ours. On puppets: the same person in another pose 1 to 2, in another scene 1 to 13 (its light is
    on the clothes; a city at night is the worst), another person 8 to 27.
    """
    told = keypoints is not None and reference_keypoints is not None
    made = _colors(frames, masks, keypoints if told else None, looks, most)
    real = _colors(reference, reference_masks, reference_keypoints if told else None, looks, most)
    errors = {name: matched(made[name], real[name]) for name in real if name in made}
    return {"mean": float(np.mean(list(errors.values()))) if errors else float("nan"), **errors}


def _colors(
    frames: NDArray, masks: NDArray, keypoints: NDArray | None, looks: int, most: int
) -> dict[str, Array]:
    """Lab colors `(N, 3)` of some pixels of each third of the person that is well seen."""
    found: dict[str, list[Array]] = {}
    for index in spaced(len(frames), looks):
        y, x = np.nonzero(soft(masks[index]) > 0.7)  # surely the person's
        chance = np.random.default_rng(0).permutation(len(y))[: 8 * most]
        y, x = y[chance], x[chance]
        lab = rgb2lab(frames[index][None, y, x])[0].astype(np.float32) if len(y) else None
        if lab is None:
            continue
        if keypoints is None:
            found.setdefault("whole", []).append(lab)
            continue
        nearest = _nearest_third(np.stack([x, y], -1) + 0.5, keypoints[index])
        for number, name in enumerate(THIRDS):
            found.setdefault(name, []).append(lab[nearest == number])
    out = {}
    for name, parts in found.items():
        pixels = np.concatenate(parts)
        if len(pixels) >= most // 8:
            out[name] = np.random.default_rng(0).permutation(pixels)[:most]
    return out


def _nearest_third(points: NDArray, pose: NDArray, seen: float = 0.3) -> NDArray:
    """Index into `THIRDS` of the bone nearest to each point `(N, 2)`; -1 where no bone is seen."""
    best, distance = np.full(len(points), -1), np.full(len(points), np.inf)
    for number, pairs in enumerate(THIRDS.values()):
        for a, b in pairs:
            if min(pose[a, 2], pose[b, 2]) < seen:
                continue
            start, along = pose[a, :2], pose[b, :2] - pose[a, :2]
            share = ((points - start) @ along / max(float(along @ along), 1e-6)).clip(0, 1)
            away = np.linalg.norm(points - start - share[:, None] * along, axis=-1)
            best, distance = np.where(away < distance, number, best), np.minimum(away, distance)
    return best
