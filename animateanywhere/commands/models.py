"""`aa models`: the detectors' networks, whether they are on this machine, and how to get them."""

from __future__ import annotations

from typing import NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding

from animateanywhere.core.errors import UsageError
from animateanywhere.core.paths import install_command
from animateanywhere.preprocessing import model_files
from animateanywhere.preprocessing.backends import NEEDED_WEIGHTS
from animateanywhere.preprocessing.weights import HUB, Source, find_local


class Row(NamedTuple):
    name: str  # of the backend, as in --pose-backend
    files: str  # or the repository
    ready: str  # place, "" if something is missing
    made: str  # what is wrong, and the command that helps


def models() -> list[Row]:
    """The networks of all pose and mask backends, the default's first."""
    rows = [_blazepose()]
    for backend, sources in NEEDED_WEIGHTS.items():
        flag = "--mask-backend" if backend == "grounded-sam" else "--pose-backend"
        rows += [_from_hub(backend, source, f"{flag} {backend}") for source in sources]
    return rows


def show(rows: list[Row]) -> None:
    """Print a paragraph for each to stderr."""
    console = Console(stderr=True, highlight=False)
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
    return Row("mediapipe", " ".join(faults), ready, made)


def _from_hub(backend: str, source: Source, flag: str) -> Row:
    try:
        found = find_local(source, HUB)
    except UsageError:
        found = None
    return Row(backend, source.repo, str(found or ""), f"downloaded by {flag}")
