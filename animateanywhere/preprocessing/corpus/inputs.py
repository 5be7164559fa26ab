"""The sources of a corpus: files, folders and manifests, in a fixed order."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from animateanywhere.core.errors import UsageError
from animateanywhere.core.json_file import parse_json
from animateanywhere.media.pictures import PICTURE_SUFFIXES, natural
from animateanywhere.preprocessing.corpus.source import Source

MANIFESTS = {".csv", ".jsonl"}
VIDEO_SUFFIXES = set(
    """.mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .wmv .flv .ts .m2ts .mts .3gp .ogv .apng""".split()
)
SIDECARS = (".masks.mp4", ".masks.npz", ".poses.json", ".txt")  # of the clip beside them
REFERENCE = re.compile(r"\.reference\d?\.png$")  # a picture of the person of that clip
COLUMNS = ("path", "caption", "license", "start", "end", "reference")
MOST_ERRORS = 5  # lines of a manifest that are named


class Inputs(NamedTuple):
    """Sources in order, the names of files that are not read, and what else was left out."""

    sources: list[Source]
    others: list[str]
    notes: list[str]


def read_inputs(paths: Iterable[Path], license: str, out: Path) -> Inputs:
    """The sources of files, folders (with those below them) and manifests (.csv, .jsonl).

    A file is taken once, also if several inputs contain it. license: of sources for which a
    manifest names none. out: the corpus, which is not read.

    Raises UsageError for a path that does not exist, and for a manifest with wrong lines.
    """
    found: list[Source] = []
    others: list[str] = []
    notes: list[str] = []
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path}: no such file or folder")
        if path.is_dir():
            files, more, closed = _files(path, out)
            found += [_with_captions(path, file, license) for file in files]
            others += more
            notes += [f"{error.filename}: not read ({error.strerror})" for error in closed]
        elif path.suffix.lower() in MANIFESTS:
            sources, unknown = read_manifest(path, license)
            found += sources
            if unknown:
                notes.append(f"{path.name}: columns that are not read: {', '.join(unknown)}")
        else:
            found.append(_with_captions(path.parent, path, license))
    kept: dict[tuple[str, float, float | None], Source] = {}
    for source in found:
        assert source.path is not None
        real = os.path.realpath(source.path)  # `resolve` fails at links that lead to themselves
        kept.setdefault((real, source.start, source.end), source)
    if len(kept) < len(found):
        notes.append(f"{len(found) - len(kept)} files are given more than once, and taken once")
    return Inputs(_numbered(list(kept.values())), others, notes)


def read_manifest(path: Path, license: str = "") -> tuple[list[Source], list[str]]:
    """The sources of a manifest, and its columns that are not read.

    A CSV file with a head, or JSON objects, one a line. Columns: path (relative to the manifest),
    and optionally caption (in JSON also a list), license, start and end in seconds, and reference
    (a picture of the person, in JSON also a list).

    Raises UsageError with the wrong lines.
    """
    sources, errors, unknown = [], [], dict[str, None]()
    for number, row in _rows(path):
        if isinstance(row, str):
            errors.append(f"line {number}: {row}")
            continue
        unknown.update(dict.fromkeys(name for name in row if name not in COLUMNS))
        try:
            sources.append(_source(path, number, row, license))
        except ValueError as error:
            errors.append(f"line {number}: {error}")
    if errors:
        more = f"; and {len(errors) - MOST_ERRORS} more" if len(errors) > MOST_ERRORS else ""
        raise UsageError(f"{path}: {'; '.join(errors[:MOST_ERRORS])}{more}")
    if not sources:
        raise UsageError(f"{path}: names no file; it needs a line with a path for each clip")
    return sources, list(unknown)


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    """The rows of a manifest by number of the line; a text says what is wrong with one."""
    if not path.is_file():  # a pipe would be waited for
        raise UsageError(f"{path}: a pipe or device; save it as a file first")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UsageError(f"{path}: line {line} is not UTF-8 text; save it as UTF-8") from None
    if path.suffix.lower() == ".csv":
        yield from _csv_rows(path, text)
        return
    for count, words in enumerate(text.split("\n"), start=1):
        if words.strip():
            try:
                row = parse_json(words)
            except ValueError as error:
                yield count, f"not JSON ({error})"
                continue
            yield count, row if isinstance(row, dict) else "not a JSON object"


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    reader = csv.reader(text.splitlines(keepends=True), strict=True)
    head: list[str] = []
    try:
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if not head:
                head = [name.strip().lower() for name in row]
                if "path" not in head:
                    raise UsageError(
                        f"{path}: line {reader.line_num}: no column path; the first line names the "
                        f"columns, of {', '.join(COLUMNS)}"
                    )
                if len({*head}) < len(head):
                    twice = Counter(head).most_common(1)[0][0]
                    raise UsageError(f"{path}: line {reader.line_num}: two columns {twice!r}")
            elif len(row) != len(head):
                yield reader.line_num, f"{len(row)} columns, where the head names {len(head)}"
            else:
                yield reader.line_num, dict(zip(head, row, strict=True))
    except csv.Error as error:
        yield reader.line_num, f"not CSV ({error})"


def _source(manifest: Path, number: int, row: Mapping[str, Any], license: str) -> Source:
    """Raises ValueError."""
    name = row.get("path")
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise ValueError("no path")
    start, end = _seconds(row, "start") or 0.0, _seconds(row, "end")
    if end is not None and end <= start:
        raise ValueError(f"end {end:g} is not after start {start:g}")
    named = row.get("license")
    if named is not None and not isinstance(named, str):
        raise ValueError(f"license must be text, not {named!r}")
    captions = _texts(row, "caption")
    file = manifest.parent / name.strip()
    if file.is_dir():
        raise ValueError(
            f"{name.strip()} is a folder; name its files, or give it beside the manifest"
        )
    return Source(
        name=Path(os.path.normpath(name.strip())).as_posix(),
        path=file,
        captions=captions or _captions_beside(file),
        license=(named or "").strip() or license,
        start=start,
        end=end,
        references=tuple(manifest.parent / one for one in _texts(row, "reference"))
        or references_beside(file),
        line=f"{manifest.name}, line {number}",
    )


def _seconds(row: Mapping[str, Any], name: str) -> float | None:
    value = row.get(name)
    if value is None or value == "":
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = -1.0
    if not 0 <= seconds < 1e7 or isinstance(value, bool):
        raise ValueError(f"{name} must be seconds from 0, not {value!r}")
    return seconds


def _texts(row: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A text, or a list of texts, without line breaks; empty ones are left out."""
    value = row.get(name)
    values = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(one, str) and "\0" not in one for one in values):
        raise ValueError(f"{name} must be text, not {value!r}")
    return tuple(text for one in values if (text := " ".join(one.split())))


def _files(folder: Path, out: Path) -> tuple[list[Path], list[str], list[OSError]]:
    """The videos and pictures in a folder and below it, in natural order, the names of other files,
    and what kept folders from being read. Hidden files and folders, masks beside clips and the
    corpus itself are left out."""
    found: list[Path] = []
    others: list[str] = []
    closed: list[OSError] = []
    seen = {out.resolve(), folder.resolve()}
    for place, below, names in os.walk(folder, onerror=closed.append, followlinks=True):
        here = Path(place)
        # Of several names of a folder the first counts
        real = {(here / name).resolve(): name for name in sorted(below, reverse=True)
                if name[0] != "." and not name.endswith(".masks")}  # fmt: skip
        below[:] = [name for path, name in real.items() if path not in seen]
        seen.update(real)  # a link may lead back to a folder above it
        for name in names:
            suffix = Path(name).suffix.lower()
            if name[0] == "." or name.lower().endswith(SIDECARS) or REFERENCE.search(name):
                continue
            if suffix in VIDEO_SUFFIXES | PICTURE_SUFFIXES:
                found.append(here / name)
            else:
                others.append((here / name).relative_to(folder).as_posix())
    parts = {file: file.relative_to(folder).parts for file in found}
    in_order = sorted(found, key=lambda file: [natural(Path(part)) for part in parts[file]])
    return in_order, sorted(others), closed


def _with_captions(folder: Path, file: Path, license: str) -> Source:
    name = file.relative_to(folder).as_posix()
    return Source(name, file, _captions_beside(file), license, references=references_beside(file))


def references_beside(file: Path) -> tuple[Path, ...]:
    """Pictures of the person of a clip beside it: NAME.reference.png, NAME.reference0.png to 9."""
    names = [f"{file.stem}.reference{number}.png" for number in ("", *range(10))]
    return tuple(path for name in names if (path := file.with_name(name)).is_file())


def _captions_beside(file: Path) -> tuple[str, ...]:
    """The captions of NAME.txt beside a file, one a line; () if there is none."""
    try:
        beside = file.with_suffix(".txt")
        if not beside.is_file():  # or a pipe, which would be waited for
            return ()
        text = beside.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, ValueError):
        return ()
    return tuple(words for line in text.splitlines() if (words := " ".join(line.split())))


def _numbered(sources: list[Source]) -> list[Source]:
    """Sources of one name, of several inputs or parts of one file, with their numbers."""
    count: Counter[str] = Counter()
    out = []
    for source in sources:
        count[source.name] += 1
        out.append(replace(source, number=count[source.name]))
    return out
