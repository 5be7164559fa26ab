"""The reporter of the command line. It writes to stderr; stdout is for results.

Of several processes (`accelerate launch`, `torchrun`) only the first writes.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import rich.console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from animateanywhere.core.device import peak_memory
from animateanywhere.core.launcher import is_first
from animateanywhere.core.reporter import Bar, Level

PLAIN_EVERY = 10.0  # seconds between lines when stderr is not a terminal


@dataclass
class Console:
    """Messages and progress bars by Rich. If stderr is not a terminal, progress is a plain line at
    most every 10 s, and one when the outermost bar ends."""

    live: Progress | None = None  # the display that nested bars are added to
    plain_bars: int = 0  # number of open plain bars, nested in each other
    last_line: float = 0.0  # time of the last plain line, of any bar: seconds, monotonic clock

    def message(self, text: str, level: Level) -> None:
        """Print a line; a warning begins with a yellow "warning:"."""
        # A new console each time, so that a redirected or captured stderr is respected
        console = self.live.console if self.live else rich.console.Console(
            stderr=True, highlight=False, emoji=False, quiet=not is_first()
        )  # fmt: skip
        word = "[yellow]warning:[/yellow] " if level == "warning" else ""
        console.print(word + text, soft_wrap=True, emoji=False)  # a name may hold ":x:"

    def picture(self, path: Path) -> None:
        """Do nothing: commands print the files they wrote."""

    @contextmanager
    def progress(self, description: str, total: int, done: int, memory: bool) -> Iterator[Bar]:
        """Show a bar or, without a terminal, lines."""
        if self.live is not None:
            task = self.live.add_task(description, total=total, completed=done, fields="")
            try:
                yield _LiveBar(self.live, task, memory)
            finally:
                self.live.remove_task(task)
            return
        console = rich.console.Console(stderr=True, highlight=False, emoji=False)
        if not console.is_terminal or not is_first():
            with self._lines(description, total, done, memory) as bar:
                yield bar
            return
        self.live = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[fields]}", style="cyan", markup=False),
            TimeElapsedColumn(),
            TextColumn("left", style="dim"),
            TimeRemainingColumn(),
            console=console,
        )
        try:
            with self.live as live:
                task = live.add_task(description, total=total, completed=done, fields="")
                yield _LiveBar(live, task, memory)
        finally:
            self.live = None

    @contextmanager
    def _lines(self, description: str, total: int, done: int, memory: bool) -> Iterator[Bar]:
        bar = _PlainBar(self, description, total, done, memory, first=done, start=time.monotonic())
        if self.plain_bars == 0:
            self.last_line = bar.start
        self.plain_bars += 1
        try:
            yield bar
            if self.plain_bars == 1:
                bar.show()
        finally:
            self.plain_bars -= 1


@dataclass
class _LiveBar:
    live: Progress
    task: TaskID
    memory: bool
    fields: dict[str, object] = field(default_factory=dict)

    def advance(self, steps: int = 1, **fields: object) -> None:
        self.fields.update(fields)
        self.live.update(self.task, advance=steps, fields=_format(self.fields, self.memory))


@dataclass
class _PlainBar:
    console: Console
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
        if time.monotonic() - self.console.last_line >= PLAIN_EVERY:
            self.show()

    def show(self) -> None:
        self.console.last_line = time.monotonic()
        if not is_first():
            return
        elapsed = self.console.last_line - self.start
        steps = self.done - self.first
        left = elapsed / steps * (self.total - self.done) if steps > 0 else None
        time_left = "" if not left else f", {_clock(left)} left"
        fields = _format(self.fields, self.memory)
        line = f"{self.description} {self.done}/{self.total} {fields}".rstrip()
        print(f"{line} ({_clock(elapsed)}{time_left})", file=sys.stderr, flush=True)


def _format(fields: dict[str, object], memory: bool) -> str:
    texts = [
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in fields.items()
    ]
    return "  ".join([*texts, f"peak {peak_memory():.1f} GB"] if memory else texts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
