"""This machine: its memory, its speed, and words for what something takes on it."""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch

from animateanywhere.core.console import peak_memory, say
from animateanywhere.core.files import write_aside
from animateanywhere.core.findings import Finding

FILE = "prediction.json"  # in a run's folder
FULL = 0.9  # of the free memory: above, a little more elsewhere ends the run
REMEDY = "take a smaller batch, fewer frames or a smaller base, or a machine with more"


class Prediction(NamedTuple):
    """What something takes; also what it took."""

    seconds: float
    memory: float  # GB at the peak
    parts: dict[str, float]  # seconds of each


def machine() -> list[Any]:
    """What time and memory depend on beside base and recipe."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return [platform.processor(), os.cpu_count(), torch.get_num_threads(), gpu, torch.__version__]


def memory_now() -> float:
    """GB that this process holds, of the GPU where one is in use."""
    if torch.cuda.is_initialized():
        return torch.cuda.memory_allocated() / 1e9
    return psutil.Process().memory_info().rss / 1e9


def free_memory() -> float:
    """GB that this process may hold: what it has, and what nobody has."""
    if torch.cuda.is_initialized():
        unused = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return (torch.cuda.mem_get_info()[0] + unused) / 1e9 + memory_now()
    free = psutil.virtual_memory().available
    limit, used = (Path("/sys/fs/cgroup") / f"memory.{name}" for name in ("max", "current"))
    if limit.is_file() and limit.read_text().strip().isdigit():  # of a container
        free = min(free, int(limit.read_text()) - int(used.read_text()))
    return free / 1e9 + memory_now()


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


def in_words(taken: Prediction) -> str:
    """Such as "3 min 20 s and 1.4 GB"."""
    return f"{clock(taken.seconds)} and {taken.memory:.{1 if taken.memory < 10 else 0}f} GB"


def clock(seconds: float) -> str:
    """Such as "3 min 20 s"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def keep(path: Path, told: Prediction, took: Prediction | None = None) -> None:
    """Write what was foretold as JSON, and in the end what it took."""
    record = {**told._asdict(), **({"took": took._asdict()} if took else {})}
    with write_aside(path) as aside:
        aside.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def compare(path: Path, told: Prediction | None, begun: float) -> None:
    """Say, and keep, what it took beside what was foretold."""
    if told is not None:
        took = Prediction(time.monotonic() - begun, peak_memory(), {})
        keep(path, told, took)
        say(f"took {in_words(took)}; foretold {in_words(told)}")
