"""Tracking of one person through the bounding boxes of a detector."""

from __future__ import annotations

import numpy as np

SAME_PERSON_IOU = 0.15  # minimum intersection over union with the previous box


def track(detections: list[np.ndarray]) -> np.ndarray:
    """Track the most prominent person through a clip.

    Starts at the box with the largest product of area and score, and proceeds forward and backward
    from it, in each frame to the box with the highest intersection over union with the last one.

    Args:
        detections: for each frame float (N, 5): left, top, right, bottom in pixels, score.

    Returns:
        float (F, 4): left, top, right, bottom; NaN in frames without the person.
    """
    boxes = np.full((len(detections), 4), np.nan)
    weight = [(box_areas(frame) * frame[:, 4]).max() if len(frame) else 0.0 for frame in detections]
    if not max(weight, default=0.0):
        return boxes
    first = int(np.argmax(weight))
    for way in (range(first, len(detections)), range(first, -1, -1)):
        here = detections[first][np.argmax(box_areas(detections[first]) * detections[first][:, 4])]
        for index in way:
            frame = detections[index]
            if not len(frame):
                continue
            shared = intersection_over_union(frame, here)
            if shared.max() >= SAME_PERSON_IOU:
                here = frame[np.argmax(shared)]
                boxes[index] = here[:4]
    return boxes


def box_areas(boxes: np.ndarray) -> np.ndarray:
    """Areas (N,) in square pixels of boxes (N, 4 or more)."""
    return (boxes[:, 2] - boxes[:, 0]).clip(0) * (boxes[:, 3] - boxes[:, 1]).clip(0)


def intersection_over_union(boxes: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Intersection over union (N,) of boxes (N, 4 or more) with one box."""
    low, high = np.maximum(boxes[:, :2], box[:2]), np.minimum(boxes[:, 2:4], box[2:4])
    shared = (high - low).clip(0).prod(1)
    return shared / np.maximum(box_areas(boxes) + box_areas(box[None]) - shared, 1e-6)


def keypoint_boxes(keypoints: np.ndarray, visible: float) -> np.ndarray:
    """Bounding boxes (F, 4) of the visible keypoints of (F, 18, 3), with a margin.

    visible: minimum confidence. NaN in frames with fewer than two visible keypoints.
    """
    out = np.full((len(keypoints), 4), np.nan)
    for index, pose in enumerate(keypoints):
        points = pose[pose[:, 2] >= visible, :2]
        if len(points) >= 2:
            low, high = points.min(0), points.max(0)
            room = 0.1 * (high - low).max()
            out[index] = *(low - room), *(high + room)
    return out
