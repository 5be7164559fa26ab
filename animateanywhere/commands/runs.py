"""`aa runs`: what the folder of runs contains, in which state, and how much of the disk it takes.

A run is a folder with the program's mark (`core.run_folder`); a result is a video or picture of
`aa generate` or `aa swap` with its sidecar. Nothing is loaded or changed.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from animateanywhere.commands.results import files_of_result, result_of
from animateanywhere.commands.run_state import Run, in_words, read_result, read_run
from animateanywhere.core.disk_use import disk_use, size_in_words
from animateanywhere.core.errors import UsageError
from animateanywhere.core.paths import RUNS
from animateanywhere.core.run_folder import MARK, VIDEOS, read_mark

# Commands whose folders may contain results of their own
HOLDS_RESULTS = {"personalize", "swap", VIDEOS}


@dataclass(frozen=True)
class Listing:
    """All runs of a folder."""

    folder: Path
    runs: list[Run]
    others: list[tuple[str, int]]  # name and bytes of what is neither a run nor a result
    bytes: int  # of all; files with several names count once


def list_runs(folder: Path = RUNS) -> Listing:
    """All runs and results of a folder, the newest first. Raises UsageError if it is no folder."""
    if not folder.exists():
        return Listing(folder, [], [], 0)
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file: give the folder of the runs")
    found = [read_run(path, folder, whole=False) for path in _marked(folder)]
    results = [read_result(path, command, folder) for path, command in _results(folder)]
    inside = {run.path for run in found}
    known = inside | {file for result in results for file in files_of_result(result.path)}
    others = [
        (entry.name, _size_without(entry, known)) for entry in sorted(folder.iterdir())
        if entry not in inside
    ]  # fmt: skip
    found += results
    found.sort(key=lambda run: run.changed, reverse=True)
    return Listing(folder, found, [other for other in others if other[1]], disk_use(folder)[0])


def find_run(name: str, folder: Path = RUNS) -> Run:
    """A run or result by its name in `folder`, or by its path.

    Raises UsageError if there is nothing, or if it is not of this program.
    """
    for path in (folder / name, Path(name)):
        if not os.path.lexists(path):
            continue
        if (path / MARK).is_file():
            return read_run(path, folder)
        if (result := result_of(path)) is not None:
            return read_result(*result, folder)
        raise UsageError(
            f"{path} is not a run: it has no mark of aa ({MARK}), or for a video no settings "
            "beside it"
        )
    raise UsageError(f"no run {name} in {folder}: `aa runs list` shows those that are there")


def _marked(folder: Path) -> Iterator[Path]:
    """The run folders below a folder; those inside of others belong to them."""
    for place, folders, files in os.walk(folder):
        folders.sort()
        if MARK in files and Path(place) != folder:
            folders.clear()
            yield Path(place)


def _results(folder: Path) -> Iterator[tuple[Path, str]]:
    for place, folders, files in os.walk(folder):
        mark = read_mark(Path(place)) if MARK in files else None
        if mark is not None:
            folders.clear()
            if mark.command not in HOLDS_RESULTS:
                continue
        for name in sorted(files):
            result = result_of(Path(place) / name) if name.endswith(".json") else None
            if result is not None:
                yield result


def _size_without(path: Path, known: set[Path]) -> int:
    """Bytes of what is in a folder, or a file, but neither a run nor a result."""
    if path in known:
        return 0
    if not path.is_dir() or path.is_symlink():
        return disk_use(path)[0]
    return sum(_size_without(entry, known) for entry in path.iterdir())


def age_in_words(seconds: float) -> str:
    """Such as "3 h"; of the last change."""
    for unit, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{max(seconds, 0):.0f} s"


def show(listing: Listing) -> None:
    """Print a table to stderr."""
    console = Console(stderr=True, highlight=False, emoji=False)
    if not listing.runs:
        console.print(escape(f"no runs in {listing.folder}"))
    else:
        table = Table(box=None, pad_edge=False)
        table.add_column("run", overflow="fold", no_wrap=True)
        for name in ("command", "state"):
            table.add_column(name)
        for name in ("changed", "size"):
            table.add_column(name, justify="right", no_wrap=True)
        for run in listing.runs:
            age = f"{age_in_words(time.time() - run.changed)} ago"
            cells = run.name, run.kind, in_words(run), age, size_in_words(run.bytes)
            table.add_row(*map(escape, cells))
        console.print(table)
    print_problems(console, [text for run in listing.runs for text in run.problems])
    if listing.bytes:
        console.print(
            escape(f"{size_in_words(listing.bytes)} in {listing.folder}{_other(listing)}")
        )


def _other(listing: Listing) -> str:
    if not listing.others:
        return ""
    rest = sum(size for _, size in listing.others)
    names = ", ".join(name for name, _ in sorted(listing.others, key=lambda one: -one[1])[:4])
    more = ", ..." * (len(listing.others) > 4)
    return f", of which {size_in_words(rest)} are neither runs nor results ({names}{more})"


def print_problems(console: Console, problems: Iterable[str]) -> None:
    for problem in problems:
        console.print(f"[yellow]warning:[/yellow] {escape(problem)}", soft_wrap=True)


def to_json(listing: Listing) -> str:
    """A listing as a JSON object."""
    rows = [
        asdict(run) | {
            "path": str(run.path), "changed": datetime.fromtimestamp(run.changed, UTC).isoformat()
        }
        for run in listing.runs
    ]  # fmt: skip
    others = [{"name": name, "bytes": size} for name, size in listing.others]
    about = {"folder": str(listing.folder), "bytes": listing.bytes, "runs": rows, "others": others}
    return json.dumps(about, indent=1)
