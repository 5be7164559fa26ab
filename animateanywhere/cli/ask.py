"""Questions at the terminal."""

import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from select import select
from typing import Any

from animateanywhere.core import consent
from animateanywhere.core.errors import UsageError
from animateanywhere.core.launcher import is_first
from animateanywhere.core.paths import EXAMPLES

WAIT = 120  # seconds for an answer: a terminal may have nobody in front of it (`docker run -t`)
SLICE = 0.1  # of these, after which Python looks for signals
# Set where commands get a terminal and nobody can type: cells of Jupyter, jobs of CI
UNATTENDED = ("JPY_PARENT_PID", "CI")


def confirm(question: str) -> bool:
    """Ask for yes or no on stderr; no by default, at the end of the input, and after `WAIT`."""
    from rich.console import Console
    from rich.markup import escape
    from rich.prompt import Confirm

    console = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)
    try:
        stream: Any = _Answers()
        return Confirm.ask(escape(question), console=console, default=False, stream=stream)
    except EOFError:
        console.print()
    except TimeoutError:
        console.print(f"\nno answer in {WAIT} seconds: taken as no")
    return False


class _Answers:
    """Lines of stdin, each waited for no longer than `WAIT`."""

    def readline(self) -> str:
        # A signal that comes right before `select` does not end it: a Ctrl-C would wait for WAIT
        end = time.monotonic() + WAIT
        while not select([sys.stdin], [], [], SLICE)[0]:
            if time.monotonic() >= end:
                raise TimeoutError
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line.strip()


def require_consent(files: Sequence[Path], yes: bool) -> None:
    """Ask once whether the people shown agreed, where somebody can be asked. The rendered people of
    the examples need no question. yes: of the option --yes.

    Raises:
        UsageError: they did not.
    """
    if not is_first() or all(_is_example(path) for path in files):
        return
    said = consent.answer()
    if said is None and not yes and not is_interactive():
        from animateanywhere.core.messages import say

        say(
            "nobody can be asked here whether the people shown agreed: "
            f"--yes or {consent.VARIABLE}=yes says so"
        )
        return
    if said is None and (yes or confirm(f"{consent.QUESTION} (asked once)")):
        said = True
        consent.keep()
    if not (said or yes):
        raise UsageError(consent.REFUSED)


def _is_example(path: Path) -> bool:
    return path.resolve().is_relative_to(EXAMPLES.resolve())


def is_interactive() -> bool:
    """Whether somebody sees a question and can answer it, as far as can be known."""
    if any(os.environ.get(name) for name in UNATTENDED):
        return False
    if not (sys.stdin and sys.stderr and sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    with suppress(OSError):  # a terminal that is not this process's own
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()  # in the background it would stop
    return False
