"""Does the person follow the pose that was asked for?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from animateanywhere.metrics.arrays import soft


def person_height(masks: NDArray) -> float:
    """Height of the person in pixels: median over frames of the mask's extent. `(F, H, W)`."""
    rows = (soft(masks) > 0.5).any(axis=2)  # (F, H)
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
    a, b = soft(predicted) > 0.5, soft(true) > 0.5
    union = (a | b).sum(axis=(1, 2))
    if not union.any():
        return float("nan")
    return float(((a & b).sum(axis=(1, 2))[union > 0] / union[union > 0]).mean())
