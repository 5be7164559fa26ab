"""The settings that a run was begun with, which it can only be resumed with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from accelerate import PartialState

from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import write_aside
from animateanywhere.core.json_file import read_json
from animateanywhere.methods.animate_anywhere.settings import current_names

# Keys that may change midway: what is trained stays the same
FREE = ("log_every", "save_every", "sample_every", "max_skipped", "recompute", "swap.collage",
        "cast.collage", "model.collage")  # fmt: skip
SHOWN = 4  # differences that a message names
LONGEST = 60  # characters of a value in a message
ABSENT = object()


def require_same(path: Path, settings: dict[str, Any], usual: dict[str, Any]) -> None:
    """Write the settings to `path`; raise UsageError with the differences if other settings were
    used there before, or if these are damaged. usual: the values of keys that an earlier version
    did not know. `FREE` keys may differ."""
    now = json.loads(json.dumps(settings))
    if path.is_file():
        before = read_settings(path)
        if before is None:
            raise UsageError(
                f"{path}: damaged; delete it if {path.parent} was made with this recipe, otherwise "
                "give another --out"
            )
        known = _filled(without_places(current_names(before)), json.loads(json.dumps(usual)))
        if found := [change for change in changes(known, now) if change[0] not in FREE]:
            raise UsageError(
                f"{path.parent} was made with another recipe: {_in_words(found)}; set this as it "
                "was to go on there, or give another --out to train anew"
            )
    if PartialState().is_main_process:
        with write_aside(path) as aside:
            aside.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def changes(before: Any, now: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The values of two JSON tables that differ: dotted key, former value and the present one,
    `ABSENT` where there is none. The order of keys does not count."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in dict.fromkeys([*now, *before]):
            inner = f"{key}.{name}" if key else name
            yield from changes(before.get(name, ABSENT), now.get(name, ABSENT), inner)
    elif before != now:
        yield key, before, now


def _in_words(found: list[tuple[str, Any, Any]]) -> str:
    some = [f"{key} was {_value(old)} and is {_value(new)}" for key, old, new in found[:SHOWN]]
    more = len(found) - len(some)
    return ", ".join(some) + (f", and {more} more differ" if more else "")


def _value(value: Any) -> str:
    if value is ABSENT:
        return "not set"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _filled(table: Any, usual: Any) -> Any:
    """A table with the keys of `usual` that it lacks, and so for tables in it."""
    if not isinstance(table, dict) or not isinstance(usual, dict):
        return table
    return usual | {key: _filled(value, usual.get(key)) for key, value in table.items()}


def without_places(settings: Any) -> Any:
    """Settings with local files and folders by their names alone: bases are published with them."""
    if isinstance(settings, dict):
        return {key: without_places(value) for key, value in settings.items()}
    if isinstance(settings, list | tuple):
        return [without_places(value) for value in settings]
    is_place = isinstance(settings, str) and (Path(settings).is_absolute() or _exists(settings))
    return Path(settings).name if is_place else settings


def _exists(text: str) -> bool:
    return "/" in text and Path(text).exists()


def read_settings(path: Path) -> Any:
    """The contents of a JSON file; None if it is damaged."""
    try:
        return read_json(path)
    except ValueError:
        return None
