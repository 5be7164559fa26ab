"""What a benchmark keeps of each method and subject, so that it goes on after a stop."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.markup import escape

from animateanywhere.core.files import write_aside
from animateanywhere.core.json_file import read_json
from animateanywhere.core.messages import warn
from animateanywhere.evaluation.truth import mean


def scored(
    record: Path, key: dict[str, Any], measure: Callable[[], list[dict[str, Any]]]
) -> dict[str, Any]:
    """Mean scores over a subject's cases, from `record` if it was written for the same `key`, or
    else of the cases that `measure` returns, which are written there.
    """
    key = json.loads(json.dumps(key))
    before = _read(record)
    if before.get("key") == key and isinstance(before.get("scores"), dict):
        return dict(before["scores"])
    rows = measure()
    flat = [row | {f"delta_e_{n}": v for n, v in row["delta_e_parts"].items()} for row in rows]
    means = mean(flat)
    with write_aside(record) as aside:
        aside.write_text(json.dumps({"key": key, "scores": means, "cases": rows}, indent=1) + "\n")
    return means


def is_benchmark(folder: Path) -> bool:
    """Whether a folder without a mark is an earlier version's benchmark."""
    return any(folder.glob("*/*/*/scores.json"))


def _read(record: Path) -> dict[str, Any]:
    """A subject's record; {} without one, and with a warning if it is damaged."""
    if not record.is_file():
        return {}
    try:
        return dict(read_json(record))
    except (OSError, ValueError, TypeError):
        warn(escape(f"{record}: damaged; it is made again"))
        return {}
