"""Pose estimation by ViTPose (Xu et al. 2022, arXiv 2204.12484) in the person boxes of RT-DETR
(Zhao et al. 2024, arXiv 2304.08069), through transformers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from animateanywhere.preprocessing.frame_cache import FrameFunction, FrameResult, cached_results
from animateanywhere.preprocessing.pose import coco
from animateanywhere.preprocessing.pose.people import comparable, persons_of
from animateanywhere.preprocessing.tracking import Persons
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


def extract(frames: np.ndarray, location: WeightsLocation = HUB) -> list[Persons]:
    """The persons of comparable size in each frame.

    Args:
        frames: uint8 (F, H, W, 3).
        location: of the weights `rt-detr` and `vitpose`.

    Raises:
        UsageError: the weights are missing and cannot be downloaded.
    """
    folder = fetch(VITPOSE, location)
    everybody = detect_persons(frames, location)
    boxes = [comparable(here) for here in everybody]

    @contextmanager
    def open_backend() -> Iterator[FrameFunction]:
        import torch
        from transformers import VitPoseForPoseEstimation, VitPoseImageProcessorPil

        processor: Any = VitPoseImageProcessorPil.from_pretrained(folder)
        model = load(VitPoseForPoseEstimation, folder)

        def estimate(frame: np.ndarray, boxes: np.ndarray) -> FrameResult:
            if not len(boxes):
                return {"keypoints": np.zeros((0, 18, 3), np.float32)}
            xywh = [np.column_stack([boxes[:, :2], boxes[:, 2:4] - boxes[:, :2]])]
            inputs = processor(frame, boxes=xywh, return_tensors="pt").to(model.device)
            poses = processor.post_process_pose_estimation(model(**inputs), boxes=xywh)[0]
            points = [np.column_stack([one["keypoints"], one["scores"]]) for one in poses]
            found = [coco.coco_to_openpose(one, *frame.shape[:2]) for one in points]
            return {"keypoints": np.stack(found)}

        with torch.no_grad():
            yield estimate

    name = f"{fingerprint(VITPOSE, folder)}-persons"
    results = cached_results(frames, name, open_backend, "estimating poses", boxes)
    return [persons_of(result["keypoints"], here[:, 4], here[:, :4], len(every) - len(here))
            for result, here, every in zip(results, boxes, everybody, strict=True)]  # fmt: skip


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
