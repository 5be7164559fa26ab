"""The state of a run folder and of a result, read from lock, marks, logs and weights.

Nothing is loaded or changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from animateanywhere.commands.results import files_of_result
from animateanywhere.core.disk_use import changed_at, disk_use
from animateanywhere.core.errors import UsageError
from animateanywhere.core.json_file import parse_json, read_table
from animateanywhere.core.run_folder import MARK, VIDEOS, Mark, is_running, read_mark
from animateanywhere.core.tensor_file import read_about
from animateanywhere.training.progress import StageProgress, read_stage

State = Literal["running", "finished", "stopped", "unknown"]
WEIGHTS, RECORD = "personal.safetensors", "run.json"  # of `aa personalize`
LOCAL = {"clip", "base_folder"}  # of the record: they are not part of the weights' metadata
PAGE = "run.html"  # of `aa runs show`


@dataclass(frozen=True)
class Run:
    """A run or a result. `stage`, `step` and `steps` are of the stage that is trained now, or was
    when the run stopped."""

    name: str  # relative to the folder of runs
    path: Path
    kind: str  # the command
    state: State
    bytes: int  # on the disk; files with several names count once
    changed: float  # time of its newest file, in seconds since 1970
    process: int | None = None  # that works in it now
    stage: str | None = None
    step: int | None = None
    steps: int | None = None
    saved: int | None = None  # the step from which the stage would go on
    problems: list[str] = field(default_factory=list)  # files that are damaged


def read_run(path: Path, folder: Path, whole: bool = True) -> Run:
    """The state of a run by its lock, its marks and its logs; whole: with all of these, otherwise
    with their ends, so that problems before that are not found."""
    mark = read_mark(path) or Mark("unknown", None, None)
    taken, changed = disk_use(path)
    stages, problems = stages_of(path, whole)
    if mark.command == "unknown":
        problems.append(f"{path / MARK}: damaged")
    current = next((one for one in stages if not _is_done(path, mark, one, stages)), None)
    running = is_running(path)
    state = "running" if running else _state(path, mark, current, problems)
    if state == "finished":
        current = None
    problems += [text for one in stages for text in one.problems]
    name, process = _name(path, folder), mark.process if running else None
    if current is None:
        return Run(name, path, mark.command, state, taken, changed, process, problems=problems)
    return Run(
        name, path, mark.command, state, taken, changed, process,
        current.name, current.step, current.steps, current.saved, problems,
    )  # fmt: skip


def read_result(result: Path, command: str, folder: Path) -> Run:
    """A generated video or picture (`results.result_of`)."""
    taken, changed = 0, 0.0
    for file in files_of_result(result):
        size, time = disk_use(file)
        taken, changed = taken + size, max(changed, time)
    missing = [] if result.exists() else [f"{result}: missing; its settings are there"]
    return Run(_name(result, folder), result, command, "finished", taken, changed,
               problems=missing)  # fmt: skip


def stages_of(path: Path, whole: bool = True) -> tuple[list[StageProgress], list[str]]:
    """The training stages of a run that have begun, in their order; and damaged files. whole: see
    `read_run`."""
    problems: list[str] = []
    recipe = _recipe(path, problems)
    begun = [
        place for place in (path / "training").glob("*")
        if any((place / name).is_file() for name in ("stage.json", "log.jsonl"))
    ]  # fmt: skip
    folders = {place.name: place for place in begun}
    if recipe is None:
        stages = [read_stage(place, whole=whole) for place in folders.values()]
        # In each start of the command, the settings are written in the order of the recipe
        return sorted(stages, key=lambda one: changed_at(one.folder / "stage.json")), problems
    known = {one.get("name"): one for one in recipe}
    order = [name for name in folders if name not in known] + [
        name for name in known if name in folders
    ]
    return [read_stage(folders[str(name)], known.get(name, {}), whole) for name in order], problems


def _recipe(path: Path, problems: list[str]) -> list[dict[str, Any]] | None:
    """The stages that the record of a personalization names; None without one."""
    if not (path / RECORD).is_file():
        return None
    try:
        stages = parse_json(read_table(path / RECORD)["recipe"])["stage"]
        if all(isinstance(stage["name"], str) for stage in stages):
            return list(stages)
    except (ValueError, TypeError, KeyError, OSError):
        pass
    problems.append(f"{path / RECORD}: damaged")
    return []


def base_folder(path: Path) -> Path | None:
    """Where the base of a personalization is, or was."""
    place = read_table(path / RECORD).get("base_folder")
    return Path(place).resolve() if isinstance(place, str) and "\0" not in place else None


def _is_done(path: Path, mark: Mark, stage: StageProgress, stages: list[StageProgress]) -> bool:
    if mark.command != "personalize":
        return stage.done is not None
    # A stage may stop early; the next one then begins
    return stage is not stages[-1]


def _state(path: Path, mark: Mark, current: StageProgress | None, problems: list[str]) -> State:
    """The state of a run in which no process works."""
    if mark.command == "personalize":
        return "finished" if _has_its_weights(path, problems) else "stopped"
    if mark.command == "base-train":
        return "finished" if (path / "base.toml").is_file() and current is None else "stopped"
    if mark.command == "prepare":  # written at once
        return "finished" if (path / "subject.toml").is_file() else "stopped"
    if mark.command == "corpus":
        from animateanywhere.datasets.shard_corpus import INDEX  # with NumPy, which others spare

        return "finished" if (path / INDEX).is_file() else "stopped"
    if mark.ended or mark.command == VIDEOS:
        return "finished"
    return "unknown" if mark.ended is None or mark.process is None else "stopped"


def _has_its_weights(path: Path, problems: list[str]) -> bool:
    """Whether the weights in a run are of its record, not of an earlier run with other settings."""
    if not (path / WEIGHTS).is_file():
        return False
    try:
        about = read_about(path / WEIGHTS)
    except UsageError:
        problems.append(f"{path / WEIGHTS}: damaged")
        return False
    wanted = read_table(path / RECORD)
    return bool(wanted) and all(
        about.get(key) == value for key, value in wanted.items() if key not in LOCAL
    )


def _name(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def in_words(run: Run) -> str:
    """The state of a run, such as "stopped at step 130 of 200 of stage motion, saved at 120"."""
    words = {"unknown": "not running; whether it was finished is not recorded"}
    text = words.get(run.state, run.state)
    if run.process is not None:
        text += f" as process {run.process}"
    if run.stage is None:
        return text
    step = f"step {run.step:,}" + (f" of {run.steps:,}" if run.steps else "")
    text += f" at {step} of stage {run.stage}"
    if run.state == "stopped" and run.saved != run.step:
        text += f", saved at {run.saved:,}" if run.saved else ", nothing saved"
    return text
