"""Who is in a clip: the tracked persons of comparable size, and the one that is chosen."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import write_aside
from animateanywhere.pose.keypoints import VISIBLE
from animateanywhere.preprocessing import clothes
from animateanywhere.preprocessing.tracking import (
    Persons,
    Track,
    box_sizes,
    intersection_over_union,
    keypoint_boxes,
    similarity,
    track,
)

COMPARABLE = 0.35  # of the most prominent person's size: smaller ones are background
MOST = 12  # persons whose poses are estimated in one frame
SHORTEST, WITHIN = 3, 5  # frames: who is detected in fewer is nobody, or passes too fast to matter
SAME_POSE, SAME_BOX = 0.75, 0.6  # similarity and overlap of two detections of one person
COLORS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080")


class People(NamedTuple):
    """Persons of a clip: those of comparable size, most prominent first, and the background's.
    smaller: how many persons far smaller than the most prominent one are seen at a time, with those
    of the background."""

    tracks: list[Track]
    background: list[Track]
    smaller: int = 0

    def others(self, number: int) -> list[Track]:
        """Everybody besides person `number`, counted from 1."""
        return [*self.tracks[: number - 1], *self.tracks[number:], *self.background]


def persons_of(
    keypoints: np.ndarray, scores: np.ndarray | None = None, boxes: np.ndarray | None = None,
    smaller: int = 0,
) -> Persons:  # fmt: skip
    """The persons of a frame with keypoints (N, 18, 3); without those that have no visible body and
    without duplicates. Scores and boxes are by default those of the visible keypoints. smaller: as
    of `Persons`."""
    shown = keypoints[..., 2] >= VISIBLE
    if scores is None:
        scores = (keypoints[..., 2] * shown).sum(1) / np.maximum(shown.sum(1), 1)
    boxes = keypoint_boxes(keypoints, VISIBLE) if boxes is None else boxes
    kept: list[int] = []
    for number in np.argsort(-scores):
        if shown[number].sum() >= 2 and not any(
            _same(keypoints[[number, other]], boxes[[number, other]]) for other in kept
        ):
            kept.append(int(number))
    nothing = np.empty((len(kept), 0))
    poses = keypoints[kept].astype(np.float32)
    return Persons(boxes[kept], poses, scores[kept], nothing, smaller)


def comparable(boxes: np.ndarray) -> np.ndarray:
    """Those of a frame's boxes (N, 4 or more) that are of comparable size with the largest, at most
    MOST."""
    sizes = box_sizes(boxes)
    largest = np.argsort(-sizes, kind="stable")[:MOST]
    return boxes[largest[sizes[largest] >= COMPARABLE * sizes.max(initial=0)]]


def _same(poses: np.ndarray, boxes: np.ndarray) -> bool:
    if intersection_over_union(boxes[:1], boxes[1])[0] < SAME_BOX:
        return False
    return similarity(poses[0], poses[1], float(box_sizes(boxes).max())) > SAME_POSE


def with_colors(found: Sequence[Persons], frames: np.ndarray) -> list[Persons]:
    """The persons of each frame, uint8 (F, H, W, 3), with the colors of their clothes."""
    return [persons._replace(colors=clothes.colors(frame, persons.keypoints))
            for persons, frame in zip(found, frames, strict=True)]  # fmt: skip


def follow_people(
    found: Sequence[Persons], frames: np.ndarray | None = None, cuts: Collection[int] = ()
) -> People:
    """Track everybody through a clip.

    Args:
        found: the persons of each frame.
        frames: uint8 (F, H, W, 3), whose colors help to distinguish people; None for drawings, and
            where `found` has the colors.
        cuts: the frames with which a new shot begins.
    """
    if frames is not None:
        found = with_colors(found, frames)
    tracks = [one for one in track(found, cuts) if _stays(one.present)]
    near = [one for one in tracks if one.size >= COMPARABLE * tracks[0].size]
    background = [one for one in tracks if one.size < COMPARABLE * tracks[0].size]
    return People(near, background, _smaller(found, background))


def is_alone(found: Sequence[Persons]) -> bool:
    """Whether no frame shows two persons."""
    return max((len(persons.boxes) for persons in found), default=0) <= 1


def only_person(found: Sequence[Persons]) -> Track:
    """The one person of frames that never show two."""
    index = np.array([len(persons.boxes) - 1 for persons in found])
    keypoints = np.zeros((len(found), 18, 3), np.float32)
    boxes = np.full((len(found), 4), np.nan)
    for frame in np.flatnonzero(index == 0).tolist():
        keypoints[frame], boxes[frame] = found[frame].keypoints[0], found[frame].boxes[0]
    return Track(index, keypoints, boxes)


def follow_apart(found: Sequence[Persons], frames: np.ndarray | None = None) -> People:
    """As `follow_people`, of frames that may be far apart: whoever is alone in all of them is one
    person, however far that one moves between two."""
    return People([only_person(found)], []) if is_alone(found) else follow_people(found, frames)


def _stays(present: np.ndarray) -> bool:
    """Whether a person detected in frames, bool (F,), stays for some of them, and is no series of
    wrong detections."""
    near = np.convolve(present, np.ones(WITHIN))
    return bool(near.max(initial=0) >= min(SHORTEST, len(present)))


def _smaller(found: Sequence[Persons], background: Sequence[Track]) -> int:
    """How many small persons are seen at a time, those of the background among them."""
    counts = np.array([persons.smaller for persons in found])
    for one in background:
        counts += one.present
    return next(number for number in range(counts.max(initial=0), -1, -1)
                if not number or _stays(counts >= number))  # fmt: skip


def choose(
    people: People, number: int, path: Path, picture: Path, option: str = "--person"
) -> Track:
    """Person `number`, counted from 1.

    Raises:
        UsageError: there are fewer persons. path: of the clip; picture: with their numbers;
            option: that gave the number.
    """
    count = len(people.tracks)
    if number > count:
        where = f" (numbered in {picture})" if count > 1 else ""
        counted = "one person is" if count == 1 else f"{count} persons are"
        raise UsageError(f"{option} {number}: {counted} seen in {path}{where}")
    return people.tracks[number - 1]


def choose_one(
    people: People, number: int | None, frame: Callable[[int], np.ndarray], path: Path,
    picture: Path, option: str, remedy: str = "",
) -> Track:  # fmt: skip
    """As `choose`; of several, who are then numbered in `picture`, the number must be given.

    frame: as of `write_numbered`. remedy: what else can be done, for the message.
    """
    if len(people.tracks) > 1:
        write_numbered(picture, frame, people)
        if number is None:
            raise UsageError(
                f"{path}: {len(people.tracks)} persons: choose one by {option} N, numbered in "
                f"{picture}{remedy}"
            )
    return choose(people, number or 1, path, picture, option)


def write_numbered(path: Path, frame: Callable[[int], np.ndarray], people: People) -> None:
    """Write a PNG of the frame that shows most of the persons, with a numbered box around each, and
    beside it the frames that show the others.

    frame: gives a frame of the clip, uint8 (H, W, 3).
    """
    shown = np.array([one.present for one in people.tracks])  # (P, F)
    area = np.array([np.nan_to_num(np.prod(one.boxes[:, 2:] - one.boxes[:, :2], axis=1))
                     for one in people.tracks])  # fmt: skip
    score = shown * (1 + area / area.max(1, keepdims=True))
    left, pictures = np.ones(len(shown), dtype=bool), []
    while left.any():
        index = int(score[left].sum(0).argmax())
        pictures.append(_numbered(frame(index), people, index))
        left &= ~shown[:, index]
    with write_aside(path) as aside:
        Image.fromarray(np.concatenate(pictures, axis=1)).save(aside, format="PNG")


def _numbered(frame: np.ndarray, people: People, index: int) -> np.ndarray:
    """Frame `index` of a clip, uint8 (H, W, 3), with a numbered box around each of its persons."""
    picture = Image.fromarray(frame)
    draw = ImageDraw.Draw(picture)
    unit = max(min(picture.size) // 150, 1)
    font = ImageFont.load_default(size=max(min(picture.size) // 12, 12))
    for number in range(len(people.tracks), 0, -1):
        box = people.tracks[number - 1].boxes[index]
        if not np.isfinite(box).all():
            continue
        left, top = (max(float(side), 0.0) for side in box[:2])
        color = COLORS[(number - 1) % len(COLORS)]
        draw.rectangle([left, top, float(box[2]), float(box[3])], outline=color, width=unit * 2)
        text = draw.textbbox((left, top), str(number), font=font)
        draw.rectangle([left, top, text[2] + 4 * unit, text[3] + 2 * unit], fill=color)
        draw.text((left + 2 * unit, top), str(number), fill="white", font=font)
    return np.asarray(picture)
