"""`Reporter`, the receiver of a command's messages, progress and pictures; `Events`, which records
them; and `Lines`, which writes them for another program. The reporter of the command line is
`core.console.Console`."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from animateanywhere.core.launcher import is_first

Level = Literal["info", "warning"]
EVERY = 0.1  # seconds between the lines of a stage's progress


class Bar(Protocol):
    """The progress of a block, from `Reporter.progress`."""

    def advance(self, steps: int = 1, **fields: object) -> None:
        """Advance by `steps`; `fields` (such as `loss=0.12`) are shown until they change."""


class Reporter(Protocol):
    """Receives what a command reports."""

    def message(self, text: str, level: Level) -> None:
        """A message: one line of Rich markup."""

    def progress(
        self, description: str, total: int, done: int, memory: bool
    ) -> AbstractContextManager[Bar]:
        """A block of `total` steps, `done` of them completed by an earlier run. memory: show the
        peak memory."""

    def picture(self, path: Path) -> None:
        """A picture was written for users to look at."""


Event = dict[str, Any]


@dataclass
class Events:
    """A reporter that records events, as JSON objects, and passes each to `on_event`.

    The key `kind` is "message" (further keys: text, plain; level), "progress" (stage; step; total;
    eta, seconds left or None; fields such as loss), "end" (stage; step; total) or "picture" (path).
    """

    on_event: Callable[[Event], None] | None = None
    events: list[Event] = field(default_factory=list)

    def message(self, text: str, level: Level) -> None:
        from rich.text import Text

        self._record("message", text=Text.from_markup(text).plain, level=level)

    @contextmanager
    def progress(
        self, description: str, total: int, done: int, memory: bool
    ) -> Iterator["_EventBar"]:
        bar = _EventBar(self._record, description, total, done, first=done)
        bar.advance(0)
        try:
            yield bar
        finally:
            self._record("end", stage=description, step=bar.step, total=total)

    def picture(self, path: Path) -> None:
        self._record("picture", path=str(path))

    def _record(self, kind: str, **values: object) -> None:
        event = {"kind": kind, **values}
        self.events.append(event)
        if self.on_event is not None:
            self.on_event(event)


@dataclass
class _EventBar:
    record: Callable[..., None]
    stage: str
    total: int
    step: int
    first: int
    start: float = field(default_factory=lambda: time.monotonic())
    fields: dict[str, object] = field(default_factory=dict)

    def advance(self, steps: int = 1, **fields: object) -> None:
        self.step += steps
        self.fields.update(fields)
        done = self.step - self.first
        elapsed = time.monotonic() - self.start
        eta = elapsed / done * (self.total - self.step) if done > 0 else None
        self.record(
            "progress", stage=self.stage, step=self.step, total=self.total, eta=eta, **self.fields
        )


class Lines(Events):
    """`Events` that are written to stderr, each as a line of JSON and at once, and not kept; of the
    progress of a stage some ten a second. What cannot be written, on a full disk, is left out."""

    last = -EVERY  # when progress was written: seconds, monotonic clock

    def _record(self, kind: str, **values: object) -> None:
        if not is_first():
            return
        now = time.monotonic()
        if kind == "progress" and values["step"] not in (0, values["total"]):
            if now - self.last < EVERY:
                return
            self.last = now
        write_line({"kind": kind, **values})


def write_line(event: Event) -> None:
    """Write an event to stderr, as a line of JSON."""
    with suppress(OSError):
        sys.stderr.write(json.dumps(event) + "\n")
        sys.stderr.flush()
