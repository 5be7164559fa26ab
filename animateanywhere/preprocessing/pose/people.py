"""Detection and counting of persons: BlazePose's detector, or the bounding boxes of another one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from animateanywhere.preprocessing.frame_cache import FrameFunction, FrameResult, cached_results
from animateanywhere.preprocessing.pose.blazepose.frames import VERSION, WORKERS, opened

MIN_SCORE = 0.75  # passers-by score 0.8 to 0.95, false detections up to 0.72
SAMPLED_FRAMES = 5  # frames of a clip
COMPARABLE = 0.35  # of the largest person's size: smaller ones are background
SAME_PERSON = 0.4  # of the larger radius: detections with nearer centers are duplicates


def count_persons(frames: np.ndarray) -> int:
    """The number of persons of comparable size in a clip, uint8 (F, H, W, 3), by BlazePose."""
    sampled = frames[np.linspace(0, len(frames) - 1, min(len(frames), SAMPLED_FRAMES)).astype(int)]
    return count_comparable(detect_all(sampled))


def count_boxes(frames: list[np.ndarray]) -> int:
    """The number of persons of comparable size from each frame's boxes.

    frames: for each frame float (N, 5), left, top, right, bottom in pixels, score.
    """
    found = []
    for boxes in frames:
        middle, half = (boxes[:, :2] + boxes[:, 2:4]) / 2, (boxes[:, 3] - boxes[:, 1]) / 2
        found.append(np.column_stack([middle, half, boxes[:, 4]]))
    return count_comparable(found)


def detect_persons(frame: np.ndarray) -> np.ndarray:
    """Detect all persons in a frame, uint8 (H, W, 3), by descending score.

    The detector's input has 224 x 224 pixels, so besides the whole frame it runs on overlapping
    square windows with a side of the frame's shorter side and of half of it.

    Returns:
        float32 (N, 4): x, y of the hips' center and radius of the body around it (about half the
        standing height) in pixels, score.

    Raises:
        UsageError: LiteRT or the model files are missing.
    """
    return detect_all(frame[None])[0]


def detect_all(frames: np.ndarray) -> list[np.ndarray]:
    """`detect_persons` for each frame of uint8 (F, H, W, 3)."""
    results = cached_results(
        frames, f"people-{VERSION}", _open_detector, "counting persons", workers=WORKERS
    )
    return [result["persons"] for result in results]


@contextmanager
def _open_detector() -> Iterator[FrameFunction]:
    with opened() as networks:

        def detect_in_windows(frame: np.ndarray) -> FrameResult:
            persons = []
            for left, top, side in _windows(*frame.shape[:2]):
                window = frame[top : top + side, left : left + side] if side else frame
                found = networks.detect(window)
                radii = np.hypot(*(found.points[:, 1] - found.points[:, 0]).T)
                for (x, y), radius, score in zip(
                    found.points[:, 0], radii, found.scores, strict=True
                ):
                    # A body larger than its window is extrapolated from a fragment
                    if score >= MIN_SCORE and (not side or radius < 0.9 * side):
                        persons.append((x + left, y + top, radius, score))
            return {"persons": _without_duplicates(persons)}

        yield detect_in_windows


def count_comparable(found: list[np.ndarray]) -> int:
    """The number of persons of comparable size: the median over frames with a detection, or 0.

    found: for each frame float (N, 4) as from `detect_persons`.
    """
    counts = []
    for persons in found:
        if len(persons):
            counts.append(int((persons[:, 2] >= COMPARABLE * persons[:, 2].max()).sum()))
    return int(np.median(counts)) if counts else 0


def _windows(height: int, width: int) -> list[tuple[int, int, int]]:
    """Windows (left, top, side) in pixels; side 0 stands for the whole frame."""
    short = min(height, width)
    windows = [(0, 0, 0)]
    for side in (short, short // 2):
        if side < 96 or side == height == width:
            continue
        steps_x, steps_y = (-(-2 * (length - side) // side) + 1 for length in (width, height))
        for top in np.linspace(0, height - side, steps_y).astype(int):
            for left in np.linspace(0, width - side, steps_x).astype(int):
                windows.append((int(left), int(top), side))
    return windows


def _without_duplicates(persons: list[tuple[float, float, float, float]]) -> np.ndarray:
    kept: list[tuple[float, float, float, float]] = []
    for x, y, radius, score in sorted(persons, key=lambda person: -person[3]):
        if all(np.hypot(x - a, y - b) > SAME_PERSON * max(radius, r) for a, b, r, _ in kept):
            kept.append((x, y, radius, score))
    return np.array(kept, dtype=np.float32).reshape(-1, 4)
