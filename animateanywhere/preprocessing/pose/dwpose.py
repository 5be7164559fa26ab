"""Pose estimation by DWPose (Yang et al. 2023, arXiv 2307.15880) in the person boxes of YOLOX, ONNX
networks that rtmlib runs."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from animateanywhere.core.errors import UsageError
from animateanywhere.preprocessing.frame_cache import FrameFunction, FrameResult, cached_results
from animateanywhere.preprocessing.pose import coco
from animateanywhere.preprocessing.pose.people import comparable, persons_of
from animateanywhere.preprocessing.tracking import Persons
from animateanywhere.preprocessing.weights import DWPOSE, HUB, WeightsLocation, fetch, fingerprint

MIN_SCORE = 0.5  # of a bounding box
PERSON = 0  # index of the class in COCO
BODY_KEYPOINTS = 17  # the first of 133 keypoints; feet, face and hands follow


def extract(frames: np.ndarray, location: WeightsLocation = HUB) -> list[Persons]:
    """The persons of comparable size in each frame.

    Args:
        frames: uint8 (F, H, W, 3).
        location: of the weights `dwpose`.

    Raises:
        UsageError: the weights are missing, cannot be downloaded, or cannot be read.
    """
    folder = fetch(DWPOSE, location)
    detector_file, pose_file = (folder / name for name in DWPOSE.files)

    @contextmanager
    def detector() -> Iterator[FrameFunction]:
        from rtmlib import YOLOX

        network = _network(YOLOX, detector_file, det_mode="multiclass", score_thr=MIN_SCORE)
        network.model_input_size = _input_size(network, detector_file)

        def detect(frame: np.ndarray) -> FrameResult:
            # YOLOX was trained on BGR; rtmlib does not return its scores
            boxes, classes = network(np.ascontiguousarray(frame[..., ::-1]))
            boxes = np.reshape(boxes, (-1, 4))[np.reshape(classes, -1) == PERSON]
            return {"boxes": np.column_stack([boxes, np.ones(len(boxes))])}

        yield detect

    @contextmanager
    def estimator() -> Iterator[FrameFunction]:
        from rtmlib import RTMPose

        network = _network(RTMPose, pose_file)
        network.model_input_size = _input_size(network, pose_file)[::-1]

        def estimate(frame: np.ndarray, boxes: np.ndarray) -> FrameResult:
            if not len(boxes):  # rtmlib would take the whole frame
                return {"keypoints": np.zeros((0, 18, 3), np.float32)}
            # Trained on RGB (bgr_to_rgb in its config), and rtmlib does not convert
            points, scores = network(frame, bboxes=list(boxes[:, :4]))
            bodies = np.dstack([points, scores.clip(0, 1)])[:, :BODY_KEYPOINTS]
            found = [coco.coco_to_openpose(one, *frame.shape[:2]) for one in bodies]
            return {"keypoints": np.stack(found)}

        yield estimate

    name = fingerprint(DWPOSE, folder)
    box_name = f"{name}-boxes-{MIN_SCORE}"
    detections = cached_results(frames, box_name, detector, "detecting persons")
    everybody = [result["boxes"] for result in detections]
    boxes = [comparable(here) for here in everybody]
    results = cached_results(frames, f"{name}-persons", estimator, "estimating poses", boxes)
    return [persons_of(result["keypoints"], None, here[:, :4], len(every) - len(here))
            for result, here, every in zip(results, boxes, everybody, strict=True)]  # fmt: skip


def _network(kind: Any, file: Path, **options: Any) -> Any:
    """One of rtmlib's classes on a local file, on the GPU if onnxruntime supports it."""
    import onnxruntime

    gpu = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    try:
        with redirect_stdout(io.StringIO()):  # stdout is for results
            return kind(str(file), device="cuda" if gpu else "cpu", **options)
    except Exception as error:  # onnxruntime's errors have no common base class
        first = str(error).splitlines()[0]
        raise UsageError(f"{file}: the network cannot be loaded ({first})") from None


def _input_size(network: Any, file: Path) -> tuple[int, int]:
    """Height and width of a network's input."""
    height, width = network.session.get_inputs()[0].shape[-2:]
    if not (isinstance(height, int) and isinstance(width, int)):
        raise UsageError(
            f"{file}: the network's input size is not fixed; export it with a fixed size"
        )
    return height, width
