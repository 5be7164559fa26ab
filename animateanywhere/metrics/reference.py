"""Appearance compared with a reference of the person, without ground truth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb2lab

from animateanywhere.metrics.arrays import Array, evenly_spaced, soft
from animateanywhere.metrics.likeness import matched_delta_e

# Bones of OpenPose-18 that assign a pixel to a third of the body
THIRDS = {
    "head": ((0, 14), (0, 15), (14, 16), (15, 17)),
    "upper": ((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (1, 11)),
    "lower": ((8, 9), (9, 10), (11, 12), (12, 13)),
}


def reference_delta_e(
    frames: NDArray,
    masks: NDArray,
    keypoints: NDArray | None,
    reference: NDArray,
    reference_masks: NDArray,
    reference_keypoints: NDArray | None,
    *,
    max_frames: int = 8,
    most: int = 256,
) -> dict[str, float]:
    """Color difference of the person to the reference, independent of the pose, in CIEDE2000.

    frames `(F, H, W, 3)`, masks `(F, H, W)`, keypoints `(F, 18, 3)` of the video, and those of the
    reference, of any other number and size. Each pixel of the person belongs to the third of the
    body (`THIRDS`) whose bone is nearest; of each third at most `most` pixels from `max_frames`
    frames of the reference are matched with as many of the video's so that their mean difference is
    minimal. So a color must appear at least half as often, since another pose hides some (matched
    one to one, another pose costs four times as much); its position on the third does not count.
    Returns each third that both show, and "mean" over them; without keypoints the whole person is
    one region ("whole"). Unlike `person_delta_e` it needs no true video; the definition is ours. On
    puppets: the same person in another pose 1 to 2, in another scene 1 to 13 (its light changes the
    clothes; a city at night is the worst), another person 8 to 27.
    """
    if keypoints is None or reference_keypoints is None:
        keypoints = reference_keypoints = None
    made = _colors(frames, masks, keypoints, max_frames, most)
    real = _colors(reference, reference_masks, reference_keypoints, max_frames, most)
    errors = {name: matched_delta_e(made[name], real[name]) for name in real if name in made}
    return {"mean": float(np.mean(list(errors.values()))) if errors else float("nan"), **errors}


def _colors(
    frames: NDArray, masks: NDArray, keypoints: NDArray | None, max_frames: int, most: int
) -> dict[str, Array]:
    """Lab colors `(N, 3)` of sampled pixels of each third with enough visible pixels."""
    found: dict[str, list[Array]] = {}
    for index in evenly_spaced(len(frames), max_frames):
        y, x = np.nonzero(soft(masks[index]) > 0.7)  # certainly the person's
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


def _nearest_third(points: NDArray, pose: NDArray, visible: float = 0.3) -> NDArray:
    """Index into `THIRDS` of the bone nearest to each point `(N, 2)`; -1 without visible bones."""
    best, distance = np.full(len(points), -1), np.full(len(points), np.inf)
    for number, pairs in enumerate(THIRDS.values()):
        for a, b in pairs:
            if min(pose[a, 2], pose[b, 2]) < visible:
                continue
            start, along = pose[a, :2], pose[b, :2] - pose[a, :2]
            share = ((points - start) @ along / max(float(along @ along), 1e-6)).clip(0, 1)
            away = np.linalg.norm(points - start - share[:, None] * along, axis=-1)
            best, distance = np.where(away < distance, number, best), np.minimum(away, distance)
    return best
