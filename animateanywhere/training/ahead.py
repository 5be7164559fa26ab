"""Batches drawn ahead by other processes, so that a GPU does not wait for them.

By processes, unlike `datasets.ahead`: drawing rows of arrays is mostly Python, whose lock the
thread that launches the GPU's kernels needs as well. A batch depends on seed and pass alone, so
their number, also none, changes nothing but the time.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.util import Finalize
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from animateanywhere.core.device import is_gpu, processors
from animateanywhere.core.errors import Failure
from animateanywhere.core.launcher import on_this_machine
from animateanywhere.core.messages import reporting_to, warn
from animateanywhere.core.reporter import Events
from animateanywhere.training.loop import pass_number, step_generator

MOST = 8  # processes; more have not been faster
AHEAD = 2  # batches of each
GONE = "a process that draws batches ended, perhaps for lack of memory; run the same command again"


def processes_for(device: torch.device | str) -> int:
    """How many processes draw batches beside one that trains on a device: none for a processor,
    whose cores training uses itself."""
    if not is_gpu(device) or sys.platform != "linux":  # elsewhere a fork is not safe
        return 0
    return max(0, min(MOST, processors() // on_this_machine() - 1))


def on_device(batch: Any, device: torch.device) -> Any:
    """A batch, which may be a dataclass, whose tensors are on a device."""
    if isinstance(batch, Tensor):
        return batch.to(device)
    if not dataclasses.is_dataclass(batch) or isinstance(batch, type):
        return batch
    names = [field.name for field in dataclasses.fields(batch)]
    moved = {name: on_device(getattr(batch, name), device) for name in names}
    return dataclasses.replace(batch, **moved)


class DrawAhead:
    """A function that draws a batch, called in other processes for the passes to come."""

    def __init__(self, draw: Callable[[torch.Generator], Any], seed: int, processes: int) -> None:
        """draw: of a pass's generator (`step_generator`); it must not use a GPU. seed: of the
        training. processes: 0 draws in this one."""
        self.draw, self.seed, self.processes = draw, seed, processes
        self._stride = PartialState().num_processes  # a process of several does every n-th pass
        self._next = -1
        self._batches: Iterator[Any] | None = None
        self._warned = set[str]()

    def __call__(self, generator: torch.Generator) -> Any:
        """The batch of a pass; the generator is then as if it had been drawn here. Raises what
        `draw` raises, and Failure if a process ended."""
        if not self.processes:
            return self.draw(generator)
        number = pass_number(generator, self.seed)
        if self._batches is None or number != self._next:
            self._batches = self._start(number)
        try:
            batch, state, warnings_, error = next(self._batches)
        except RuntimeError as lost:
            raise Failure(GONE) from lost
        self._next = number + self._stride
        for text in warnings_:
            if text not in self._warned:
                self._warned.add(text)
                warn(text)
        if error is not None:
            raise error
        generator.set_state(state)
        return batch

    def close(self) -> None:
        """End the processes; the next call starts new ones."""
        self._batches = None

    def _start(self, number: int) -> Iterator[Any]:
        self.close()
        numbers: Any = itertools.count(number, self._stride)
        loader = DataLoader(
            _Passes(self.draw, self.seed), batch_size=None, sampler=numbers,
            num_workers=self.processes, prefetch_factor=AHEAD, collate_fn=_same,
            worker_init_fn=_begin, multiprocessing_context="fork",
            generator=torch.Generator(),  # the global one is not used
        )  # fmt: skip
        with warnings.catch_warnings():  # the children use no lock that another thread may hold
            warnings.filterwarnings("ignore", "This process .* is multi-threaded")
            return iter(loader)


class _Passes(Dataset[Any]):
    """What drawing each pass gives: the batch, the state of its generator, warnings, the error."""

    def __init__(self, draw: Callable[[torch.Generator], Any], seed: int) -> None:
        self.draw, self.seed = draw, seed

    def __getitem__(self, number: int) -> tuple[Any, Tensor, list[str], Exception | None]:
        generator, said = step_generator(self.seed, number), _Warnings()
        batch, error = None, None
        with reporting_to(said):
            try:
                batch = self.draw(generator)
            except Exception as found:  # a DataLoader would make a text with a traceback of it
                error = found
        return batch, generator.get_state(), said.texts, error


class _Warnings(Events):
    """Keeps the warnings, as markup, and drops the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def message(self, text: str, level: Any) -> None:
        if level == "warning":
            self.texts.append(text)


def _same(batch: Any) -> Any:
    return batch


def _begin(_: int) -> None:
    """In a new process: Ctrl-C is for the one that trains, whose handlers a fork copies, as it does
    what libraries do at the end: beside CUDA, processes waited there for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    Finalize(None, os._exit, args=(0,), exitpriority=1_000_000)
