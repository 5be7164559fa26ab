"""Rendered corpora: clips with keypoints and captions, stored as memory-mapped arrays with a
checksum of each frame."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.lib.format import open_memmap
from rich.markup import escape

from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import write_aside
from animateanywhere.core.frame_size import Size
from animateanywhere.core.messages import progress, warn
from animateanywhere.datasets.arrays import row_checks
from animateanywhere.datasets.checked_rows import CheckedRows, checks_path
from animateanywhere.datasets.in_processes import in_processes

AT_ONCE = 16  # frames that a process is asked for at once
REGION_CELL = 8  # pixels of a side of a cell of regions
REGIONS = ("face", "object")


class ClipRow(NamedTuple):
    """A clip of a corpus."""

    frames: np.ndarray  # (F, H, W, 3) uint8
    keypoints: np.ndarray  # (F, 18, 3) float32
    captions: list[str]
    regions: np.ndarray | None = None  # see `Corpus.regions`


@dataclass(frozen=True)
class Corpus:
    """N clips of F frames each, on disk."""

    folder: Path
    frames: CheckedRows  # (N, F, H, W, 3) uint8
    keypoints: CheckedRows  # (N, F, 18, 3) float32
    captions: list[list[str]]  # several for each clip
    # (N, F, h, w, 2) uint8: coverage of each cell by a face, and by an object; None: not known
    regions: CheckedRows | None = None


def open_corpus(
    folder: Path,
    make: Callable[[range], Iterable[ClipRow]],
    count: int,
    frames: int,
    size: Size,
    regions: bool = False,
) -> Corpus:
    """Open the corpus in `folder`, and create those of its `count` clips that are missing.

    `make` yields the clips of some numbers, in several processes if there are many (see
    `in_processes`); an interrupted run resumes. Damaged files are created again, with a warning.
    regions: keep the clips' regions as well. Raises UsageError if `make` yields too few, or if the
    folder's arrays have another shape.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shapes = {
        "frames": ((size.height, size.width, 3), np.uint8),
        "keypoints": ((18, 3), np.float32),
    }
    if regions:
        grid = (-(-size.height // REGION_CELL), -(-size.width // REGION_CELL))
        shapes["regions"] = (*grid, len(REGIONS)), np.uint8
    arrays, missing = {}, False
    for name, (shape, dtype) in shapes.items():
        path = folder / f"{name}.npy"
        arrays[path], new = _open_array(path, (count, frames, *shape), dtype)
        missing = missing or new
    if missing:
        (folder / "captions.jsonl").unlink(missing_ok=True)
    captions = _read_captions(folder / "captions.jsonl")
    if len(captions) < count:
        _make_missing(folder, make, count, arrays, captions)
    if len(captions) < count:
        raise UsageError(f"the corpus for {folder} has {len(captions)} clips; {count} are needed")
    pixels, points, *cells = (CheckedRows(path, array) for path, array in arrays.items())
    return Corpus(folder, pixels, points, captions, *cells)


def _make_missing(
    folder: Path,
    make: Callable[[range], Iterable[ClipRow]],
    count: int,
    arrays: dict[Path, np.memmap],
    captions: list[list[str]],
) -> None:
    """Write the clips of which there are no captions yet; these are appended to `captions`.
    arrays: by their files, in the order of a clip's parts."""
    start = len(captions)
    checks = [_open_checks(path, array, start) for path, array in arrays.items()]
    each = max(AT_ONCE // next(iter(arrays.values())).shape[1], 1)
    ends = [*range(start - start % each + each, count, each), count]
    groups = [range(*pair) for pair in pairwise([start, *ends])]
    with (
        (folder / "captions.jsonl").open("a", encoding="utf-8") as file,
        progress(f"corpus {folder.name}", total=count, done=start) as bar,
        in_processes(make, groups) as rows,
    ):
        for index, row in enumerate(rows, start):
            parts = (row.frames, row.keypoints, row.regions)
            for array, sums, part in zip(arrays.values(), checks, parts, strict=False):
                array[index] = part
                if sums is not None:
                    sums[index] = row_checks(array[index])
            file.write(json.dumps(row.captions) + "\n")
            captions.append(row.captions)
            if index % 64 == 0:
                file.flush()
            bar.advance(1)
    for written in (*arrays.values(), *checks):
        if written is not None:
            written.flush()


def _open_checks(path: Path, array: np.memmap, start: int) -> np.memmap | None:
    """The checksums of an array, to write those of clips from `start` on; None if those before are
    not known."""
    place, shape = checks_path(path), array.shape[:2]
    known = _load(place, "r+") if start else None
    if known is not None and known.shape == shape:
        return known
    place.unlink(missing_ok=True)
    return None if start else _open_array(place, shape, np.uint32)[0]


def cached_array(
    path: Path, count: int, make: Callable[[int, int], np.ndarray], label: str, rows: int
) -> CheckedRows:
    """All rows of `make(start, stop)` for 0..count as float16, memory-mapped from `path`.

    It is computed once, `rows` rows at a time, and again, with a warning, if the file is damaged.
    label: of the progress bar.
    """
    known = _load(path, "r")
    if known is None or len(known) != count:
        first = make(0, min(rows, count))
        with write_aside(path) as aside, progress(label, total=count) as bar:
            shape = (count, *first.shape[1:])
            array, checks = _create_array(aside, shape, np.float16), np.empty(shape[:2], np.uint32)
            for start in range(0, count, rows):
                stop = min(start + rows, count)
                array[start:stop] = make(start, stop) if start else first
                checks[start:stop] = [row_checks(row) for row in array[start:stop]]
                bar.advance(stop - start)
            array.flush()
            with write_aside(checks_path(path)) as other:  # first: the array's own are complete
                np.save(other, checks)
        known = np.load(path, mmap_mode="r")
    assert known is not None
    return CheckedRows(path, known)


def _load(path: Path, mode: Literal["r", "r+"]) -> np.memmap | None:
    """A memory-mapped array; None if it is missing or, with a warning, damaged."""
    if not path.is_file():
        return None
    try:
        array: np.memmap = np.load(path, mmap_mode="r")  # "r+" would fill up a cut file by zeros
    except (OSError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split())
        warn(escape(f"{path}: damaged ({reason}); it is made again"))
        return None
    return array if mode == "r" else np.load(path, mmap_mode=mode)


def _read_captions(path: Path) -> list[list[str]]:
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    captions: list[list[str]] = []
    for line in lines:
        try:
            texts = json.loads(line) if line.endswith("\n") else None
        except ValueError:
            texts = None
        if not isinstance(texts, list):  # a crash cut it, or it is damaged: go on from here
            path.write_text("".join(lines[: len(captions)]), encoding="utf-8")
            break
        captions.append(texts)
    return captions


def _open_array(path: Path, shape: tuple[int, ...], dtype: type) -> tuple[np.memmap, bool]:
    """An array, and whether it is new, of zeros, because it was missing or damaged."""
    array = _load(path, "r+")
    if array is None:
        with write_aside(path) as aside:
            _create_array(aside, shape, dtype)
        return np.load(path, mmap_mode="r+"), True
    if array.shape == shape:
        return array, False
    raise UsageError(
        f"{path} was written for another recipe (its shape is {array.shape}, not {shape}); "
        f"remove {path.parent} or give another --out"
    )


def _create_array(path: Path, shape: tuple[int, ...], dtype: type) -> np.memmap:
    """A new array of zeros, memory-mapped, whose place on the disk is taken at once.

    Otherwise the first write to a page for which a full disk has no place kills the process
    (SIGBUS). Raises OSError if the disk is full.
    """
    array: np.memmap = open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    if hasattr(os, "posix_fallocate"):  # not on macOS
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array
