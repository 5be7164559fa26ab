"""`aa check PICTURE --cast`: what a picture shows of its person, and what would be made up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from animateanywhere.commands.check_report import FOLDER, Report, about, report_of
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import require_no_input, require_writable, write_aside
from animateanywhere.core.findings import Finding
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.character import Character
from animateanywhere.preprocessing.ground import on_ground
from animateanywhere.preprocessing.portrait import PERSON, read_pictures, unlike
from animateanywhere.preprocessing.who import Who

LEAST = 128  # pixels of what a base for `aa cast` or `aa swap` sees, at least
PEOPLE, CUT_OUT = "people.png", "cut-out.png"


def check_cast(
    pictures: Sequence[Path], *, person: int | None = None, out: Path | None = None,
    backends: Backends | None = None,
) -> Report:  # fmt: skip
    """Check pictures of one person; person: the number of the one in pictures of several.

    The person cut out is written to `out`, by default runs/check/<picture>. Faults of the files are
    findings; other wrong use raises UsageError.
    """
    out = out or FOLDER / pictures[0].stem
    require_writable(out)
    who = Who(pictures, person, out / PEOPLE, PERSON)
    require_no_input([*who.numbered().values(), out / CUT_OUT], pictures)
    out.mkdir(parents=True, exist_ok=True)
    who.clear()
    backends = backends or Backends()
    found: dict[str, list[Finding]] = {path.name: [] for path in pictures}
    known: list[Character] = []
    for path in pictures:
        try:
            (one,) = read_pictures([path], who, backends, LEAST)
        except UsageError as error:
            found[path.name].append(about(path, error))
            continue
        found[path.name] += one.findings
        if known:
            found[path.name] += unlike(known[0], one)
        known.append(one)
    who.require_used()
    files = who.written()
    if known:
        files["cut-out"] = write_cut_outs(out / CUT_OUT, known)
    return report_of(found, {}, files)


def write_cut_outs(path: Path, known: Sequence[Character]) -> Path:
    """Write a PNG of persons cut out, on white, side by side; returns its path."""
    cut = np.concatenate([on_ground(one.pixels, one.mask) for one in known], axis=1)
    with write_aside(path) as aside:
        Image.fromarray(cut).save(aside, format="PNG")
    return path
