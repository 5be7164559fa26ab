"""A prepared scene: found anew, or known again from its folder."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.markup import escape

from animateanywhere.core.findings import Finding, warn_findings
from animateanywhere.core.messages import quietly, say
from animateanywhere.media import video
from animateanywhere.media.pictures import settings_key
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.quality.clip import frame_ranges
from animateanywhere.preprocessing.reference_clip import choose
from animateanywhere.preprocessing.scene.parts import (
    Part,
    corrected_in,
    divide,
    findings_in,
    is_whole,
    prepare_parts,
    read_record,
    write_record,
)
from animateanywhere.preprocessing.scene.presence import find_presence
from animateanywhere.preprocessing.scene.scan import Facts, scan

VERSION = 4  # of what is done here: a change makes old folders stale
PEOPLE = "people.png"


class Scene(NamedTuple):
    """A scene, the parts of it that are swapped, and how many frames it has. poses, masks: how they
    were found. findings: of the scene, with those of its parts. stay: frames of parts that stay as
    they are all the same."""

    facts: Facts
    folder: Path
    parts: list[Part]
    total: int
    poses: str
    masks: str
    findings: list[Finding]
    stay: list[int]

    @property
    def passed_through(self) -> np.ndarray:
        """The frames that stay as they are, int (N,)."""
        swapped = np.zeros(self.total, dtype=bool)
        for part in self.parts:
            swapped[part.first : part.stop] = True
        swapped[self.stay] = False
        return np.flatnonzero(~swapped)

    @property
    def passed_ranges(self) -> list[list[int]]:
        """The same as pairs of a first and a last frame."""
        found: list[list[int]] = []
        for number in self.passed_through.tolist():
            if found and number == found[-1][1] + 1:
                found[-1][1] = number
            else:
                found.append([number, number])
        return found


def prepare_scene(facts: Facts, out: Path, number: int | None, backends: Backends) -> Scene:
    """Find the person of a scene, with masks and poses in `out`/person-N; reused if they were found
    with the same settings, and kept where they were corrected manually.

    number: of the person; None: the only one. Raises UsageError as `scan` and `find_presence` do.
    """
    path = facts.path
    chosen = choose(path, backends)
    files = [path, chosen.poses_file, chosen.masks_file]
    own = (VERSION, chosen.pose, chosen.mask, number, round(facts.fps, 6), *facts.part)
    key = settings_key(files, own)
    folder = out / f"person-{number or 1}"
    known = read_record(folder, key)
    if known is not None and all(is_whole(part, key) for part in known[0]):
        parts, record = known
        say(escape(f"{folder}: of the same scene and settings, reused"))
        findings = [Finding(*row) for row in record["findings"]]
        scene = Scene(
            facts, folder, parts, record["total"], chosen.pose, chosen.mask, findings,
            record["stay"],
        )  # fmt: skip
        _say_corrected(scene)
        _say_found(path.name, findings)
        return scene
    for note in filter(None, (chosen.pose_note, chosen.mask_note)):
        say(note)
    scanned = scan(facts, chosen, backends)

    def frame(index: int) -> np.ndarray:
        part = facts.part._replace(start=facts.part.start + index / facts.fps, frames=1)
        with quietly():
            return video.read(path, fps=facts.fps, part=part).frames[0]

    found = find_presence(facts, scanned, number, out / PEOPLE, frame, chosen.poses_file)
    parts = divide(facts, found, folder)
    anew = [part for part in parts if known is None or not is_whole(part, key)]
    prepare_parts(facts, found, anew, chosen, backends, key)
    findings = [*found.findings, *(one for part in parts for one in findings_in(part))]
    total = len(scanned.found)
    stay = found.stay.tolist()
    more = {"total": total, "findings": [list(one) for one in findings], "stay": stay}
    write_record(folder, key, parts, more)
    scene = Scene(facts, folder, parts, total, chosen.pose, chosen.mask, findings, stay)
    _say_corrected(scene)
    _say_found(path.name, findings)
    swapped = total - len(scene.passed_through)
    say(escape(f"{path.name}: {swapped} of {total} frames are swapped; look at "
               f"{parts[0].folder / 'report.html'}"))  # fmt: skip
    return scene


def _say_found(name: str, findings: list[Finding]) -> None:
    """Warnings, and notes of people whom nobody asked for."""
    warn_findings(name, findings)
    for one in findings:
        if (one.level, one.what) == ("note", "people"):
            say(escape(f"{name}: {one.text}"))


def _say_corrected(scene: Scene) -> None:
    for part in scene.parts:
        marks = corrected_in(part)
        kept = [f"{kind} {frame_ranges(indices)}" for kind, indices in marks.items() if indices]
        if kept:
            say(escape(f"{part.folder}: kept as corrected manually: {'; '.join(kept)}"))
