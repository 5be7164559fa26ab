"""Poses by ViTPose (Xu et al. 2022, arXiv 2204.12484) in the person boxes of RT-DETR, through
transformers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from animateanywhere.preprocessing.frame_cache import Found, Look, look_at
from animateanywhere.preprocessing.pose import coco, people
from animateanywhere.preprocessing.tracking import follow
from animateanywhere.preprocessing.weights import HUB, RT_DETR, VITPOSE, Place, fetch, load, mark

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
    folder = fetch(VITPOSE, place)
    seen = detect(frames, place)

    @contextmanager
    def opened() -> Iterator[Look]:
        import torch
        from transformers import VitPoseForPoseEstimation, VitPoseImageProcessorPil

        processor: Any = VitPoseImageProcessorPil.from_pretrained(folder)
        model = load(VitPoseForPoseEstimation, folder)

        def look(frame: np.ndarray, box: np.ndarray) -> Found:
            if not np.isfinite(box).all():
                return {"keypoints": np.zeros((18, 3), np.float32)}
            cornered = [np.array([[*box[:2], *(box[2:] - box[:2])]])]  # left, top, w, h
            inputs = processor(frame, boxes=cornered, return_tensors="pt").to(model.device)
            found = processor.post_process_pose_estimation(model(**inputs), boxes=cornered)
            points = np.column_stack([found[0][0]["keypoints"], found[0][0]["scores"]])
            return {"keypoints": coco.openpose(points, *frame.shape[:2])}

        with torch.no_grad():
            yield look

    found = look_at(frames, mark(VITPOSE, folder), opened, "finding poses", follow(seen))
    return np.stack([here["keypoints"] for here in found]), people.in_boxes(seen)


def detect(frames: np.ndarray, place: Place = HUB) -> list[np.ndarray]:
    """Persons in each frame: float (N, 5), left, top, right, bottom in pixels, score."""
    folder = fetch(RT_DETR, place)

    @contextmanager
    def opened() -> Iterator[Look]:
        import torch
        from transformers import RTDetrForObjectDetection, RTDetrImageProcessorPil

        processor: Any = RTDetrImageProcessorPil.from_pretrained(folder)
        model = load(RTDetrForObjectDetection, folder)
        person = model.config.label2id.get("person", 0)

        def look(frame: np.ndarray) -> Found:
            inputs = processor(frame, return_tensors="pt").to(model.device)
            seen = processor.post_process_object_detection(
                model(**inputs), threshold=SURE, target_sizes=[frame.shape[:2]]
            )[0]
            rows = torch.column_stack([seen["boxes"], seen["scores"]])[seen["labels"] == person]
            return {"boxes": rows.cpu().numpy()}

        with torch.no_grad():
            yield look

    found = look_at(frames, f"{mark(RT_DETR, folder)}-{SURE}", opened, "finding the person")
    return [here["boxes"] for here in found]
