"""What orders have in common: the words of a command, and the question before people are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from animateanywhere.core import consent
from animateanywhere.core.errors import UsageError
from animateanywhere.studio.clips import clip_of
from animateanywhere.studio.form import Form, number_of
from animateanywhere.studio.place import Place, Unknown

SEEDS = 2**32 - 1
Order = tuple[str, list[str]]  # what pages call it, and the arguments of `aa`


def command_line(name: str, options: Mapping[str, Any], *last: str | Path) -> list[str]:
    """A command with its options and its arguments. A value that begins with a dash is one, too; an
    option with a list is given once for each."""
    flags = []
    for key, value in options.items():
        for one in value if isinstance(value, list) else [value]:
            if one not in (None, "", False):
                flags.append(f"--{key}" if one is True else f"--{key}={one}")
    return [name, *flags, "--", *map(str, last)]


def sampling(form: Form) -> dict[str, Any]:
    """The options of a command that samples."""
    return {"seed": number_of(form, "seed", 0, SEEDS, int),
            "steps": number_of(form, "steps", 1, 1000, int),
            "guidance": number_of(form, "guidance", 0, 100)}  # fmt: skip


def require_consent(place: Place, form: Form, clips: Sequence[str]) -> None:
    """Ask once, as commands do at a terminal, whether the people of these clips agreed. Raises
    UsageError where that was not said."""
    if all(_is_rendered(place, name) for name in clips):
        return
    said = consent.answer()
    if said is None and form.get("agreed") is True:
        consent.keep()
    elif not said:
        raise UsageError(consent.REFUSED)


def _is_rendered(place: Place, name: str) -> bool:
    with suppress(Unknown):
        return bool(clip_of(place, name).get("bundled"))
    return False
