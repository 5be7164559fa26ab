"""Who hears of the messages, the progress and the pictures of a command: the interface, and a
reporter that records events. The command line's own is `core.console`."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

Level = Literal["info", "warning"]


class Bar(Protocol):
    """What `progress` hands out."""

    def advance(self, steps: int = 1, **fields: object) -> None:
        """Go `steps` on; `fields` (such as `loss=0.12`) stay shown until they change."""


class Reporter(Protocol):
    """Who hears of what a command does."""

    def message(self, text: str, level: Level) -> None:
        """A line of Rich markup."""

    def progress(
        self, description: str, total: int, done: int, memory: bool
    ) -> AbstractContextManager[Bar]:
        """Something that takes a while: `total` steps, `done` of them by an earlier run."""

    def picture(self, path: Path) -> None:
        """A picture was written, to be looked at."""


Event = dict[str, Any]


@dataclass
class Events:
    """A reporter that records events, each a JSON object, and hands them on as they come.

    message: text (plain), level. progress: stage, step, total, eta (seconds left, None where not
    known yet), and its fields, such as loss. picture: path.
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
        yield bar

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
        made = self.step - self.first
        elapsed = time.monotonic() - self.start
        eta = elapsed / made * (self.total - self.step) if made > 0 else None
        self.record(
            "progress", stage=self.stage, step=self.step, total=self.total, eta=eta, **self.fields
        )
