"""Estimates of time and memory, whether the memory suffices, and comparison with real values."""

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
FULL = 0.9  # of the free memory; with more, another program that grows a little ends the run
NEAR = 0.87  # of a value: nearer ones are not worth a range
REMEDY = "take a smaller batch, fewer frames or a smaller base, or a machine with more"


class Estimate(NamedTuple):
    """The time and memory of a command, estimated or measured."""

    seconds: float
    memory: float  # GB at the peak
    parts: dict[str, float]  # seconds of each
    least: tuple[float, float] | None = None  # seconds and GB, where those above are at most


def with_part(estimate: Estimate, name: str, seconds: float) -> Estimate:
    """An estimate with one more part, whose seconds were measured on some of it."""
    least = estimate.least and (estimate.least[0] + seconds, estimate.least[1])
    parts = {**estimate.parts, name: seconds}
    return estimate._replace(seconds=estimate.seconds + seconds, parts=parts, least=least)


def fits(memory: float, room: float | None = None, least: float | None = None) -> list[Finding]:
    """A finding where a peak of so many GB does not fit, or hardly. room: what is free. least: the
    lower end, where `memory` is at most."""
    room = free_memory() if room is None else room
    least = memory if least is None else least
    if memory <= FULL * room:
        return []
    text = f"{_gigabytes(least, memory, 1)} are needed, {room:.1f} GB are free"
    if least > room:
        return [Finding("unusable", "memory", f"{text}; {REMEDY}")]
    return [Finding("warning", "memory", f"{text}; close other programs")]


def too_much() -> Finding:
    return Finding("unusable", "memory", f"out of memory within the first steps; {REMEDY}")


def in_words(taken: Estimate) -> str:
    """Such as "3 min 20 s and 1.4 GB", or "2 min 5 s to 3 min 20 s and 1.2 to 1.4 GB"."""
    seconds, memory = taken.least or (taken.seconds, taken.memory)
    words, first = clock(taken.seconds), clock(seconds)
    if seconds < NEAR * taken.seconds and first != words:
        words = f"{first} to {words}"
    return f"{words} and {_gigabytes(memory, taken.memory, 1 if taken.memory < 10 else 0)}"


def _gigabytes(least: float, most: float, digits: int) -> str:
    words = f"{most:.{digits}f} GB"
    return f"{least:.{digits}f} to {words}" if least < NEAR * most else words


def clock(seconds: float) -> str:
    """Such as "3 min 20 s"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def keep(path: Path, estimate: Estimate, took: Estimate | None = None) -> None:
    """Write an estimate as JSON; took: the measured values, at the end."""
    record = {**estimate._asdict(), **({"took": took._asdict()} if took else {})}
    with write_aside(path) as aside:
        aside.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def compare(path: Path, estimate: Estimate | None, begun: float) -> float:
    """Report the measured time and memory next to the estimate, and write both to `path`; returns
    the seconds."""
    took = Estimate(time.monotonic() - begun, peak_memory(), {})
    if estimate is not None:
        keep(path, estimate, took)
        say(f"took {in_words(took)}; estimated {in_words(estimate)}")
    return took.seconds
