"""A subject folder of `aa prepare`, with its corrections, as the input of `aa personalize`."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from rich.markup import escape

from animateanywhere.backbones.base import Base
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import folder_aside
from animateanywhere.core.findings import read_findings, warn_findings
from animateanywhere.core.messages import say
from animateanywhere.core.run_folder import owned
from animateanywhere.datasets import corrections
from animateanywhere.datasets.subject import (
    FILES,
    Subject,
    is_prepared,
    read_settings,
    read_subject,
)
from animateanywhere.preprocessing.quality.clip import frame_ranges


def digest(subject: Subject) -> str:
    """A digest of frames, masks, poses and captions, corrections included."""
    records = corrections.frame_digests(subject)
    return hashlib.sha256(repr(records).encode()).hexdigest()


def take_over(subject: Subject, out: Path, copied: str | None, base: Base) -> Subject:
    """Copy a subject folder to `out`, unless it is that folder; prints what was corrected in it.

    copied: the digest of what was copied to `out` before, None for nothing. Raises UsageError for
    frames of another size or rate than the base learns, and where `out` has corrections of its own.
    """
    folder = subject.folder
    _require_fitting(subject, base)
    found = corrections.find_corrections(folder)
    marks = corrections.corrected_frames(found, found.digests)
    kept = [f"{kind} {frame_ranges(indices)}" for kind, indices in marks.items() if indices]
    words = f"corrected manually: {'; '.join(kept)}" if kept else "without manual corrections"
    say(escape(f"{folder}: {len(subject.frames)} frames as prepared, {words}"))
    warn_findings(folder.name, read_findings(folder))
    if folder.resolve() == out.resolve():
        return subject
    with owned(out, "prepare", is_prepared):
        if is_prepared(out) and _lost(out, subject, copied):
            raise UsageError(
                f"{out} has manual corrections that {folder} lacks: give another --out, or delete "
                f"{out}"
            )
        with folder_aside(out, FILES) as aside:
            for name in sorted(FILES):
                if (folder / name).is_dir():
                    shutil.copytree(folder / name, aside / name)
                elif (folder / name).is_file():
                    shutil.copyfile(folder / name, aside / name)
    return read_subject(out)


def _require_fitting(subject: Subject, base: Base) -> None:
    name, fps = base.config["name"], float(base.config["fps"])
    if subject.size != base.frame:
        raise UsageError(
            f"{subject.folder}: frames of {subject.size} pixels, where base {name} is to learn "
            f"{base.frame}: run `aa prepare` with --size {base.frame}"
        )
    if subject.fps != fps:
        raise UsageError(
            f"{subject.folder}: {subject.fps:g} frames per second, where base {name} has {fps:g}: "
            "give the video itself"
        )


def _lost(out: Path, subject: Subject, copied: str | None) -> bool:
    """Whether corrections made in `out` itself would be lost."""
    if not any(corrections.find_corrections(out).values.values()):
        return False
    return digest(read_subject(out)) not in (digest(subject), copied)


def require_no_settings(folder: Path, given: dict[str, object]) -> None:
    """Raise UsageError for settings of the preparation that differ from those of a subject folder.

    given: the settings by option; None for those that were not given.
    """
    about = read_settings(folder)
    known = {"--class-word": about.get("class_word"), "--scene": about.get("scene")}
    for option, value in given.items():
        if value is not None and value != known.get(option):
            raise UsageError(
                f"{folder} is prepared already, and {option} belongs to the preparation: run "
                f"`aa prepare` with it again, which keeps corrections, or leave it out"
            )
