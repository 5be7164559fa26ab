"""BlazePose's two networks: persons of a frame, then 33 landmarks and a mask of each.

After the published graph definition `pose_landmark_cpu` of MediaPipe 0.10.21 for single pictures,
with the full landmark network (BlazePose GHUM 3D).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit

from animateanywhere.preprocessing.pose.blazepose import detector, region
from animateanywhere.preprocessing.pose.blazepose.detector import Detections
from animateanywhere.preprocessing.pose.blazepose.region import Region

SIZE = 256  # pixels a side of the landmark network's input
LANDMARKS = 33  # two more and four spare ones follow in the network's output
MIN_PRESENCE = 0.5  # of a person in the square
SEARCH = 9  # cells a side of the window in a heatmap of 64 x 64
MIN_HEAT = 0.5
_LOCK = threading.Lock()


class Person(NamedTuple):
    """A person in a frame.

    points: float32 (33, 4): x and y in 0..1 of the frame, z in frame widths, visibility in 0..1.
    mask: float32 (H, W) in 0..1.
    """

    points: np.ndarray
    mask: np.ndarray


class BlazePose:
    """Both networks, of one thread. Not to be shared by threads."""

    def __init__(self, detection_model: Path, landmark_model: Path) -> None:
        self._detector = _Network(detection_model)
        self._landmarker = _Network(landmark_model)

    def detect(self, frame: np.ndarray) -> Detections:
        """The persons in a frame, uint8 (H, W, 3)."""
        square = region.whole_frame(*frame.shape[:2])
        picture = region.crop(frame, square, detector.SIZE, outside=0)
        values, logits = self._detector(picture / np.float32(127.5) - 1, 2)
        found = detector.merge_overlapping(detector.decode(values[0], logits[0, :, 0]))
        boxes = square.to_frame(found.boxes.reshape(-1, 2, 2)).reshape(-1, 4)
        return Detections(boxes, square.to_frame(found.points), found.scores)

    def landmarks(self, frame: np.ndarray, square: Region) -> Person | None:
        """Landmarks and mask of the person in a square of a frame; None if there is nobody."""
        height, width = frame.shape[:2]
        picture = region.crop(frame, square, SIZE)
        values, presence, logits, heat = self._landmarker(picture / np.float32(255), 4)
        if presence[0, 0] <= MIN_PRESENCE:
            return None
        raw = values.reshape(-1, 5)[:LANDMARKS].astype(
            float
        )  # (33, 5) x, y, z, visibility, presence
        places = square.to_frame(refine(raw[:, :2] / SIZE, heat[0]))
        points = np.column_stack([
            places / (width, height), raw[:, 2] / SIZE * square.side / width, sigmoid(raw[:, 3])
        ])  # fmt: skip
        mask = region.paste(sigmoid(logits[0, :, :, 0]), square, height, width)
        return Person(points.astype(np.float32), mask)


def refine(points: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Move points (N, 2) in 0..1 to the center of mass of their heatmaps around them.

    heat: (h, w, N or more), logits. A point stays if nothing in its window reaches MIN_HEAT.
    """
    out = points.copy()
    height, width = heat.shape[:2]
    half = SEARCH // 2
    for index, (column, row) in enumerate((points * (width, height)).astype(int)):
        if not (0 <= column < width and 0 <= row < height):
            continue
        top, left = max(row - half, 0), max(column - half, 0)
        window = sigmoid(heat[top : row + half + 1, left : column + half + 1, index].astype(float))
        if window.max() >= MIN_HEAT:
            rows, columns = np.indices(window.shape)
            out[index] = (
                ((columns + left) * window).sum() / window.sum() / width,
                ((rows + top) * window).sum() / window.sum() / height,
            )
    return out


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return np.asarray(expit(logits))


class _Network:
    """A model file, run by LiteRT with XNNPACK's kernels."""

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        with _stderr_silenced():
            self._interpreter: Any = Interpreter(str(path), num_threads=1)
            self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = [details["index"] for details in self._interpreter.get_output_details()]

    def __call__(self, picture: np.ndarray, outputs: int) -> list[np.ndarray]:
        """The first outputs for a float32 picture (size, size, 3)."""
        self._interpreter.set_tensor(self._input, picture[None])
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs[:outputs]]


@contextmanager
def _stderr_silenced() -> Iterator[None]:
    """LiteRT's C++ code announces its kernels on the file descriptor, which all threads share."""
    with _LOCK:
        saved, devnull = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            os.close(devnull)
