"""The person of a clip to learn from: chosen, or the only one, or alone for most of the clip."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from animateanywhere.core.errors import UsageError
from animateanywhere.core.findings import Finding
from animateanywhere.pose import smoothing
from animateanywhere.pose.continuity import exchange_limbs, hide_doubled
from animateanywhere.pose.visibility import has_person
from animateanywhere.preprocessing.pose.people import People, choose, write_numbered
from animateanywhere.preprocessing.quality.clip import frames_in_words
from animateanywhere.preprocessing.tracking import LOST, Track

ALONE = 0.5  # share of the person's frames that must show nobody else, to cut the clip to them
SHORTEST = 8  # frames in a row that can be learned
PEOPLE = "people"  # name of the finding that there are several


class Reference(NamedTuple):
    """keypoints float32 (F, 18, 3) of the person, smoothed, confidence 0 in frames that are not to
    be used; bool (F, 18), which of them are interpolated; keypoints (F, 18, 3) of each other
    person; findings."""

    keypoints: np.ndarray
    filled: np.ndarray
    others: list[np.ndarray]
    findings: list[Finding]


def choose_reference(
    people: People, number: int | None, frames: np.ndarray, fps: float, clip: Path, picture: Path
) -> Reference:
    """The person to learn.

    With several persons of comparable size and no number, the clip is cut to the longest stretch
    that shows the most prominent person alone, if that is most of it.

    Args:
        people: of the clip.
        number: of the person, from 1; None: the only one.
        frames: uint8 (F, H, W, 3), at `fps`.
        picture: PNG file to write, with a number at each person, if there are several.

    Raises:
        UsageError: several persons and no number, or no person with this number.
    """
    if not people.tracks:
        nobody = np.zeros((len(frames), 18, 3), np.float32)
        return Reference(nobody, np.zeros(nobody.shape[:2], dtype=bool), [], [])
    several = len(people.tracks) > 1
    if several:
        write_numbered(picture, lambda index: frames[index], people)
    chosen = choose(people, number or 1, clip, picture)
    keypoints, findings = corrected_limbs(chosen.keypoints)
    keypoints, filled = smoothing.smooth(keypoints, fps)
    if several and number is None:
        alone = alone_in(people, keypoints)
        if alone is None:
            raise UsageError(
                f"{clip}: {list_people(people)}; choose one with --person N, numbered in "
                f"{picture}, and the others are masked out, or cut the clip to one person"
            )
        unused = np.ones(len(frames), dtype=bool)
        unused[alone] = False
        keypoints[unused, :, 2] = 0
        text = (
            f"{list_people(people)}: the clip is cut to "
            f"{frames_in_words(range(alone.start, alone.stop))}, in which person 1 alone "
            f"is found; --person N uses all of one person (numbered in {picture})"
        )
        findings.insert(0, Finding("warning", PEOPLE, text))
    elif several:
        text = f"{list_people(people)}: person {number} is used, the others are masked out"
        findings.insert(0, Finding("note", PEOPLE, text))
    others = [one.keypoints for one in people.others(number or 1)]
    return Reference(keypoints, filled, others, findings)


def alone_in(people: People, keypoints: np.ndarray) -> slice | None:
    """The longest stretch of frames that shows the most prominent of several persons alone; None if
    that is not most of where the person is seen. keypoints: (F, 18, 3), of that person."""
    shown = has_person(keypoints)
    alone = _longest(shown & ~_seen(people.tracks[1:]))
    long = alone.stop - alone.start >= max(ALONE * shown.sum(), min(SHORTEST, len(shown)))
    return alone if long else None


def list_people(people: People) -> str:
    """The persons of comparable size, and the frames that show each, in words."""
    seen = (f"{number} in {frames_in_words(np.flatnonzero(one.present))}"
            for number, one in enumerate(people.tracks, start=1))  # fmt: skip
    return f"{len(people.tracks)} persons of comparable size (person {', '.join(seen)})"


def _seen(tracks: list[Track]) -> np.ndarray:
    """bool (F,): the frames with any of these persons, also where the detector missed one of them
    for a while."""
    out = np.zeros(len(tracks[0].present), dtype=bool)
    for one in tracks:
        out |= one.present
        for start, stop in pairwise(np.flatnonzero(one.present)):
            if stop - start <= LOST:
                out[start:stop] = True
    return out


def _longest(wanted: np.ndarray) -> slice:
    """The longest run of True in (F,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], wanted, [False]]))).tolist()
    runs = [slice(*ends) for ends in zip(edges[::2], edges[1::2], strict=True)]
    return max(runs, key=lambda run: run.stop - run.start, default=slice(0, 0))


def corrected_limbs(keypoints: np.ndarray) -> tuple[np.ndarray, list[Finding]]:
    """Keypoints (F, 18, 3) with exchanged limbs corrected and doubled ones hidden (`continuity`),
    and notes of the frames."""
    keypoints, exchanged = exchange_limbs(keypoints)
    keypoints, doubled = hide_doubled(keypoints)
    notes = (
        (exchanged, "the detector exchanged left and right ({}): corrected"),
        (doubled, "the detector put left and right in one place ({}): the wrong limb is left out"),
    )
    findings = []
    for found, text in notes:
        where = [f"{name} in {frames_in_words(np.flatnonzero(frames))}"
                 for name, frames in found.items() if frames.any()]  # fmt: skip
        if where:
            findings.append(Finding("note", "left and right", text.format(", ".join(where))))
    return keypoints, findings
