"""MediaPipe 0.10.21, whose models are part of its wheel, with its log output suppressed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from animateanywhere.core.errors import UsageError
from animateanywhere.preprocessing.frame_cache import FrameFunction, FrameResult, cached_results

VERSION = "mediapipe-0.10.21"
WORKERS = 2  # a graph uses little more than one core
MISSING = "mediapipe is not installed: pip install 'animateanywhere[offline]', or give a poses.json"

_LOCK = threading.Lock()
_silencers, _saved_stderr = 0, -1  # open contexts, and the saved descriptor of standard error

# Detects all persons, whereas `mp.solutions.pose` keeps the first; part of the wheel.
PEOPLE_GRAPH = """
input_stream: "image"
output_stream: "detections"
node {
  calculator: "PoseDetectionCpu"
  input_stream: "IMAGE:image"
  output_stream: "DETECTIONS:detections"
}
"""


def pose_and_mask(frames: np.ndarray) -> list[FrameResult]:
    """Landmarks and mask of the most prominent person by BlazePose GHUM, full model.

    Each frame is processed independently: at 8 frames a second a fast dancer leaves the region in
    which MediaPipe's tracker searches. The mask is a by-product at no cost.

    Args:
        frames: uint8 (F, H, W, 3).

    Returns:
        For each frame "points", float32 (33, 4): x and y in 0..1, z in frame widths, visibility;
        (0, 4) if no person is detected; and "mask", uint8 (H, W), 255: the person.

    Raises:
        UsageError: mediapipe is not installed.
    """
    return cached_results(frames, VERSION, _open_pose, "estimating pose and mask", workers=WORKERS)


@contextmanager
def _open_pose() -> Iterator[FrameFunction]:
    with _stderr_silenced() as frame_done, ExitStack() as stack:
        try:
            from mediapipe.python.solutions.pose import Pose
        except ImportError:
            raise UsageError(MISSING) from None
        graph = stack.enter_context(
            Pose(static_image_mode=True, model_complexity=1, enable_segmentation=True)
        )

        def estimate(frame: np.ndarray) -> FrameResult:
            found = graph.process(np.ascontiguousarray(frame))
            frame_done()
            if found.pose_landmarks is None:
                nothing = np.zeros(frame.shape[:2], np.uint8)
                return {"points": np.zeros((0, 4), np.float32), "mask": nothing}
            points = [(p.x, p.y, p.z, p.visibility) for p in found.pose_landmarks.landmark]
            mask = np.clip(np.nan_to_num(found.segmentation_mask), 0, 1) * 255 + 0.5
            return {"points": np.array(points, np.float32), "mask": mask.astype(np.uint8)}

        yield estimate


@contextmanager
def detections() -> Iterator[Callable[[np.ndarray], list[Any]]]:
    """Open MediaPipe's person detector: a function from a frame, uint8 (H, W, 3), to detections.

    Raises:
        UsageError: mediapipe is not installed.
    """
    with _stderr_silenced() as frame_done, ExitStack() as stack:
        try:
            from google.protobuf import text_format
            from mediapipe.framework.calculator_pb2 import CalculatorGraphConfig
            from mediapipe.python.solution_base import SolutionBase
        except ImportError:
            raise UsageError(MISSING) from None
        config = text_format.Parse(PEOPLE_GRAPH, CalculatorGraphConfig())
        graph = stack.enter_context(SolutionBase(graph_config=config, outputs=["detections"]))

        def detect(frame: np.ndarray) -> list[Any]:
            found = graph.process(np.ascontiguousarray(frame)).detections
            frame_done()
            return found or []

        yield detect


@contextmanager
def _stderr_silenced() -> Iterator[Callable[[], None]]:
    """Silence standard error until the yielded function was called three times.

    MediaPipe loads its models, and logs, when the first person is detected. Its C++ code writes to
    the file descriptor, which all threads share, so the last open context restores it.
    """
    global _silencers, _saved_stderr
    with _LOCK:
        if _silencers == 0:
            _saved_stderr, devnull = os.dup(2), os.open(os.devnull, os.O_WRONLY)
            os.dup2(devnull, 2)
            os.close(devnull)
        _silencers += 1
    left = 3

    def frame_done() -> None:
        global _silencers
        nonlocal left
        left -= 1
        if left == 0:
            with _LOCK:
                _silencers -= 1
                if _silencers == 0:
                    os.dup2(_saved_stderr, 2)
                    os.close(_saved_stderr)

    try:
        yield frame_done
    finally:
        while left > 0:
            frame_done()
