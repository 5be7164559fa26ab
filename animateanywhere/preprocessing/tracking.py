"""Tracking of persons through a clip: prediction of their motion and assignment of detections.

In each frame the detections are assigned to the known persons at the least total cost
(`scipy.optimize.linear_sum_assignment`): distance to the predicted place, dissimilarity of the pose
(object keypoint similarity, as in COCO's evaluation), and difference of the clothes' colors.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from animateanywhere.pose.keypoints import VISIBLE

LOST = 16  # frames: a person who reappears later counts as another one
# Distance from the predicted place, in sizes of the person: in the next frame, and for each frame
# more that the person was not detected, up to a limit
REACH, REACH_PER_FRAME, FARTHEST = 0.5, 0.1, 1.0
DAMPING = 0.8  # of the velocity for each frame without a detection
SMOOTHING = 0.5  # weight of a new detection in velocity and size
COLOR_MEMORY = 0.2  # weight of a new detection in the colors
PLACE, POSE, COLOR, SIZE = 1.0, 0.7, 2.0, 0.5  # weights of the costs
WORST = 2.6  # cost beyond which a detection is another person
OTHER_COLOR = 48.0  # levels of 255: mean difference of other clothes
SPREAD = 0.1  # of the person's size: deviation of a keypoint at which the similarity is exp(-1/2)
EXCHANGED = 0.35  # of OTHER_COLOR by which an exchange must fit better
SAME_CLOTHES = 0.3  # of OTHER_COLOR: difference of a person's clothes before and after an absence


class Persons(NamedTuple):
    """The N persons detected in one frame.

    boxes: float (N, 4), left, top, right, bottom in pixels. keypoints: float32 (N, 18, 3), x, y in
    pixels and confidence. scores: float (N,) in 0..1. colors: float (N, C), of `clothes.colors`,
    NaN where they are not known; C is 0 without pixels. smaller: detections beside these, far
    smaller than the largest person, at which nobody looked further.
    """

    boxes: np.ndarray
    keypoints: np.ndarray
    scores: np.ndarray
    colors: np.ndarray
    smaller: int = 0


class Track(NamedTuple):
    """One person through a clip: numbers (F,) into the detections of each frame, -1 without one;
    keypoints float32 (F, 18, 3), confidence 0 there; boxes (F, 4), NaN there."""

    numbers: np.ndarray
    keypoints: np.ndarray
    boxes: np.ndarray

    @property
    def present(self) -> np.ndarray:
        """bool (F,): the frames in which the person was detected."""
        return self.numbers >= 0

    @property
    def size(self) -> float:
        """Median of the longer side of the person's box in pixels."""
        return float(np.median(box_sizes(self.boxes[self.present])))


class _State:
    """What is known of a person up to a frame."""

    def __init__(self, frame: int, persons: Persons, number: int) -> None:
        self.last, self.indices = frame, {frame: number}
        self.center, self.size = _center(persons.boxes[number]), box_sizes(persons.boxes)[number]
        self.velocity, self.pose = np.zeros(2), persons.keypoints[number]
        self.colors = persons.colors[number].copy()

    def moved(self, frame: int) -> np.ndarray:
        """Expected motion (2,) since the last detection."""
        elapsed = (1 - DAMPING ** (frame - self.last)) / (1 - DAMPING)
        return self.velocity * elapsed

    def update(self, frame: int, persons: Persons, number: int) -> None:
        center, elapsed = _center(persons.boxes[number]), frame - self.last
        self.velocity += SMOOTHING * ((center - self.center) / elapsed - self.velocity)
        self.size += SMOOTHING * (box_sizes(persons.boxes)[number] - self.size)
        self.center, self.pose, self.last = center, persons.keypoints[number], frame
        colors = persons.colors[number]
        changed = self.colors + COLOR_MEMORY * (colors - self.colors)
        self.colors = np.where(np.isnan(changed), _first_known(self.colors, colors), changed)
        self.indices[frame] = number


def track(frames: Sequence[Persons], cuts: Collection[int] = ()) -> list[Track]:
    """Follow every person of a clip through its frames, also across gaps and crossings.

    cuts: the frames with which a new shot begins; beyond them people are known by their clothes
    only.

    Returns:
        The tracks, most prominent first: by the sum of the sizes over the frames.
    """
    active: list[_State] = []
    ended: list[_State] = []
    for frame, persons in enumerate(frames):
        here = [frame not in cuts and frame - state.last <= LOST for state in active]
        ended += [state for state, kept in zip(active, here, strict=True) if not kept]
        active = [state for state, kept in zip(active, here, strict=True) if kept]
        left = set(range(len(persons.boxes)))
        cost = np.array([_costs(state, frame, persons) for state in active])
        cost = cost.reshape(len(active), len(left))
        for row, column in zip(*linear_sum_assignment(cost.clip(max=1e3)), strict=True):
            if cost[row, column] <= WORST:
                active[row].update(frame, persons, int(column))
                left.discard(int(column))
        active += [_State(frame, persons, number) for number in sorted(left)]
    tracks = [_as_track(state.indices, frames) for state in ended + active]
    if any(persons.colors.size for persons in frames):
        found = _rejoined(_without_exchanges(tracks, frames), frames)
        tracks = [_as_track(some, frames) for some in found]
    return sorted(tracks, key=lambda one: -box_sizes(one.boxes[one.present]).sum())


def _costs(state: _State, frame: int, persons: Persons) -> np.ndarray:
    """Costs (N,) of the detections as the next one of a person; infinite out of reach."""
    moved, sizes = state.moved(frame), box_sizes(persons.boxes)
    larger = np.maximum(state.size, sizes)
    away = np.hypot(*(_center(persons.boxes) - state.center - moved).T) / larger
    reach = min(REACH + REACH_PER_FRAME * (frame - state.last - 1), FARTHEST)
    expected = state.pose + np.append(moved, 0)
    alike = np.array([similarity(expected, pose, state.size) for pose in persons.keypoints])
    color = _difference(persons.colors, state.colors)
    cost = PLACE * away / reach + POSE * (1 - alike) + COLOR * color
    cost += SIZE * np.abs(np.log(np.maximum(sizes, 1) / max(state.size, 1)))
    return np.where(away <= reach, cost, np.inf)


def similarity(a: np.ndarray, b: np.ndarray, size: float) -> float:
    """Object keypoint similarity 0..1 of two poses (18, 3) of a person of `size` pixels, over the
    keypoints visible in both; 0 with fewer than three."""
    both = (a[:, 2] >= VISIBLE) & (b[:, 2] >= VISIBLE)
    if both.sum() < 3:
        return 0.0
    squared = ((a[both, :2] - b[both, :2]) ** 2).sum(1)
    return float(np.exp(-squared / (2 * (SPREAD * max(size, 1)) ** 2)).mean())


def _difference(colors: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Difference 0..1 (N,) of the clothes' colors (N, C) from a person's own (C,); unknown: 0.5."""
    apart = np.abs(colors - own)
    known = np.isfinite(apart)
    mean = np.where(known, apart, 0).sum(-1) / np.maximum(known.sum(-1), 1)
    out = np.where(known.any(-1), (mean / OTHER_COLOR).clip(0, 1), 0.5)
    return out if colors.shape[-1] else np.zeros(len(colors))


def _without_exchanges(tracks: list[Track], frames: Sequence[Persons]) -> list[dict[int, int]]:
    """Detections {frame: index} of the tracks, where those that met and left with the clothes of
    each other are exchanged back."""
    found = [{int(f): int(one.numbers[f]) for f in np.flatnonzero(one.present)} for one in tracks]
    for a in range(len(found)):
        for b in range(a):
            for frame in _meetings(found[a], found[b], frames):
                before = [_mean_colors(one, frames, 0, frame) for one in (found[a], found[b])]
                after = [
                    _mean_colors(one, frames, frame, len(frames)) for one in (found[a], found[b])
                ]
                kept = sum(_difference(after[k][None], before[k])[0] for k in (0, 1))
                other = sum(_difference(after[k][None], before[1 - k])[0] for k in (0, 1))
                if kept - other > 2 * EXCHANGED:
                    found[a], found[b] = (
                        {f: i for f, i in one.items() if f < frame}
                        | {f: i for f, i in rest.items() if f >= frame}
                        for one, rest in ((found[a], found[b]), (found[b], found[a]))
                    )
    return found


def _rejoined(found: list[dict[int, int]], frames: Sequence[Persons]) -> list[dict[int, int]]:
    """Detections of the tracks, those one after the other joined where the clothes are the same: a
    person behind something, out of the frame for a while, or after a cut."""
    out: list[dict[int, int]] = []
    for one in sorted(found, key=min):
        colors = _mean_colors(one, frames, 0, len(frames))
        earlier = [other for other in out if max(other) < min(one)]
        apart = [float(_difference(_mean_colors(other, frames, 0, len(frames))[None], colors)[0])
                 for other in earlier]  # fmt: skip
        if apart and min(apart) < SAME_CLOTHES:
            earlier[int(np.argmin(apart))].update(one)
        else:
            out.append(dict(one))
    return out


def _meetings(a: dict[int, int], b: dict[int, int], frames: Sequence[Persons]) -> list[int]:
    """The frames after which two persons, whose boxes met, are both detected apart again."""
    out, met = [], False
    for frame in sorted(set(a) & set(b)):
        boxes = frames[frame].boxes
        close = intersection_over_union(boxes[a[frame]][None], boxes[b[frame]])[0] > 0.1
        gone = frame - 1 not in a or frame - 1 not in b
        if (met or gone) and not close:
            out.append(frame)
        met = bool(close)
    return [frame for frame in out if frame > min(a) and frame > min(b)]


def _mean_colors(
    one: dict[int, int], frames: Sequence[Persons], start: int, stop: int
) -> np.ndarray:
    """Median colors (C,) of a person's clothes in some frames, NaN where they are not known."""
    rows = [frames[f].colors[i] for f, i in one.items() if start <= f < stop]
    width = frames[0].colors.shape[1]
    found = np.array(rows).reshape(-1, width)
    known = np.isfinite(found).any(0)
    out = np.full(width, np.nan)
    out[known] = np.nanmedian(found[:, known], axis=0)
    return out


def _as_track(indices: dict[int, int], frames: Sequence[Persons]) -> Track:
    index = np.full(len(frames), -1)
    keypoints = np.zeros((len(frames), 18, 3), np.float32)
    boxes = np.full((len(frames), 4), np.nan)
    for frame, number in indices.items():
        index[frame] = number
        keypoints[frame] = frames[frame].keypoints[number]
        boxes[frame] = frames[frame].boxes[number]
    return Track(index, keypoints, boxes)


def _center(boxes: np.ndarray) -> np.ndarray:
    return (boxes[..., :2] + boxes[..., 2:4]) / 2


def _first_known(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(old), new, old)


def share_inside(region: np.ndarray, pose: np.ndarray) -> float:
    """The share of a person's visible keypoints (18, 3) that lie in a region, bool (H, W)."""
    x, y = pose[pose[:, 2] >= VISIBLE, :2].round().astype(int).T
    height, width = region.shape
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return float(region[y[inside], x[inside]].sum() / max(len(x), 1))


def box_sizes(boxes: np.ndarray) -> np.ndarray:
    """The longer side (N,) in pixels of boxes (N, 4)."""
    return (boxes[:, 2:4] - boxes[:, :2]).max(1, initial=0)


def box_areas(boxes: np.ndarray) -> np.ndarray:
    """Areas (N,) in square pixels of boxes (N, 4 or more)."""
    return (boxes[:, 2] - boxes[:, 0]).clip(0) * (boxes[:, 3] - boxes[:, 1]).clip(0)


def intersection_over_union(boxes: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Intersection over union (N,) of boxes (N, 4 or more) with one box."""
    low, high = np.maximum(boxes[:, :2], box[:2]), np.minimum(boxes[:, 2:4], box[2:4])
    shared = (high - low).clip(0).prod(1)
    return shared / np.maximum(box_areas(boxes) + box_areas(box[None]) - shared, 1e-6)


def keypoint_boxes(keypoints: np.ndarray, visible: float) -> np.ndarray:
    """Bounding boxes (F, 4) of the visible keypoints of (F, 18, 3), with a margin.

    visible: minimum confidence. NaN in frames with fewer than two visible keypoints.
    """
    out = np.full((len(keypoints), 4), np.nan)
    for index, pose in enumerate(keypoints):
        points = pose[pose[:, 2] >= visible, :2]
        if len(points) >= 2:
            low, high = points.min(0), points.max(0)
            room = 0.1 * (high - low).max()
            out[index] = *(low - room), *(high + room)
    return out
