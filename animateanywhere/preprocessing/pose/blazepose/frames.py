"""BlazePose over the frames of a clip, each by itself, with results cached on disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from animateanywhere.preprocessing import model_files
from animateanywhere.preprocessing.frame_cache import FrameFunction, FrameResult, cached_results
from animateanywhere.preprocessing.pose.blazepose.networks import BlazePose, Person
from animateanywhere.preprocessing.pose.blazepose.region import around_person

VERSION = f"blazepose-{model_files.VERSION}-3"  # the last digit: of our own steps
WORKERS = 2  # each runs on little more than one core
LONG = 1.2  # times as long as wide: a frame that is looked at in windows, too
LEAST_WINDOW = 16  # pixels: no smaller window shows a body, and a thin strip has thousands of them
MIN_WINDOW_SCORE = 0.75  # in windows, passers-by score 0.8 to 0.95, false detections up to 0.72
COMPARABLE = 0.3  # of the largest person's size
SAME_PERSON = 0.25  # of the larger radius: detections with nearer centers are duplicates
SAME_BODY = 0.1  # of the body's size: landmarks that differ less on average are one person's


def all_persons(frames: np.ndarray) -> list[FrameResult]:
    """Landmarks and masks of all persons in each frame, by descending score.

    The detector sees 224 x 224 pixels, so it looks at the whole frame and, in long frames, at
    overlapping squares of it. Persons far smaller than the largest are background and left out.

    Args:
        frames: uint8 (F, H, W, 3).

    Returns:
        For each frame, for its N persons: "points", float32 (N, 33, 4): x and y in 0..1, z in
        frame widths, visibility; "masks", uint8 (N, H, W), 255: that person, where bodies overlap
        both; "circles", float32 (N, 3): x, y of the hips' center and radius of the body around it,
        in pixels; "scores", float32 (N,) in 0.5..1, of the detector. "smaller", int (): how many
        persons are left out since they are far smaller.

    Raises:
        UsageError: LiteRT or the model files are missing.
    """
    return cached_results(
        frames, f"all-{VERSION}", _open_all, "estimating poses and masks", workers=WORKERS
    )


@contextmanager
def opened() -> Iterator[BlazePose]:
    """Both networks, for one thread.

    Raises:
        UsageError: LiteRT or the model files are missing.
    """
    yield BlazePose(*model_files.require())


@contextmanager
def _open_all() -> Iterator[FrameFunction]:
    with opened() as networks:

        def estimate(frame: np.ndarray) -> FrameResult:
            height, width = frame.shape[:2]
            places, scores, smaller = _in_windows(networks, frame)
            persons: list[Person] = []
            kept = []
            for index, (hips, rim) in enumerate(places):
                person = networks.landmarks(frame, around_person(hips, rim))
                if person and not any(_same(person, other, height, width) for other in persons):
                    persons.append(person)
                    kept.append(index)
            hips, rim = places[kept, 0], places[kept, 1]
            masks = [_bytes(person.mask) for person in persons]
            return {
                "points": np.array([person.points for person in persons], np.float32).reshape(
                    -1, 33, 4
                ),
                "masks": np.array(masks, np.uint8).reshape(-1, height, width),
                "circles": np.column_stack([hips, np.hypot(*(rim - hips).T)]).astype(np.float32),
                "scores": scores[kept].astype(np.float32),
                "smaller": np.array(smaller),
            }

        yield estimate


def _in_windows(networks: BlazePose, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Persons of comparable size in a frame, found in it and in its windows, by descending score:
    float (N, 2, 2), the hips' center and a point on the circle around the body; scores (N,); and
    the number of those that are far smaller, but as certain as in windows."""
    places, scores = [], []
    for left, top, side in _windows(*frame.shape[:2]):
        found = networks.detect(frame[top : top + side, left : left + side] if side else frame)
        radii = np.hypot(*(found.points[:, 1] - found.points[:, 0]).T)
        # A body larger than its window is extrapolated from a fragment
        good = (found.scores >= MIN_WINDOW_SCORE) & (radii < 0.9 * side) | (side == 0)
        places.append(found.points[good, :2] + (left, top))
        scores.append(found.scores[good])
    order = np.argsort(-np.concatenate(scores), kind="stable")
    candidates, certain = np.concatenate(places)[order], np.concatenate(scores)[order]
    radii = np.hypot(*(candidates[:, 1] - candidates[:, 0]).T)
    near = radii >= COMPARABLE * radii.max(initial=0)
    kept = _apart(candidates, np.flatnonzero(near), [])
    far = np.flatnonzero(~near & (certain >= MIN_WINDOW_SCORE))
    smaller = len(_apart(candidates, far, kept)) - len(kept)
    return candidates[kept], certain[kept], smaller


def _apart(candidates: np.ndarray, numbers: np.ndarray, known: list[int]) -> list[int]:
    """The numbers `known` of candidates (N, 2, 2), and of further ones those that are no
    duplicates."""
    radii = np.hypot(*(candidates[:, 1] - candidates[:, 0]).T)
    kept = list(known)
    for index in numbers:
        apart = np.hypot(*(candidates[kept, 0] - candidates[index, 0]).T)
        if (apart > SAME_PERSON * np.maximum(radii[kept], radii[index])).all():
            kept.append(int(index))
    return kept


def _windows(height: int, width: int) -> list[tuple[int, int, int]]:
    """Windows (left, top, side) in pixels; side 0 stands for the whole frame."""
    side = min(height, width)
    windows = [(0, 0, 0)]
    if side >= LEAST_WINDOW and max(height, width) > LONG * side:
        steps_x, steps_y = (-(-2 * (length - side) // side) + 1 for length in (width, height))
        windows += [
            (int(left), int(top), side)
            for top in np.linspace(0, height - side, steps_y)
            for left in np.linspace(0, width - side, steps_x)
        ]
    return windows


def _same(one: Person, other: Person, height: int, width: int) -> bool:
    """Whether two squares led the landmark network to one body, as happens where persons touch."""
    size = (width, height)
    apart = np.hypot(*((one.points - other.points)[:, :2] * size).T).mean()
    return bool(apart < SAME_BODY * np.ptp(one.points[:, :2] * size, axis=0).max())


def _bytes(mask: np.ndarray) -> np.ndarray:
    return (mask.clip(0, 1) * 255 + 0.5).astype(np.uint8)
