"""How the stages of a run went: state, results, and curves of loss, other values and scores."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from animateanywhere.commands.run_curves import Curve, make_curve, number
from animateanywhere.commands.run_state import Run
from animateanywhere.core.errors import UsageError
from animateanywhere.core.schema import build
from animateanywhere.methods.animate_anywhere import scores
from animateanywhere.training.progress import StageProgress, is_number
from animateanywhere.training.stage import Stage, learning_rate


@dataclass(frozen=True)
class StagePage:
    """What is shown of a stage, but for its samples."""

    name: str
    state: str
    settings: str
    results: list[tuple[str, str]]
    main: list[Curve]  # loss
    curves: list[Curve]
    scores: list[Curve]


def stage_page(run: Run, stage: StageProgress, problems: list[str]) -> StagePage:
    """A stage of a run; files of its scores that are damaged are added to `problems`."""
    columns: dict[str, list[tuple[float, float]]] = {}
    for row in stage.log:
        for key, value in row.items():
            if key != "step":
                columns.setdefault(key, []).append((row["step"], value))
    settings = _settings(stage)
    if settings is not None and "learning_rate" not in columns and stage.log:
        columns["learning_rate"] = [
            (row["step"], learning_rate(settings, max(int(row["step"]) - 1, 0)))
            for row in stage.log
        ]
    curves = {
        key: make_curve(key.replace("_", " "), pairs, steady=key == "learning_rate")
        for key, pairs in columns.items()
    }
    return StagePage(
        stage.name, _progress(stage, run), _about(stage.settings), _results(stage),
        [curves.pop("loss")] if "loss" in curves else [], list(curves.values()),
        _scores(run.path, stage.name, problems),
    )  # fmt: skip


def _settings(stage: StageProgress) -> Stage | None:
    """The settings of a stage as far as training reads them; None if they are not known."""
    known = {one.name for one in fields(Stage)}
    table = {key: value for key, value in stage.settings.items() if key in known}
    try:
        settings: Stage = build(Stage, table, stage.name)
    except UsageError:
        return None
    return settings if settings.steps > 0 else None


def _progress(stage: StageProgress, run: Run) -> str:
    text = f"step {stage.step:,}" + (f" of {stage.steps:,}" if stage.steps else "")
    if stage.done is not None:
        return f"finished at {text}"
    if run.stage == stage.name:
        return f"{run.state} at {text}" + (f", saved at {stage.saved:,}" if stage.saved else "")
    return text


def _about(settings: dict[str, Any]) -> str:
    keys = ("kind", "batch", "learning_rate", "warmup", "decay", "ema", "precision",
            "optimizer", "lora_rank")  # fmt: skip
    return ", ".join(
        f"{key.replace('_', ' ')} {settings[key]}" for key in keys if settings.get(key)
    )


def _results(stage: StageProgress) -> list[tuple[str, str]]:
    return [
        (key.replace("_", " "), number(value) if is_number(value) else str(value))
        for key, value in (stage.done or {}).items()
    ]


def _scores(path: Path, stage: str, problems: list[str]) -> list[Curve]:
    """The curves of a personalization's validation scores, with the selected step."""
    try:
        rows = [row for row in scores.read(path) if row["stage"] == stage]
    except UsageError as error:
        if (text := str(error).partition(";")[0]) not in problems:
            problems.append(text)
        return []
    curves = []
    for key in ("score", *scores.PARTS):
        known = [(row["step"], row[key]) for row in rows if is_number(row[key])]
        if known:
            step = scores.best(rows)["step"]
            curves.append(make_curve(key, known, steady=True, marked=step))
    return curves
