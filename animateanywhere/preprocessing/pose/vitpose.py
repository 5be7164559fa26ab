"""Poses by ViTPose (Xu et al. 2022, arXiv 2204.12484) in the person boxes of RT-DETR, through
transformers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from animateanywhere.preprocessing.frame_cache import FrameFunction, FrameResult, cached_results
from animateanywhere.preprocessing.pose import coco, people
from animateanywhere.preprocessing.tracking import track
from animateanywhere.preprocessing.weights import (
    HUB,
    RT_DETR,
    VITPOSE,
    WeightsLocation,
    fetch,
    fingerprint,
    load,
)

MIN_SCORE = 0.5  # score from which on a box counts


def extract(frames: np.ndarray, location: WeightsLocation = HUB) -> tuple[np.ndarray, int]:
    """Keypoints of the most prominent person.

    Args:
        frames: uint8 (F, H, W, 3).
        location: of the weights `rt-detr` and `vitpose`.

    Returns:
        float32 (F, 18, 3): x, y in pixels and confidence, 0 in frames without the person; and how
        many persons of comparable size there are.

    Raises:
        UsageError: the weights cannot be had.
    """
    folder = fetch(VITPOSE, location)
    seen = detect_persons(frames, location)

    @contextmanager
    def opened() -> Iterator[FrameFunction]:
        import torch
        from transformers import VitPoseForPoseEstimation, VitPoseImageProcessorPil

        processor: Any = VitPoseImageProcessorPil.from_pretrained(folder)
        model = load(VitPoseForPoseEstimation, folder)

        def look(frame: np.ndarray, box: np.ndarray) -> FrameResult:
            if not np.isfinite(box).all():
                return {"keypoints": np.zeros((18, 3), np.float32)}
            cornered = [np.array([[*box[:2], *(box[2:] - box[:2])]])]  # left, top, w, h
            inputs = processor(frame, boxes=cornered, return_tensors="pt").to(model.device)
            found = processor.post_process_pose_estimation(model(**inputs), boxes=cornered)
            points = np.column_stack([found[0][0]["keypoints"], found[0][0]["scores"]])
            return {"keypoints": coco.coco_to_openpose(points, *frame.shape[:2])}

        with torch.no_grad():
            yield look

    found = cached_results(
        frames, fingerprint(VITPOSE, folder), opened, "finding poses", track(seen)
    )
    return np.stack([here["keypoints"] for here in found]), people.count_boxes(seen)


def detect_persons(frames: np.ndarray, location: WeightsLocation = HUB) -> list[np.ndarray]:
    """Persons in each frame: float (N, 5), left, top, right, bottom in pixels, score."""
    folder = fetch(RT_DETR, location)

    @contextmanager
    def opened() -> Iterator[FrameFunction]:
        import torch
        from transformers import RTDetrForObjectDetection, RTDetrImageProcessorPil

        processor: Any = RTDetrImageProcessorPil.from_pretrained(folder)
        model = load(RTDetrForObjectDetection, folder)
        person = model.config.label2id.get("person", 0)

        def look(frame: np.ndarray) -> FrameResult:
            inputs = processor(frame, return_tensors="pt").to(model.device)
            seen = processor.post_process_object_detection(
                model(**inputs), threshold=MIN_SCORE, target_sizes=[frame.shape[:2]]
            )[0]
            rows = torch.column_stack([seen["boxes"], seen["scores"]])[seen["labels"] == person]
            return {"boxes": rows.cpu().numpy()}

        with torch.no_grad():
            yield look

    found = cached_results(
        frames, f"{fingerprint(RT_DETR, folder)}-{MIN_SCORE}", opened, "finding the person"
    )
    return [here["boxes"] for here in found]
