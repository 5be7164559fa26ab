"""The person filter: the one person of a piece, with keypoints; nobody or several are unfit."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from animateanywhere.core.errors import UsageError
from animateanywhere.core.findings import Finding
from animateanywhere.media.source import Part
from animateanywhere.media.video import Video
from animateanywhere.pose import smoothing
from animateanywhere.pose.skeleton_video import recognize
from animateanywhere.pose.visibility import has_person
from animateanywhere.preprocessing import exact
from animateanywhere.preprocessing.corpus.source import Unfit
from animateanywhere.preprocessing.pose import detect
from animateanywhere.preprocessing.quality.clip import frames_in_words
from animateanywhere.preprocessing.reference import alone_in, corrected_limbs
from animateanywhere.preprocessing.reference_clip import DRAWN, Chosen, stretch_with_person
from animateanywhere.preprocessing.weights import WeightsLocation


class Person(NamedTuple):
    """The person of a piece, in the frames to use.

    kept: these frames. keypoints: float32 (F, 18, 3) in pixels. filled: bool (F, 18), interpolated
    ones. others: keypoints (F, 18, 3) of each other person. notes: what was corrected or left out.
    """

    kept: slice
    keypoints: np.ndarray
    filled: np.ndarray
    others: list[np.ndarray]
    notes: list[str]


def find_person(
    read: Video, part: Part, fewest: int, chosen: Chosen, location: WeightsLocation
) -> Person:
    """The person of a decoded piece, in the longest stretch that shows one person alone.

    Args:
        read: the piece, read from `part` of its file.
        fewest: frames that are needed.
        chosen: the backends for poses and masks. location: of their weights.

    Raises Unfit: a drawn skeleton, nobody, several persons, or one who is seen too shortly.
    """
    kind = recognize(read.frames)
    if kind is not None:
        raise Unfit("drawing", f"{DRAWN[kind]}, not a person")
    findings: list[Finding] = []
    others: list[np.ndarray] = []
    if chosen.poses_file is not None:
        try:
            keypoints = exact.poses(chosen.poses_file, read, part)
        except UsageError as error:
            text = str(error).replace(str(chosen.poses_file), chosen.poses_file.name)
            raise Unfit("unreadable", text) from None
        filled = np.zeros(keypoints.shape[:2], dtype=bool)
    else:
        people = detect.find_people(read.frames, chosen.pose, location)
        if not people.tracks:
            raise Unfit("no person", f"nobody found in {len(read.frames)} frames")
        keypoints, findings = corrected_limbs(people.tracks[0].keypoints)
        keypoints, filled = smoothing.smooth(keypoints, read.fps)
        others = [one.keypoints for one in people.others(1)]
        if len(people.tracks) > 1:
            alone = alone_in(people, keypoints)
            if alone is None:
                raise Unfit("several persons", f"{len(people.tracks)} persons of comparable size")
            keypoints[: alone.start, :, 2] = keypoints[alone.stop :, :, 2] = 0
    kept = stretch_with_person(keypoints, read.times, read.fps)
    count = kept.stop - kept.start
    if count < min(fewest, len(read.frames)):
        shown = int(has_person(keypoints).sum())
        text = (
            f"one person is found in {shown} of {len(read.frames)} frames, {count} of them in a row"
        )
        raise Unfit("no person" if not shown else "too short", f"{text}; {fewest} are needed")
    notes = [finding.text for finding in findings]
    if count < len(read.frames):
        left = np.setdiff1d(np.arange(len(read.frames)), np.arange(len(read.frames))[kept])
        notes.append(f"left out: {frames_in_words(left)} of {len(read.frames)}, in which one "
                     "person alone is not found")  # fmt: skip
    return Person(kept, keypoints[kept], filled[kept], [one[kept] for one in others], notes)
