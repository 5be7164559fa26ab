"""How far a command has come, by the lines of JSON that it writes (`core.reporter.Lines`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from animateanywhere.core.json_file import parse_json

MESSAGES = 200  # lines that are kept
POINTS = 240  # of a curve; beyond, every other one is left out
ONCE = 2**22  # bytes that are read at once


@dataclass
class Progress:
    """The state of a command. `stages` are those that trained something, with their losses."""

    stage: str = ""
    step: int = 0
    total: int = 0
    eta: float | None = None  # seconds left of this stage
    messages: list[tuple[str, str]] = field(default_factory=list)  # level and text
    pictures: list[str] = field(default_factory=list)
    losses: dict[str, list[tuple[int, float]]] = field(default_factory=dict)  # by stage
    error: str = ""
    code: int | None = None
    read: int = 0  # bytes of the file
    rest: bytes = b""  # a line that is not whole yet
    every: dict[str, int] = field(default_factory=dict)  # events to a point of a curve
    seen: dict[str, int] = field(default_factory=dict)


def follow(progress: Progress, file: Path) -> bool:
    """Read what was written since; returns whether there was something new."""
    try:
        with file.open("rb") as opened:
            opened.seek(progress.read)
            new = opened.read(ONCE)
    except OSError:
        return False
    progress.read += len(new)
    *lines, progress.rest = (progress.rest + new).split(b"\n")
    for line in lines:
        try:
            event = parse_json(line.decode())
        except ValueError:  # what a library printed
            continue
        if isinstance(event, dict):
            _take(progress, event)
    return bool(lines)


def _take(progress: Progress, event: dict[str, Any]) -> None:
    kind = event.get("kind")
    if kind == "message":
        progress.messages.append((str(event.get("level")), str(event.get("text"))))
        del progress.messages[:-MESSAGES]
    elif kind == "picture":
        progress.pictures.append(str(event.get("path")))
    elif kind == "error":
        progress.error = str(event.get("text"))
    elif kind == "begin":  # of a command, perhaps again
        progress.error, progress.code = "", None
    elif kind == "exit":
        progress.code = _whole(event.get("code"), None)
    elif kind == "progress":
        progress.stage, eta = str(event.get("stage", "")), event.get("eta")
        progress.eta = eta if isinstance(eta, int | float) else None
        progress.step, progress.total = (_whole(event.get(key), 0) for key in ("step", "total"))
        if isinstance(loss := event.get("loss"), float):
            _add(progress, loss)


def _whole(value: Any, instead: Any) -> Any:
    """A whole number of an event, which a library may have printed that looks alike."""
    return value if type(value) is int else instead


def _add(progress: Progress, loss: float) -> None:
    """Add a loss to the curve of its stage, which stays short."""
    stage = progress.stage
    curve, every = progress.losses.setdefault(stage, []), progress.every.setdefault(stage, 1)
    number = progress.seen[stage] = progress.seen.get(stage, -1) + 1
    if number % every == 0:
        curve.append((progress.step, loss))
    if len(curve) > POINTS:
        del curve[1::2]
        progress.every[stage] = 2 * every
