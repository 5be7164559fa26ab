"""How long things took, and how much of the processor others had meanwhile."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from animateanywhere.core.device import best_device, synchronize
from animateanywhere.methods.animate_anywhere.cost.measure import STEPS


def scheduled() -> tuple[float, float]:
    """Seconds that the threads of this process have run, and waited for a processor, so far; zeros
    where the system does not say. Linux does."""
    lines = [path.read_text().split() for path in Path("/proc/self/task").glob("*/schedstat")]
    return sum(int(ran) for ran, *_ in lines) / 1e9, sum(int(line[1]) for line in lines) / 1e9


def busy(before: tuple[float, float], after: tuple[float, float]) -> float:
    """Share of the processor that other programs took from this one between two readings of
    `scheduled`: alone it would have taken 1 - share of the time."""
    ran, waited = (max(b - a, 0.0) for a, b in zip(before, after, strict=True))
    return waited / max(ran + waited, 1e-9)


def event_times(folder: Path) -> list[float]:
    """When the steps of a training were logged, in seconds."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [event.wall_time for event in events.Scalars("loss")]


def step_seconds(folder: Path) -> float:
    """Median step of a training that logged every step, without the first."""
    return float(np.median(np.diff(event_times(folder))))


def save_seconds(folder: Path) -> float:
    """From the last step until the checkpoint lay under its name."""
    return max((folder / "checkpoint.safetensors").stat().st_ctime - event_times(folder)[-1], 0)


class Clock:
    """Takes the time between calls; also a bar, for what reports its steps."""

    def __init__(self) -> None:
        self.laps: list[float] = []
        self.last = time.perf_counter()

    def restart(self) -> None:
        self.laps.clear()
        self.last = time.perf_counter()

    def lap(self) -> float:
        synchronize(best_device())
        now = time.perf_counter()
        self.laps.append(now - self.last)
        self.last = now
        return self.laps[-1]

    def advance(self, steps: int = 1, **_: object) -> None:
        self.lap()

    def usual(self) -> float:
        """Median of the last laps, without the first, which warms up."""
        return float(np.median(self.laps[-(STEPS - 1) :]))
