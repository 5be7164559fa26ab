"""Estimates of time and memory: what something will take, whether it fits, what it took."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import NamedTuple

from animateanywhere.core.device import free_memory, peak_memory
from animateanywhere.core.files import write_aside
from animateanywhere.core.findings import Finding
from animateanywhere.core.messages import say

FILE = "estimate.json"  # in a run's folder
FULL = 0.9  # of the free memory: above, a little more elsewhere ends the run
REMEDY = "take a smaller batch, fewer frames or a smaller base, or a machine with more"


class Estimate(NamedTuple):
    """What something takes; also what it took."""

    seconds: float
    memory: float  # GB at the peak
    parts: dict[str, float]  # seconds of each


def fits(memory: float, room: float | None = None) -> list[Finding]:
    """A finding where a peak of so many GB does not fit, or hardly. room: what is free."""
    room = free_memory() if room is None else room
    if memory <= FULL * room:
        return []
    text = f"{memory:.1f} GB are needed, {room:.1f} GB are free"
    if memory > room:
        return [Finding("unusable", "memory", f"{text}; {REMEDY}")]
    return [Finding("warning", "memory", f"{text}; close other programs")]


def too_much() -> Finding:
    return Finding("unusable", "memory", f"out of memory within the first steps; {REMEDY}")


def in_words(taken: Estimate) -> str:
    """Such as "3 min 20 s and 1.4 GB"."""
    return f"{clock(taken.seconds)} and {taken.memory:.{1 if taken.memory < 10 else 0}f} GB"


def clock(seconds: float) -> str:
    """Such as "3 min 20 s"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def keep(path: Path, told: Estimate, took: Estimate | None = None) -> None:
    """Write what was estimated as JSON, and in the end what it took."""
    record = {**told._asdict(), **({"took": took._asdict()} if took else {})}
    with write_aside(path) as aside:
        aside.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def compare(path: Path, told: Estimate | None, begun: float) -> None:
    """Say, and keep, what it took beside what was estimated."""
    if told is not None:
        took = Estimate(time.monotonic() - begun, peak_memory(), {})
        keep(path, told, took)
        say(f"took {in_words(took)}; estimated {in_words(told)}")
