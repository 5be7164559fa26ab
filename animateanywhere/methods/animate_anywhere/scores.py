"""The validation scores of a run's checkpoints, and which of them is the best."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from animateanywhere.core.errors import UsageError
from animateanywhere.core.json_file import read_json

FILE = "scores.json"
PARTS = {"identity": 1.0, "scene": 1.0, "leak": 1.0}  # of the score, and their weights in it
NEAR = 1.05  # ratio of scores that is within their noise

# Keys: stage, step, the parts of the score, and "score", their weighted sum; lower is better
Score = dict[str, Any]


def best(scores: Sequence[Score]) -> Score:
    """The last of the scores that equal the lowest within their noise (`NEAR`).

    Later checkpoints are preferred since the learning rate decays towards the end of a stage. If no
    score is known, the last one is returned.
    """
    known = [row["score"] for row in scores if row["score"] is not None]
    good = [row for row in scores if row["score"] is not None and row["score"] <= NEAR * min(known)]
    return (good or scores)[-1]


def read(out: Path) -> list[Score]:
    """All scores of a run so far, in order. Raises UsageError if their file is damaged."""
    path = out / FILE
    if not path.is_file():
        return []
    try:
        record = read_json(path)
        known = {"stage": str, "step": int}
        if all(isinstance(row[key], kind) for row in record for key, kind in known.items()) and all(
            row[name] is None or isinstance(row[name], int | float)
            for row in record
            for name in ("score", *PARTS)
        ):
            return list(record)
    except (OSError, ValueError, TypeError, KeyError):
        pass
    raise UsageError(f"{path}: damaged; delete it")
