"""Pose estimation by ViTPose (Xu et al. 2022, arXiv 2204.12484) in the person boxes of RT-DETR
(Zhao et al. 2024, arXiv 2304.08069), through transformers."""

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

MIN_SCORE = 0.5  # of a bounding box


def extract(frames: np.ndarray, location: WeightsLocation = HUB) -> tuple[np.ndarray, int]:
    """Keypoints of the most prominent person.

    Args:
        frames: uint8 (F, H, W, 3).
        location: of the weights `rt-detr` and `vitpose`.

    Returns:
        float32 (F, 18, 3): x, y in pixels and confidence in 0..1, 0 in frames without the person;
        and the number of persons of comparable size.

    Raises:
        UsageError: the weights are missing and cannot be downloaded.
    """
    folder = fetch(VITPOSE, location)
    boxes = detect_persons(frames, location)

    @contextmanager
    def open_backend() -> Iterator[FrameFunction]:
        import torch
        from transformers import VitPoseForPoseEstimation, VitPoseImageProcessorPil

        processor: Any = VitPoseImageProcessorPil.from_pretrained(folder)
        model = load(VitPoseForPoseEstimation, folder)

        def estimate(frame: np.ndarray, box: np.ndarray) -> FrameResult:
            if not np.isfinite(box).all():
                return {"keypoints": np.zeros((18, 3), np.float32)}
            xywh = [np.array([[*box[:2], *(box[2:] - box[:2])]])]  # left, top, w, h
            inputs = processor(frame, boxes=xywh, return_tensors="pt").to(model.device)
            poses = processor.post_process_pose_estimation(model(**inputs), boxes=xywh)
            points = np.column_stack([poses[0][0]["keypoints"], poses[0][0]["scores"]])
            return {"keypoints": coco.coco_to_openpose(points, *frame.shape[:2])}

        with torch.no_grad():
            yield estimate

    results = cached_results(
        frames, fingerprint(VITPOSE, folder), open_backend, "estimating poses", track(boxes)
    )
    return np.stack([result["keypoints"] for result in results]), people.count_boxes(boxes)


def detect_persons(frames: np.ndarray, location: WeightsLocation = HUB) -> list[np.ndarray]:
    """Detect the persons in each frame: float (N, 5), left, top, right, bottom in pixels, score."""
    folder = fetch(RT_DETR, location)

    @contextmanager
    def open_backend() -> Iterator[FrameFunction]:
        import torch
        from transformers import RTDetrForObjectDetection, RTDetrImageProcessorPil

        processor: Any = RTDetrImageProcessorPil.from_pretrained(folder)
        model = load(RTDetrForObjectDetection, folder)
        person = model.config.label2id.get("person", 0)

        def detect(frame: np.ndarray) -> FrameResult:
            inputs = processor(frame, return_tensors="pt").to(model.device)
            detections = processor.post_process_object_detection(
                model(**inputs), threshold=MIN_SCORE, target_sizes=[frame.shape[:2]]
            )[0]
            rows = torch.column_stack([detections["boxes"], detections["scores"]])
            rows = rows[detections["labels"] == person]
            return {"boxes": rows.cpu().numpy()}

        with torch.no_grad():
            yield detect

    results = cached_results(
        frames, f"{fingerprint(RT_DETR, folder)}-{MIN_SCORE}", open_backend, "detecting persons"
    )
    return [result["boxes"] for result in results]
