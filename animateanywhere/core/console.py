"""What the user sees while a command works. All of it goes to stderr; stdout is for results.

Of several processes (`accelerate launch`, `torchrun`) only the first speaks.
"""

import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_PLAIN_EVERY = 10.0  # seconds between lines when stderr is not a terminal

_quiet = False  # inside of `quietly`
_live: Progress | None = None  # the display that nested bars join
_plain_bars = 0  # how many are open, one within the other
_last_plain_line = 0.0  # seconds of the monotonic clock; all plain bars share the pace


def _console() -> Console:
    # Made anew each time so that a redirected or captured stderr is respected.
    if _live is not None:
        return _live.console
    return Console(stderr=True, highlight=False, quiet=not is_first())


def is_first() -> bool:
    """Whether this is the only process, or the first of several."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def quietly() -> Iterator[None]:
    """Keep back what `say` and `warn` print, where the same work is done many times over."""
    global _quiet
    before, _quiet = _quiet, True
    try:
        yield
    finally:
        _quiet = before


def say(text: str) -> None:
    """Print a line of Rich markup; wrap file names and user text in `rich.markup.escape`."""
    if _quiet:
        return
    _console().print(text, soft_wrap=True)


def warn(text: str) -> None:
    """Print a warning: a yellow word before a line of Rich markup."""
    say(f"[yellow]warning:[/yellow] {text}")


class Bar(Protocol):
    """What `progress` hands out."""

    def advance(self, steps: int = 1, **fields: object) -> None:
        """Go `steps` on; `fields` (such as `loss=0.12`) stay shown until they change."""


@dataclass
class _LiveBar:
    live: Progress
    task: TaskID
    memory: bool
    fields: dict[str, object] = field(default_factory=dict)

    def advance(self, steps: int = 1, **fields: object) -> None:
        self.fields.update(fields)
        self.live.update(self.task, advance=steps, fields=_words(self.fields, self.memory))


@dataclass
class _PlainBar:
    description: str
    total: int
    done: int
    memory: bool
    first: int
    start: float
    fields: dict[str, object] = field(default_factory=dict)

    def advance(self, steps: int = 1, **fields: object) -> None:
        self.done += steps
        self.fields.update(fields)
        if time.monotonic() - _last_plain_line >= _PLAIN_EVERY:
            self.show()

    def show(self) -> None:
        global _last_plain_line
        _last_plain_line = time.monotonic()
        if not is_first():
            return
        elapsed = _last_plain_line - self.start
        made = self.done - self.first
        left = elapsed / made * (self.total - self.done) if made > 0 else None
        time_left = "" if not left else f", {_clock(left)} left"
        words = _words(self.fields, self.memory)
        line = f"{self.description} {self.done}/{self.total} {words}".rstrip()
        print(f"{line} ({_clock(elapsed)}{time_left})", file=sys.stderr, flush=True)


@contextmanager
def progress(description: str, total: int, done: int = 0, memory: bool = False) -> Iterator[Bar]:
    """Show a bar: description, count, fields, elapsed, time left and, if asked, peak memory.

    `done` is where a resumed run starts. Nested calls add a line to the display that is there.
    Where stderr is not a terminal: a plain line at most every 10 s, and one when the outermost
    bar ends.
    """
    global _live, _plain_bars, _last_plain_line
    if _live is not None:
        task = _live.add_task(description, total=total, completed=done, fields="")
        try:
            yield _LiveBar(_live, task, memory)
        finally:
            _live.remove_task(task)
        return

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal or not is_first():
        bar = _PlainBar(description, total, done, memory, first=done, start=time.monotonic())
        if _plain_bars == 0:
            _last_plain_line = bar.start
        _plain_bars += 1
        try:
            yield bar
            if _plain_bars == 1:
                bar.show()
        finally:
            _plain_bars -= 1
        return

    live = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[fields]}", style="cyan", markup=False),
        TimeElapsedColumn(),
        TextColumn("left", style="dim"),
        TimeRemainingColumn(),
        console=console,
    )
    _live = live
    try:
        with live:
            task = live.add_task(description, total=total, completed=done, fields="")
            yield _LiveBar(live, task, memory)
    finally:
        _live = None


def peak_memory() -> float:
    """Largest memory this process has held so far, in GB: the GPU's where one is in use."""
    torch = sys.modules.get("torch")  # never imported for this
    if torch is not None and torch.cuda.is_initialized():
        return float(torch.cuda.max_memory_allocated()) / 1e9
    if sys.platform == "linux":  # where getrusage begins with the peak of the process before
        with open("/proc/self/status") as status:
            peaks = [line.split()[1] for line in status if line.startswith("VmHWM:")]
        if peaks:
            return int(peaks[0]) * 1024 / 1e9
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e9 if sys.platform == "darwin" else peak * 1024 / 1e9


def _words(fields: dict[str, object], memory: bool) -> str:
    words = [
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in fields.items()
    ]
    return "  ".join([*words, f"peak {peak_memory():.1f} GB"] if memory else words)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
