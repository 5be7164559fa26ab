"""Questions at the terminal."""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from animateanywhere.core import consent
from animateanywhere.core.errors import UsageError
from animateanywhere.core.launcher import is_first
from animateanywhere.core.paths import EXAMPLES


def confirm(question: str) -> bool:
    """Ask for yes or no on stderr; no by default, and at the end of the input."""
    from rich.console import Console
    from rich.markup import escape
    from rich.prompt import Confirm

    console = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)
    try:
        return Confirm.ask(escape(question), console=console, default=False)
    except EOFError:
        console.print()
        return False


def require_consent(files: Sequence[Path], yes: bool) -> None:
    """Ask once whether the people shown agreed, where somebody can be asked. The rendered people of
    the examples need no question. yes: of the option --yes.

    Raises:
        UsageError: they did not.
    """
    if not is_first() or all(_is_example(path) for path in files):
        return
    said = consent.answer()
    if said is None and not yes and not _is_interactive():
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


def _is_interactive() -> bool:
    """Whether somebody sees a question and can answer it."""
    if not (sys.stdin and sys.stderr and sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    with suppress(OSError):  # a terminal that is not this process's own
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()  # in the background it would stop
    return False
