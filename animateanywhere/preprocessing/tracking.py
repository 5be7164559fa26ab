"""One person among the boxes that a detector finds, from frame to frame."""

from __future__ import annotations

import numpy as np

SAME_PERSON_IOU = 0.15  # overlap with the last box, from which on it is the same person


def track(found: list[np.ndarray]) -> np.ndarray:
    """The most prominent person of a clip, through it.

    Starts at the box of the largest area times score, and goes forward and backward from it, in
    each frame to the box that overlaps the last one most.

    Args:
        found: for each frame float (N, 5): left, top, right, bottom in pixels, score.

    Returns:
        float (F, 4); NaN in frames in which the person is not found.
    """
    boxes = np.full((len(found), 4), np.nan)
    weight = [(box_areas(frame) * frame[:, 4]).max() if len(frame) else 0.0 for frame in found]
    if not max(weight, default=0.0):
        return boxes
    first = int(np.argmax(weight))
    for way in (range(first, len(found)), range(first, -1, -1)):
        here = found[first][np.argmax(box_areas(found[first]) * found[first][:, 4])]
        for index in way:
            frame = found[index]
            if not len(frame):
                continue
            shared = intersection_over_union(frame, here)
            if shared.max() >= SAME_PERSON_IOU:
                here = frame[np.argmax(shared)]
                boxes[index] = here[:4]
    return boxes


def box_areas(boxes: np.ndarray) -> np.ndarray:
    """(N,) of boxes (N, 4 or more)."""
    return (boxes[:, 2] - boxes[:, 0]).clip(0) * (boxes[:, 3] - boxes[:, 1]).clip(0)


def intersection_over_union(boxes: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Intersection over union (N,) of boxes (N, 4 or more) with one."""
    low, high = np.maximum(boxes[:, :2], box[:2]), np.minimum(boxes[:, 2:4], box[2:4])
    shared = (high - low).clip(0).prod(1)
    return shared / np.maximum(box_areas(boxes) + box_areas(box[None]) - shared, 1e-6)


def keypoint_boxes(keypoints: np.ndarray, visible: float) -> np.ndarray:
    """Boxes (F, 4) around the seen keypoints of (F, 18, 3), with some room; NaN where none are."""
    out = np.full((len(keypoints), 4), np.nan)
    for index, pose in enumerate(keypoints):
        seen = pose[pose[:, 2] >= visible, :2]
        if len(seen) >= 2:
            low, high = seen.min(0), seen.max(0)
            room = 0.1 * (high - low).max()
            out[index] = *(low - room), *(high + room)
    return out
