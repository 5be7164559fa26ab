"""What was found about a base and a recipe on this machine, kept in runs/predictions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from animateanywhere.core.files import cache_place, write_aside
from animateanywhere.core.json_file import read_json
from animateanywhere.core.paths import RUNS

CACHE = RUNS / "predictions"
VERSION = 6  # of what is measured and how


def file_of(*key: Any) -> Path:
    """Where a result lies, by all that it depends on, as JSON data."""
    text = json.dumps([VERSION, *key])
    return cache_place(CACHE) / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"


def write(path: Path, result: Any) -> None:
    with write_aside(path) as aside:
        aside.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> Any:
    """A result; None if it is missing or damaged."""
    try:
        return read_json(path)
    except (OSError, ValueError):
        return None


def cached(make: Callable[[], Any], *key: Any) -> Any:
    """What `make` returns, JSON data; made once."""
    path = file_of(*key)
    found = read(path)
    if found is None:
        write(path, make())
        found = read(path)
    return found
