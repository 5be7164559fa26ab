"""How fast a training runs, and whether it waits for its data."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from animateanywhere.core.device import peak_memory
from animateanywhere.core.messages import warn

T = TypeVar("T")
STARVED = 0.3  # share of the time above which the data are called slow
WATCHED = 60.0  # seconds of training in which that is measured


@dataclass
class Draw(Generic[T]):
    """A function that draws a batch, and the seconds it has taken so far."""

    draw: Callable[[torch.Generator], T]
    seconds: float = 0.0

    def __call__(self, generator: torch.Generator) -> T:
        start = time.perf_counter()
        batch = self.draw(generator)
        self.seconds += time.perf_counter() - start
        return batch

    def close(self) -> None:
        """End the processes that draw ahead, if there are any (`ahead.DrawAhead`)."""
        if (close := getattr(self.draw, "close", None)) is not None:
            close()


@dataclass
class Throughput:
    """Rows a second of all processes, and the share of the time that they wait for data.

    Times are of a clock that only goes forward; samples and checkpoints are not counted.
    """

    rows: int  # of a step
    timed: bool = True  # whether the time for data is known
    steps: int = 0
    seconds: float = 0.0
    data: float = 0.0  # seconds
    watched: float = 0.0
    waited: float = 0.0

    def add(self, seconds: float, data: float) -> None:
        """Count a step. data: seconds of it that went to drawing its batches, per process."""
        self.steps += 1
        self.seconds += seconds
        self.data += data
        if self.watched < WATCHED:
            self.watched += seconds
            self.waited += data
            if self.watched >= WATCHED and self.waited > STARVED * self.watched:
                warn(
                    f"drawing batches takes {self.waited / self.watched:.0%} of the time: the "
                    "device waits for data"
                )

    def read(self) -> dict[str, float]:
        """The values since the last reading, for the log; {} without a step."""
        if not self.seconds:
            return {}
        values = {
            "rows_per_second": self.rows * self.steps / self.seconds,
            **({"data_share": self.data / self.seconds} if self.timed else {}),
            "memory_gb": peak_memory(),
        }
        self.steps, self.seconds, self.data = 0, 0.0, 0.0
        return values
