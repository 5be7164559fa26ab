"""Opening MediaPipe 0.10.21, whose models are inside its wheel, without its chatter."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from animateanywhere.errors import UsageError

MISSING = "mediapipe is not installed: pip install 'animateanywhere[offline]', or give a poses.json"

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


@contextmanager
def landmarks(segment: bool = False) -> Iterator[Callable[[np.ndarray], Any]]:
    """A function from a frame, uint8 (H, W, 3), to MediaPipe's pose result of one person.

    segment: the result has a `segmentation_mask` too. Every frame is looked at anew: at 8 frames
    a second a fast dancer leaves the region in which the tracker would look next.

    Raises:
        UsageError: mediapipe is not installed.
    """
    with _quiet():
        try:
            from mediapipe.python.solutions.pose import Pose
        except ImportError:
            raise UsageError(MISSING) from None
        graph = Pose(static_image_mode=True, model_complexity=1, enable_segmentation=segment)
    with graph:
        yield _hushed(lambda frame: graph.process(np.ascontiguousarray(frame)))


@contextmanager
def detections() -> Iterator[Callable[[np.ndarray], list[Any]]]:
    """A function from a frame, uint8 (H, W, 3), to MediaPipe's detections of all persons in it.

    Raises:
        UsageError: mediapipe is not installed.
    """
    with _quiet():
        try:
            from google.protobuf import text_format
            from mediapipe.framework.calculator_pb2 import CalculatorGraphConfig
            from mediapipe.python.solution_base import SolutionBase
        except ImportError:
            raise UsageError(MISSING) from None
        config = text_format.Parse(PEOPLE_GRAPH, CalculatorGraphConfig())
        graph = SolutionBase(graph_config=config, outputs=["detections"])
    with graph:
        yield _hushed(lambda frame: graph.process(np.ascontiguousarray(frame)).detections or [])


def _hushed(look: Callable[[np.ndarray], Any]) -> Callable[[np.ndarray], Any]:
    """Models load, and talk, when they first see somebody: turn that away too."""
    left = 3

    def first_quietly(frame: np.ndarray) -> Any:
        nonlocal left
        if not left:
            return look(frame)
        left -= 1
        with _quiet():
            return look(frame)

    return first_quietly


@contextmanager
def _quiet() -> Iterator[None]:
    """C++ writes to the file descriptor itself, so that is what is turned away for a moment."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
