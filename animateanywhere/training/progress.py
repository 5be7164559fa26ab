"""How far a training stage has come, read from the files of its folder without loading networks.

stage.json  its settings    log.jsonl  values of steps    checkpoint*.safetensors  the saved step
done.json   its results, at the end (only of base training)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from animateanywhere.core.errors import UsageError
from animateanywhere.core.json_file import parse_json, read_json
from animateanywhere.core.tensor_file import read_about
from animateanywhere.training.checkpoint_files import checkpoint_files

TAIL = 8192  # bytes of a log: some sixty lines
Row = dict[str, float]  # "step" and what was logged of it


@dataclass(frozen=True)
class StageProgress:
    """The state of a stage. Step 0: none."""

    name: str
    folder: Path
    settings: dict[str, Any]  # of `training.stage.Stage`; {} if they are not known
    saved: int  # step of the checkpoint
    log: list[Row]  # in the order of the steps; the last ones at least
    done: dict[str, Any] | None  # its results, once it is finished
    problems: list[str] = field(default_factory=list)  # each names a damaged file

    @property
    def step(self) -> int:
        """The last step that was logged or saved."""
        return max(self.saved, int(self.log[-1]["step"]) if self.log else 0)

    @property
    def steps(self) -> int | None:
        """The number of steps it is to have; None if that is not known."""
        number = self.settings.get("steps")
        return number if type(number) is int and number > 0 else None


def read_stage(
    folder: Path, settings: dict[str, Any] | None = None, whole: bool = True
) -> StageProgress:
    """The state of the stage in a folder. settings: where there is no stage.json. whole: with all
    of the log, otherwise with its end, which tells the step."""
    problems: list[str] = []
    if settings is None:
        settings = _read_table(folder / "stage.json", problems) or {}
    done = _read_table(folder / "done.json", problems)
    log, damaged = read_log(folder / "log.jsonl", None if whole else TAIL)
    if damaged:
        some = ", ".join(map(str, damaged[:5])) + ", ..." * (len(damaged) > 5)
        lines = f"{len(damaged)} damaged lines" if len(damaged) > 1 else "a damaged line"
        problems.append(f"{folder / 'log.jsonl'}: {lines} ({some})")
    saved = _saved(folder, problems)
    return StageProgress(folder.name, folder, settings, saved, log, done, problems)


def read_log(path: Path, tail: int | None = None) -> tuple[list[Row], list[int]]:
    """The rows of a log.jsonl, and the numbers, from 1, of damaged lines, which are left out. A
    last line without its end is left out too: it is being written. tail: only the lines within so
    many bytes of the end, if one of them is a row."""
    try:
        data = path.read_bytes()
    except OSError:
        return [], []
    begin = data.find(b"\n", -tail) + 1 if tail is not None and len(data) > tail else 0
    rows: list[Row] = []
    damaged: list[int] = []
    lines = data[begin:].decode(errors="replace").split("\n")[:-1]
    for number, line in enumerate(lines, 1 + data.count(b"\n", 0, begin)):
        row = _row(line)
        if row is None or (rows and row["step"] <= rows[-1]["step"]):
            damaged.append(number)
        else:
            rows.append(row)
    return (rows, damaged) if rows or not begin else read_log(path)


def last_mean(folder: Path, name: str) -> dict[str, float]:
    """The mean of a value in the last rows of a stage's log; {} if none of them has it."""
    import numpy as np

    rows, _ = read_log(folder / "log.jsonl")
    recent = [row[name] for row in rows[-20:] if name in row]
    return {name: float(np.mean(recent))} if recent else {}


def _saved(folder: Path, problems: list[str]) -> int:
    """The step that a training would go on from; damaged checkpoints are added to `problems`."""
    for checkpoint in checkpoint_files(folder):
        try:
            return max(int(read_about(checkpoint)["step"]), 0)
        except (UsageError, ValueError, KeyError):
            problems.append(f"{checkpoint}: damaged")
    return 0


def _row(line: str) -> Row | None:
    try:
        found = parse_json(line)
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    row = {key: value for key, value in found.items() if is_number(value)}
    return row if 0 <= row.get("step", -1) < 2**53 else None


def is_number(value: Any) -> bool:
    """Whether a value of JSON is a number that can be shown and drawn."""
    # A whole number may have more digits than a float can hold
    return (type(value) is int and abs(value) < 2**53) or (
        isinstance(value, float) and math.isfinite(value)
    )


def _read_table(path: Path, problems: list[str]) -> dict[str, Any] | None:
    """A JSON object; None if there is none, or if it is damaged, which is added to `problems`."""
    if not path.is_file():
        return None
    try:
        found = read_json(path)
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        problems.append(f"{path}: damaged")
        return None
    return found
