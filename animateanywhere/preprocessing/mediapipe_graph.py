"""MediaPipe 0.10.21, whose models are inside its wheel, without its chatter."""

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
WORKERS = 2  # a graph keeps little more than one core busy
MISSING = "mediapipe is not installed: pip install 'animateanywhere[offline]', or give a poses.json"

_LOCK = threading.Lock()
_hushes, _kept = 0, -1  # how many want standard error away, and where it is meanwhile

# All persons, where `mp.solutions.pose` keeps the first only; the subgraph is part of the wheel.
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
    """The one person that MediaPipe sees (BlazePose GHUM, full) in frames, uint8 (F, H, W, 3).

    Each frame is looked at by itself: at 8 frames a second a fast dancer leaves the region in
    which the tracker would look next. The mask comes along at no cost.

    Returns:
        For each frame "points", float32 (33, 4): x, y of 0..1 and z in frame widths, visibility;
        (0, 4) where nobody is seen; and "mask", uint8 (H, W), 255 the person.

    Raises:
        UsageError: mediapipe is not installed.
    """
    return cached_results(frames, VERSION, _opened, "finding the person", workers=WORKERS)


@contextmanager
def _opened() -> Iterator[FrameFunction]:
    with _stderr_silenced() as met, ExitStack() as stack:
        try:
            from mediapipe.python.solutions.pose import Pose
        except ImportError:
            raise UsageError(MISSING) from None
        graph = stack.enter_context(
            Pose(static_image_mode=True, model_complexity=1, enable_segmentation=True)
        )

        def look(frame: np.ndarray) -> FrameResult:
            found = graph.process(np.ascontiguousarray(frame))
            met()
            if found.pose_landmarks is None:
                nothing = np.zeros(frame.shape[:2], np.uint8)
                return {"points": np.zeros((0, 4), np.float32), "mask": nothing}
            points = [(p.x, p.y, p.z, p.visibility) for p in found.pose_landmarks.landmark]
            mask = np.clip(np.nan_to_num(found.segmentation_mask), 0, 1) * 255 + 0.5
            return {"points": np.array(points, np.float32), "mask": mask.astype(np.uint8)}

        yield look


@contextmanager
def detections() -> Iterator[Callable[[np.ndarray], list[Any]]]:
    """A function from a frame, uint8 (H, W, 3), to MediaPipe's detections of all persons in it.

    Raises:
        UsageError: mediapipe is not installed.
    """
    with _stderr_silenced() as met, ExitStack() as stack:
        try:
            from google.protobuf import text_format
            from mediapipe.framework.calculator_pb2 import CalculatorGraphConfig
            from mediapipe.python.solution_base import SolutionBase
        except ImportError:
            raise UsageError(MISSING) from None
        config = text_format.Parse(PEOPLE_GRAPH, CalculatorGraphConfig())
        graph = stack.enter_context(SolutionBase(graph_config=config, outputs=["detections"]))

        def look(frame: np.ndarray) -> list[Any]:
            found = graph.process(np.ascontiguousarray(frame)).detections
            met()
            return found or []

        yield look


@contextmanager
def _stderr_silenced() -> Iterator[Callable[[], None]]:
    """Turn standard error away until the function it gives was called three times: models load,
    and talk, when they first see somebody. C++ writes to the file descriptor itself, which all
    threads share, so the last to be done brings it back."""
    global _hushes, _kept
    with _LOCK:
        if _hushes == 0:
            _kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 2)
            os.close(nowhere)
        _hushes += 1
    left = 3

    def met() -> None:
        global _hushes
        nonlocal left
        left -= 1
        if left == 0:
            with _LOCK:
                _hushes -= 1
                if _hushes == 0:
                    os.dup2(_kept, 2)
                    os.close(_kept)

    try:
        yield met
    finally:
        while left > 0:
            met()
