"""Poses by ViTPose (Xu et al. 2022, arXiv 2204.12484) in the person boxes of RT-DETR, through
transformers."""

from __future__ import annotations

from typing import Any

import numpy as np

from animateanywhere.console import progress
from animateanywhere.extraction import coco, people
from animateanywhere.extraction.track import follow
from animateanywhere.extraction.weights import HUB, RT_DETR, VITPOSE, Place, fetch, load

SURE = 0.5  # score from which on a box counts


def extract(frames: np.ndarray, place: Place = HUB) -> tuple[np.ndarray, int]:
    """Keypoints of the most prominent person.

    Args:
        frames: uint8 (F, H, W, 3).
        place: of the weights `rt-detr` and `vitpose`.

    Returns:
        float32 (F, 18, 3): x, y in pixels and confidence, 0 in frames without the person; and how
        many persons of comparable size there are.

    Raises:
        UsageError: the weights cannot be had.
    """
    import torch
    from transformers import VitPoseForPoseEstimation, VitPoseImageProcessorPil

    folder = fetch(VITPOSE, place)
    seen = detect(frames, place)
    boxes = follow(seen)
    processor: Any = VitPoseImageProcessorPil.from_pretrained(folder)
    model = load(VitPoseForPoseEstimation, folder)
    keypoints = np.zeros((len(frames), 18, 3), dtype=np.float32)
    with progress("finding poses", total=len(frames)) as bar, torch.no_grad():
        for index, (frame, box) in enumerate(zip(frames, boxes, strict=True)):
            if np.isfinite(box).all():
                cornered = [np.array([[*box[:2], *(box[2:] - box[:2])]])]  # left, top, w, h
                inputs = processor(frame, boxes=cornered, return_tensors="pt").to(model.device)
                found = processor.post_process_pose_estimation(model(**inputs), boxes=cornered)
                points = np.column_stack([found[0][0]["keypoints"], found[0][0]["scores"]])
                keypoints[index] = coco.openpose(points, *frame.shape[:2])
            bar.advance(1)
    return keypoints, people.in_boxes(seen)


def detect(frames: np.ndarray, place: Place = HUB) -> list[np.ndarray]:
    """Persons in each frame: float (N, 5), left, top, right, bottom in pixels, score."""
    import torch
    from transformers import RTDetrForObjectDetection, RTDetrImageProcessorPil

    folder = fetch(RT_DETR, place)
    processor: Any = RTDetrImageProcessorPil.from_pretrained(folder)
    model = load(RTDetrForObjectDetection, folder)
    person = model.config.label2id.get("person", 0)
    found = []
    with progress("finding the person", total=len(frames)) as bar, torch.no_grad():
        for frame in frames:
            inputs = processor(frame, return_tensors="pt").to(model.device)
            seen = processor.post_process_object_detection(
                model(**inputs), threshold=SURE, target_sizes=[frame.shape[:2]]
            )[0]
            rows = torch.column_stack([seen["boxes"], seen["scores"]])[seen["labels"] == person]
            found.append(rows.cpu().numpy())
            bar.advance(1)
    return found
