"""`aa models`: networks of detectors and measures, whether they are here, and how to get them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding

from animateanywhere.core.errors import UsageError
from animateanywhere.core.paths import install_command
from animateanywhere.preprocessing import model_files
from animateanywhere.preprocessing.backends import NEEDED_WEIGHTS
from animateanywhere.preprocessing.weights import CLIP, DINO, HUB, VIDEOMAE, Source, find_local
from animateanywhere.preprocessing.weights import fetch as fetch_source

DEFAULT = "mediapipe"
MEASURES = (CLIP, DINO, VIDEOMAE)  # of `aa evaluate`
SOURCES: dict[str, tuple[Source, ...]] = {
    **NEEDED_WEIGHTS, **{source.name: (source,) for source in MEASURES},
}  # fmt: skip


class Row(NamedTuple):
    name: str  # of the backend, as in --pose-backend
    files: str  # or the repository
    ready: str  # place, "" if something is missing
    made: str  # what is wrong, and the command that helps


def models() -> list[Row]:
    """The networks of all pose and mask backends and of `aa evaluate`, the default's first."""
    rows = [_blazepose()]
    for name, sources in SOURCES.items():
        rows += [_from_hub(name, source) for source in sources]
    return rows


def fetch(names: Sequence[str] = ()) -> list[Path]:
    """Download networks by their names in `models`, the default backend's without a name, unless
    they are there; returns their folders.

    Raises UsageError for an unknown name, and if something cannot be downloaded; Failure as
    `model_files.fetch` does.
    """
    known = [DEFAULT, *SOURCES]
    if wrong := [name for name in names if name not in known]:
        raise UsageError(f"no network {wrong[0]}: choose from {', '.join(known)}")
    folders = []
    for name in names or [DEFAULT]:
        if name == DEFAULT:
            folders.append(model_files.fetch())
        folders += [fetch_source(source, HUB) for source in SOURCES.get(name, ())]
    return folders


def show(rows: list[Row]) -> None:
    """Print a paragraph for each to stderr."""
    console = Console(stderr=True, highlight=False, emoji=False)
    for row in rows:
        console.print(f"[bold]{escape(row.name)}[/]: {escape(row.files)}")
        about = escape(f"{'ready: ' * bool(row.ready)}{row.ready or row.made}")
        console.print(Padding(about, (0, 0, 1, 2), expand=False))


def _blazepose() -> Row:
    faults = {file.name: model_files.fault(file) for file in model_files.FILES}
    wrong = [f"{name} {what}" for name, what in faults.items() if what]
    ready = "" if wrong else str(model_files.folder())
    made = f"{', '.join(wrong)}: aa models fetch ({model_files.WHEEL_MB} MB)"
    if not model_files.litert_is_installed():
        ready, made = "", f"ai-edge-litert is not installed: {install_command('offline')}"
    return Row(DEFAULT, " ".join(faults), ready, made)


def _from_hub(name: str, source: Source) -> Row:
    try:
        found = find_local(source, HUB)
    except UsageError:
        found = None
    return Row(name, source.repo, str(found or ""), f"aa models fetch {name}")
