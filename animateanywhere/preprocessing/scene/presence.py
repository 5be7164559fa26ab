"""The person of a scene whose place is taken: who it is, and the stretches that show them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from animateanywhere.core.errors import UsageError
from animateanywhere.core.findings import Finding
from animateanywhere.pose import smoothing
from animateanywhere.pose.visibility import has_person
from animateanywhere.preprocessing.crop import person_boxes
from animateanywhere.preprocessing.pose.people import (
    People,
    choose,
    follow_people,
    write_numbered,
)
from animateanywhere.preprocessing.quality.clip import frames_in_words
from animateanywhere.preprocessing.reference import corrected_limbs, list_people
from animateanywhere.preprocessing.scene.flashes import Flashes
from animateanywhere.preprocessing.scene.scan import Facts, Scan
from animateanywhere.preprocessing.tracking import Persons, Track

SHORTEST = 8  # frames in a row that are swapped
SMALL = 48  # pixels: of a person so high, the face is a few pixels


class Presence(NamedTuple):
    """keypoints float32 (F, 18, 3) of the person in pixels of `Facts.seen`, smoothed, bool (F, 18)
    which of them are interpolated, keypoints (F, 18, 3) of everybody else, the frames that are
    swapped, which of these stay as they are all the same, int (N,), and findings."""

    keypoints: np.ndarray
    filled: np.ndarray
    others: list[np.ndarray]
    stretches: list[slice]
    stay: np.ndarray
    findings: list[Finding]


def find_presence(
    facts: Facts, scanned: Scan, number: int | None, picture: Path,
    frame: Callable[[int], np.ndarray], poses: Path | None = None,
) -> Presence:  # fmt: skip
    """The person whose place is taken.

    Args:
        number: of the person, 1 the most prominent; None: the only one.
        picture: PNG file to write, with a number at each person, if there are several.
        frame: gives a frame of the scene, uint8 (H, W, 3) of the size `Facts.seen`.
        poses: the file that they were read from; None: a detector found them, or missed some.

    Raises:
        UsageError: nobody, nobody for long enough, several at a time and no number, or no person
            with this number.
    """
    people = follow_people(scanned.found, cuts=scanned.cuts)
    if not people.tracks:
        raise UsageError(
            f"{facts.path}: nobody found in it to take the place of; give a scene that shows a "
            "person, or poses beside it as "
            f"{facts.path.stem}.poses.json"
        )
    several = len(people.tracks) > 1
    if several:
        write_numbered(picture, frame, people)
    choose(people, number or 1, facts.path, picture)
    if several and number is None and _together(people.tracks):
        raise UsageError(
            f"{facts.path}: {list_people(people)}: choose whose place is taken by --person N, "
            f"numbered in {picture}; the others stay as they are"
        )
    mine, findings = _same_person(people, number, scanned.found, picture)
    track = _joined([people.tracks[index] for index in mine])
    keypoints, filled = _smoothed(track.keypoints, scanned.cuts, facts.fps)
    stretches = _stretches(has_person(keypoints), scanned.cuts)
    stay = _unrecognizable(scanned.flashes, track.present, stretches)
    others = [one.keypoints for index, one in enumerate(people.tracks) if index not in mine]
    others += [one.keypoints for one in people.background]
    findings += [
        *_passed_through(stretches, has_person(keypoints), facts, poses),
        *_cuts(scanned.cuts, facts), *_lit(scanned.flashes, stay),
        *_size(keypoints, stretches, facts), *_behind(people),
    ]  # fmt: skip
    return Presence(keypoints, filled, others, stretches, stay, findings)


def _together(tracks: Sequence[Track]) -> bool:
    """Whether a frame shows two persons."""
    return bool((np.sum([one.present for one in tracks], axis=0) > 1).any())


def _same_person(
    people: People, number: int | None, found: Sequence[Persons], picture: Path
) -> tuple[list[int], list[Finding]]:
    """Which tracks are the person's. Of people whom no frame shows together, those whose clothes
    are not seen, as in a close-up after a cut, are taken as the person; others are not."""
    if number is not None or len(people.tracks) == 1:
        return [(number or 1) - 1], []
    mine, findings = [0], []
    for index, one in enumerate(people.tracks[1:], start=1):
        frames = np.flatnonzero(one.present)
        colors = [found[f].colors[one.numbers[f]] for f in frames.tolist()]
        where = frames_in_words(frames)
        if np.isfinite(np.array(colors, dtype=float)).any():
            text = (
                f"somebody in other clothes is in {where}, person {index + 1} in {picture}, who "
                f"stays; --person {index + 1} swaps that person"
            )
        else:
            mine.append(index)
            text = f"whose clothes are not seen in {where} is taken as the same person"
        findings.append(Finding("warning", "people", text))
    return mine, findings


def _joined(tracks: Sequence[Track]) -> Track:
    numbers, keypoints, boxes = (np.array(part) for part in tracks[0])
    for one in tracks[1:]:
        here = one.present & (numbers < 0)
        numbers[here], keypoints[here], boxes[here] = (part[here] for part in one)
    return Track(numbers, keypoints, boxes)


def _shots(cuts: Sequence[int], count: int) -> list[slice]:
    return [slice(*ends) for ends in pairwise([0, *cuts, count])]


def _smoothed(
    keypoints: np.ndarray, cuts: Sequence[int], fps: float
) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (F, 18, 3) corrected and smoothed shot by shot; which are interpolated."""
    out, filled = keypoints.copy(), np.zeros(keypoints.shape[:2], dtype=bool)
    for shot in _shots(cuts, len(keypoints)):
        if has_person(keypoints[shot]).any():
            corrected, _ = corrected_limbs(keypoints[shot])
            out[shot], filled[shot] = smoothing.smooth(corrected, fps)
    return out, filled


def _stretches(shown: np.ndarray, cuts: Sequence[int]) -> list[slice]:
    """Runs of frames, bool (F,), that show the person, within one shot and long enough."""
    new = np.diff(shown, prepend=not shown[0])
    new[list(cuts)] = True
    starts = [*np.flatnonzero(new).tolist(), len(shown)]
    least = min(SHORTEST, len(shown))
    return [slice(a, b) for a, b in pairwise(starts) if shown[a] and b - a >= least]


def _passed_through(
    stretches: list[slice], found: np.ndarray, facts: Facts, poses: Path | None
) -> list[Finding]:  # fmt: skip
    """What is not swapped of frames, bool (F,), in which the person was found or not. poses: as for
    `find_presence`. Raises UsageError if that is all."""
    left = np.ones(len(found), dtype=bool)
    for stretch in stretches:
        left[stretch] = False
    least = min(SHORTEST, len(found))
    beside = f"poses beside {facts.path.name} as {facts.path.stem}.poses.json"
    if left.all():
        needed = "" if least == 1 else f" for {least} frames in a row"
        raise UsageError(
            f"{facts.path}: the person is nowhere found{needed}; give a scene that shows one "
            f"longer, or {beside}"
        )
    # Who is not found may be there
    none = "the person is not found" if poses is None else f"{poses.name} has no pose of the person"
    more = f"; if the person is there, put {beside}" if poses is None else ""
    texts = []
    for frames, why, advice in (
        (left & ~found, none, more),
        (left & found, f"the person is found for fewer than {least} frames in a row", ""),
    ):
        if frames.any():
            they = "it stays as it is" if frames.sum() == 1 else "they stay as they are"
            texts.append(f"{why} in {frames_in_words(np.flatnonzero(frames))}: {they}{advice}")
    return [Finding("warning", "passed through", text) for text in texts]


def _cuts(cuts: Sequence[int], facts: Facts) -> list[Finding]:
    if not cuts:
        return []
    times = ", ".join(f"{facts.part.start + cut / facts.fps:.1f} s" for cut in cuts[:5])
    more = " and more" if len(cuts) > 5 else ""
    return [Finding("note", "cuts", f"{len(cuts) + 1} shots, new ones at {times}{more}")]


def _unrecognizable(
    flashes: Flashes, detected: np.ndarray, stretches: Sequence[slice]
) -> np.ndarray:  # fmt: skip
    """The frames of stretches, int (N,), that a flash lights so much that nobody can be recognized:
    a person who is drawn there stands before nothing. detected: bool (F,)."""
    inside = np.zeros(len(detected), dtype=bool)
    for stretch in stretches:
        inside[stretch] = True
    return np.flatnonzero(inside & flashes.lit & (flashes.white | ~detected))


def _lit(flashes: Flashes, stay: np.ndarray) -> list[Finding]:
    if not flashes.lit.any():
        return []
    where = frames_in_words(np.flatnonzero(flashes.lit))
    found = [Finding("note", "flash", f"a flash lights {where}: taken as the same shot")]
    if len(stay):
        they = "it stays as it is" if len(stay) == 1 else "they stay as they are"
        text = f"the flash leaves nobody to be recognized in {frames_in_words(stay)}: {they}"
        found.append(Finding("warning", "passed through", text))
    return found


def _behind(people: People) -> list[Finding]:
    if not people.smaller:
        return []
    who = "one far smaller person is seen and stays as filmed, without a number" if (
        people.smaller == 1
    ) else (
        f"up to {people.smaller} far smaller people are seen at a time and stay as filmed, without "
        "numbers"
    )  # fmt: skip
    text = f"{who}; poses of one person beside the scene choose anybody"
    return [Finding("note", "people", text)]


def _size(keypoints: np.ndarray, stretches: list[slice], facts: Facts) -> list[Finding]:
    shown = np.concatenate([person_boxes(keypoints[stretch]) for stretch in stretches])
    ratio = facts.size.height / facts.seen.height
    high = float(np.median(shown[:, 3] - shown[:, 1])) * ratio
    if high >= SMALL:
        return []
    text = f"the person is {high:.0f} pixels high: a face is a few of them"
    return [Finding("warning", "size", text)]
