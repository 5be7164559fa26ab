"""Pose metrics: keypoints and silhouette compared with the requested or true ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from animateanywhere.metrics.arrays import Array, soft

# COCO's per-keypoint standard deviations, in the order of OpenPose-18; the neck, which COCO does
# not have, uses the shoulders'
SIGMAS = np.array([
    0.026, 0.079,
    0.079, 0.072, 0.062, 0.079, 0.072, 0.062,
    0.107, 0.087, 0.089, 0.107, 0.087, 0.089,
    0.025, 0.025, 0.035, 0.035,
])  # fmt: skip
MIRROR = [
    0,
    1,
    5,
    6,
    7,
    2,
    3,
    4,
    11,
    12,
    13,
    8,
    9,
    10,
    15,
    14,
    17,
    16,
]  # indices with left and right exchanged
FILLED = 0.53  # of its bounding box that a person fills, as in benchmarks without masks


def person_height(masks: NDArray) -> float:
    """Height of the person in pixels: median over frames of the mask's extent. `(F, H, W)`."""
    rows = np.any(soft(masks) > 0.5, axis=2)  # (F, H)
    spans = [np.ptp(np.flatnonzero(row)) + 1 for row in rows if row.any()]
    return float(np.median(spans)) if spans else float("nan")


def pck(
    predicted: NDArray,
    true: NDArray,
    height: float,
    *,
    within: float = 0.1,
    min_confidence: float = 0.2,
) -> float:
    """Share of the truly visible keypoints found within `within` of the person's height.

    predicted, true: `(F, 18, 3)` pixels and confidence; height: pixels. A keypoint predicted with
    a confidence below `min_confidence` counts as missed. Returns 0..1, or `nan` without visible
    keypoints. PCKh of Andriluka et al. 2014 with the person's height instead of the head's.
    """
    visible = true[..., 2] > 0.5  # (F, 18)
    if not visible.any():
        return float("nan")
    distance = np.linalg.norm(predicted[..., :2] - true[..., :2], axis=-1)
    found = (distance <= within * height) & (predicted[..., 2] >= min_confidence)
    return float(found[visible].mean())


def pck_either_side(predicted: NDArray, true: NDArray, height: float) -> float:
    """`pck` with left and right exchanged in each frame where that gives more.

    Together with `pck` it separates wrong limbs from a right pose that may be a back view: without
    a face, that is often ambiguous. Arguments as in `pck`. The definition is ours.
    """
    visible = (true[..., 2] > 0.5).sum(axis=1)  # (F,)
    best = [
        max(pck(some[None], true_pose[None], height) for some in (found, found[MIRROR]))
        for found, true_pose in zip(predicted, true, strict=True)
    ]
    return float(np.average(np.nan_to_num(best), weights=visible)) if visible.any() else np.nan


def oks(predicted: NDArray, true: NDArray, *, min_confidence: float = 0.2) -> float:
    """Object keypoint similarity, mean over frames: 1 if equal, a Gaussian of the distance.

    predicted, true: as in `pck`. Lin et al. 2014 as the COCO evaluation computes it, the mean over
    the visible keypoints of exp(-d² / (2 · area · (2σ)²)), which is stricter for eyes than for hips
    and for a small person than for a large one. Differences: the neck is a keypoint too (`SIGMAS`);
    the area is `FILLED` of the bounding box of the true keypoints; a keypoint predicted with a
    confidence below `min_confidence` counts 0, which COCO does not. Returns 0..1, or `nan` without
    visible keypoints.
    """
    scores = []
    for found, true_pose in zip(predicted.astype(np.float64), true.astype(np.float64), strict=True):
        visible = true_pose[:, 2] > 0.5  # (18,)
        if visible.any():
            area = FILLED * np.prod(np.ptp(true_pose[visible, :2], axis=0).clip(1))
            squared = ((found[:, :2] - true_pose[:, :2]) ** 2).sum(-1)
            score = np.exp(-squared / (2 * area * (2 * SIGMAS) ** 2)) * (
                found[:, 2] >= min_confidence
            )
            scores.append(score[visible].mean())
    return float(np.mean(scores)) if scores else float("nan")


def extent(keypoints: NDArray) -> float:
    """Longer side in pixels of the bounding box of the visible keypoints, median over frames.

    keypoints: `(F, 18, 3)`. `nan` without visible keypoints. About 0.9 of the height of a standing
    person, or of the length of a lying one.
    """
    visible = [pose[pose[:, 2] > 0.5, :2] for pose in keypoints]
    sides = [np.ptp(points, axis=0).max() for points in visible if len(points)]
    return float(np.median(sides)) if sides else float("nan")


def align_motion(motion: NDArray, found: NDArray, *, min_confidence: float = 0.2) -> Array:
    """Align a motion with detected keypoints by one scale and one shift for the whole clip.

    motion, found: `(F, 18, 3)`, each in its own pixels; returns float32 of that shape in the pixels
    of `found`. Other tools place a motion freely, so the position of its joints in their videos is
    unknown. The scale is the ratio of the joints' spread about their mean in each frame, the shift
    aligns the means, both over joints visible in both; wrong poses, wrong timing and a wrong path
    through the frame remain errors, another size and position do not count. Unlike a least squares
    scale, it does not shrink the motion to a point if the two are unrelated. Without common joints
    the motion is returned unchanged.
    """
    both = (motion[..., 2] > 0.5) & (found[..., 2] >= min_confidence)  # (F, 18)
    out = motion.astype(np.float32, copy=True)
    frames = [(a[common, :2], b[common, :2])
              for a, b, common in zip(motion, found, both, strict=True)
              if common.sum() >= 2]  # fmt: skip
    if not frames:
        return out
    here, there = (np.concatenate([pair[i] - pair[i].mean(0) for pair in frames]) for i in (0, 1))
    scale = float(np.sqrt((there**2).sum() / max((here**2).sum(), 1e-9)))
    shift = found[both][:, :2].mean(0) - scale * motion[both][:, :2].mean(0)
    out[..., :2] = scale * out[..., :2] + shift
    return out


def silhouette_iou(predicted: NDArray, true: NDArray) -> float:
    """Intersection over union of masks `(F, H, W)` thresholded at 0.5, mean over frames, 0..1."""
    a, b = soft(predicted) > 0.5, soft(true) > 0.5
    union = (a | b).sum(axis=(1, 2))
    if not union.any():
        return float("nan")
    return float(((a & b).sum(axis=(1, 2))[union > 0] / union[union > 0]).mean())
