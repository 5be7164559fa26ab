"""JSON from files that anybody may have written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def parse_json(text: str) -> Any:
    """The value of a JSON text. Raises ValueError if it is none, or too deeply nested."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("brackets are nested too deeply") from None


def is_shallow(value: Any, most: int) -> bool:
    """Whether lists and objects are nested at most so deeply. What can just be read cannot always
    be copied and written again."""
    if not isinstance(value, list | dict):
        return True
    inside = value.values() if isinstance(value, dict) else value
    return most > 0 and all(is_shallow(one, most - 1) for one in inside)


def read_json(path: Path) -> Any:
    """The value of a JSON file. Raises OSError or ValueError where it cannot be read."""
    return parse_json(path.read_text(encoding="utf-8"))


def read_table(path: Path) -> dict[str, Any]:
    """The object of a JSON file; {} if there is none, or if it is damaged."""
    try:
        found = read_json(path)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
