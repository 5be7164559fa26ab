"""The steps around the person detector: anchors, decoding of its output, weighted suppression.

After the published graph definition `pose_detection_cpu` of MediaPipe 0.10.21: a single-shot
detector (Liu et al. 2016, arXiv 1512.02325) with fixed anchors and, in place of suppression, the
weighted mean of overlapping boxes (Bazarevsky et al. 2019, arXiv 1907.05047, section 4).
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

SIZE = 224  # pixels a side of the network's input
STRIDES = (8, 16, 32, 32, 32)
ANCHORS_PER_CELL = 2  # of each layer
MIN_SCORE = 0.5
SAME_BOX_IOU = 0.3
MAX_LOGIT = 100.0


class Detections(NamedTuple):
    """N detected persons by descending score, in pixels of the frame.

    boxes: float64 (N, 4) left, top, right, bottom, of the head rather than of the body.
    points: float64 (N, 4, 2) x, y: center of the hips, a point on the circle around the whole body,
        center of the shoulders, a point on the circle around the upper body.
    scores: float64 (N,) in 0..1.
    """

    boxes: np.ndarray
    points: np.ndarray
    scores: np.ndarray


@cache
def anchors() -> np.ndarray:
    """Centers (2254, 2) x, y of the anchors in 0..1, in the order of the network's output.

    Every anchor has the size of the whole input. Layers of the same stride share one grid, in whose
    cells their anchors follow each other.
    """
    grids = []
    for stride in sorted(set(STRIDES)):
        cells = SIZE // stride
        middle = (np.arange(cells) + 0.5) / cells
        grid = np.stack(np.meshgrid(middle, middle), axis=-1).reshape(-1, 2)  # row by row
        grids.append(grid.repeat(ANCHORS_PER_CELL * STRIDES.count(stride), axis=0))
    return np.concatenate(grids)


def decode(values: np.ndarray, logits: np.ndarray) -> Detections:
    """Detections with a score of at least MIN_SCORE, in 0..1 of the network's square input.

    Args:
        values: float (2254, 12): center and size of the box, then four points, all in pixels of the
            input and relative to the anchor.
        logits: float (2254,) of the score.
    """
    scores = 1 / (1 + np.exp(-logits.astype(float).clip(-MAX_LOGIT, MAX_LOGIT)))
    kept = np.flatnonzero(scores >= MIN_SCORE)
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    numbers = values[kept].astype(float).reshape(-1, 6, 2) / SIZE
    middle, size = numbers[:, 0] + anchors()[kept], numbers[:, 1]
    boxes = np.concatenate([middle - size / 2, middle + size / 2], axis=1)
    points = numbers[:, 2:] + anchors()[kept][:, None]
    real = (size >= 0).all(1) & np.isfinite(boxes).all(1)
    return Detections(boxes[real], points[real], scores[kept][real])


def merge_overlapping(found: Detections) -> Detections:
    """Replace each group of overlapping detections by their mean, weighted by their scores.

    A group is the best remaining detection, whose score it keeps, and those whose box has an
    intersection over union of more than SAME_BOX_IOU with it. found: by descending score.
    """
    boxes, points, scores = [], [], []
    left = found
    while len(left.scores):
        group = _overlap(left.boxes, left.boxes[0]) > SAME_BOX_IOU
        group[0] = True  # also a box without an area
        weights = left.scores[group] / left.scores[group].sum()
        boxes.append(weights @ left.boxes[group])
        points.append(np.einsum("n,nkc->kc", weights, left.points[group]))
        scores.append(left.scores[0])
        left = Detections(*(values[~group] for values in left))
    return Detections(
        np.array(boxes).reshape(-1, 4), np.array(points).reshape(-1, 4, 2), np.array(scores)
    )


def _overlap(boxes: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Intersection over union (N,) of boxes (N, 4) with one box."""
    low, high = np.maximum(boxes[:, :2], box[:2]), np.minimum(boxes[:, 2:], box[2:])
    shared = (high - low).clip(0).prod(1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    union = areas + (box[2:] - box[:2]).prod() - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
