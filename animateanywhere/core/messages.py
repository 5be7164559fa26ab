"""Messages, progress and pictures of a command, on their way to a reporter.

The command line prints them (`core.console`); a studio or a test records them (`reporter.Events`).
The reporter belongs to the context (`contextvars`) and not to the process: jobs in other threads
have reporters of their own, and it need not stand among the arguments of every function below.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from animateanywhere.core.console import Console
from animateanywhere.core.reporter import Bar, Level, Reporter

_CURRENT: ContextVar[Reporter | None] = ContextVar("reporter", default=None)


def current() -> Reporter:
    """The reporter of this context; without one, the console."""
    return _CURRENT.get() or _console()


@cache
def _console() -> Reporter:
    return Console()


@contextmanager
def reporting_to(reporter: Reporter) -> Iterator[None]:
    """What is reported inside goes to `reporter`."""
    token = _CURRENT.set(reporter)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def say(text: str) -> None:
    """Report a line of Rich markup; wrap file names and user text in `rich.markup.escape`."""
    current().message(text, "info")


def warn(text: str) -> None:
    """Report a warning, a line of Rich markup."""
    current().message(text, "warning")


def progress(
    description: str, total: int, done: int = 0, memory: bool = False
) -> AbstractContextManager[Bar]:
    """Report the progress of a block: description, count, fields, elapsed, time left and, if
    asked, peak memory. `done` is where a resumed run starts. Calls may be nested."""
    return current().progress(description, total, done, memory)


def picture(path: Path) -> None:
    """Report a picture that was written."""
    current().picture(path)


@contextmanager
def quietly() -> Iterator[None]:
    """Drop the messages reported inside, where the same work is done many times over; progress
    goes on."""
    with reporting_to(_WithoutMessages(current())):
        yield


@dataclass(frozen=True)
class _WithoutMessages:
    reporter: Reporter

    def message(self, text: str, level: Level) -> None:
        pass

    def progress(
        self, description: str, total: int, done: int, memory: bool
    ) -> AbstractContextManager[Bar]:
        return self.reporter.progress(description, total, done, memory)

    def picture(self, path: Path) -> None:
        self.reporter.picture(path)
