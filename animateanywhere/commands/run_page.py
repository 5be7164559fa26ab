"""`aa runs show`: how a run went, as one HTML page that needs no network, and in a few lines."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.markup import escape

from animateanywhere.commands.results import result_of
from animateanywhere.commands.run_curves import number, smoothed
from animateanywhere.commands.run_stages import StagePage, stage_page
from animateanywhere.commands.run_state import PAGE, Run, in_words, stages_of
from animateanywhere.commands.runs import find_run, print_problems
from animateanywhere.core.disk_use import changed_at, size_in_words
from animateanywhere.core.estimate import clock
from animateanywhere.core.files import has_sign, require_free, write_aside
from animateanywhere.core.json_file import read_table
from animateanywhere.core.messages import say
from animateanywhere.core.paths import ASSETS, RUNS
from animateanywhere.core.run_folder import MARK
from animateanywhere.training.progress import StageProgress, is_number

TEMPLATE = ASSETS / "run.html.j2"
SIGN = "<!-- written by aa runs show -->"
SAMPLES, WIDTH = 6, 900  # pictures of a stage, and their width in pixels at most
VIDEOS, LARGEST = 6, 8 * 2**20  # that the page contains, and bytes of one
SHEETS = ("contact_sheet.png", "background_augmentation.png", "subject/contact.png")
FACTS = ("token", "class_word", "base", "appearance", "seed", "frame", "version", "selected_steps",
         "prompt", "full_prompt", "negative", "characters", "scene", "mask", "keep", "fit",
         "collage", "steady_background", "steps", "sampler", "guidance_scale", "guidance",
         "frames", "fps", "size")  # fmt: skip


@dataclass(frozen=True)
class Picture:
    name: str
    url: str  # with the data
    kind: str  # "image" or "video"


def show(name: str, folder: Path = RUNS, out: Path | None = None) -> Path:
    """Write the page of a run or a video, and print a summary; returns the page's path.

    name and folder: as for `runs.find_run`. Raises UsageError as that does, and where `out` is
    somebody else's file.
    """
    run = find_run(name, folder)
    path = out or (run.path.with_suffix(".html") if _is_result(run) else run.path / PAGE)
    require_free(path, None, own=has_sign(path, SIGN))
    stages, _ = stages_of(run.path)
    problems = list(run.problems)
    pages = [stage_page(run, stage, problems) for stage in stages]
    samples = [_samples(stage.folder, problems) for stage in stages]
    text = _render(run, list(zip(pages, samples, strict=True)), problems)
    with write_aside(path) as aside:
        aside.write_bytes(text.encode(errors="replace"))  # JSON can hold what UTF-8 cannot
    _summarize(run, stages, pages, problems)
    say(f"wrote [bold]{escape(str(path))}[/bold]")
    return path


def _is_result(run: Run) -> bool:
    return not (run.path / MARK).is_file()


@dataclass(frozen=True)
class Samples:
    """Some of the pictures that a stage made."""

    shown: list[Picture]
    left_out: int  # how many are not shown


def _samples(folder: Path, problems: list[str]) -> Samples:
    pictures = sorted((folder / "samples").glob("*.png"))
    some = sorted(
        {round(i) for i in np.linspace(0, len(pictures) - 1, min(SAMPLES, len(pictures)))}
    )
    shown = [_picture(pictures[i], pictures[i].stem, problems) for i in some]
    return Samples([one for one in shown if one], len(pictures) - len(some))


def _picture(path: Path, name: str, problems: list[str]) -> Picture | None:
    try:
        with Image.open(path) as file:
            picture = file.convert("RGB")
        picture.thumbnail((WIDTH, 4 * WIDTH))
        data = io.BytesIO()
        picture.save(data, "JPEG", quality=85)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        problems.append(f"{path}: damaged")
        return None
    return Picture(name, _url(data.getvalue(), "image/jpeg"), "image")


def _video(path: Path) -> Picture | None:
    """A video, whose name is below it; None if it is too large or no video file."""
    kind = {".mp4": "video/mp4", ".webm": "video/webm", ".gif": "image/gif",
            ".webp": "image/webp"}.get(path.suffix)  # fmt: skip
    if kind is None or not path.is_file() or path.stat().st_size > LARGEST:
        return None
    return Picture(path.name, _url(path.read_bytes(), kind), kind.partition("/")[0])


def _url(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _render(run: Run, stages: list[tuple[StagePage, Samples]], problems: list[str]) -> str:
    from jinja2 import Environment

    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        TEMPLATE.read_text(encoding="utf-8")
    )
    files = [run.path] if _is_result(run) else sorted(run.path.glob("*.json"))
    results = [result[0] for path in files if (result := result_of(path))]
    results.sort(key=lambda path: -changed_at(path))
    videos = [shown for path in results[:VIDEOS] if (shown := _video(path))]
    sheets = [run.path / name for name in SHEETS if (run.path / name).is_file()]
    sheets += [path for path in results[:VIDEOS] if path.suffix == ".png" and path.is_file()]
    pictures = [shown for path in sheets if (shown := _picture(path, path.name, problems))]
    return page.render(
        sign=SIGN, run=run, state=in_words(run), size=size_in_words(run.bytes),
        changed=datetime.fromtimestamp(run.changed).strftime("%Y-%m-%d %H:%M"),
        stages=stages, facts=_facts(run), videos=videos, pictures=pictures, problems=problems,
    )  # fmt: skip


def _facts(run: Run) -> list[tuple[str, str]]:
    """What a run was made from, and its time and memory."""
    path = run.path
    table: dict[str, Any] = {}
    for name in ("run.json", "estimate.json") if path.is_dir() else ():
        table |= read_table(path / name)
    if _is_result(run):
        table |= read_table(path.with_suffix(".json"))
        table |= read_table(path.with_suffix(".estimate.json"))
    facts = [(key.replace("_", " "), _fact(table[key])) for key in FACTS if table.get(key)]
    for key, words in (("took", table.get("took")), ("estimated", table)):
        if isinstance(words, dict) and is_number(words.get("seconds")):
            text = clock(float(words["seconds"]))
            if is_number(words.get("memory")):
                text += f", {words['memory']:.1f} GB"
            facts.append((key, text))
    return facts


def _fact(value: Any) -> str:
    """A value of the settings; of files and of a base, their names."""
    if isinstance(value, dict):
        return str(value.get("name", value.get("file", value)))
    return ", ".join(map(_fact, value)) if isinstance(value, list) else str(value)


def _summarize(
    run: Run, stages: Sequence[StageProgress], pages: Sequence[StagePage], problems: list[str]
) -> None:
    console = Console(stderr=True, highlight=False, emoji=False)
    console.print(f"[bold]{escape(run.name)}[/] {escape(f'(aa {run.kind}): {in_words(run)}')}")
    for stage, page in zip(stages, pages, strict=True):
        lines = [f"stage {page.name}: {page.state}"]
        losses = np.array([row["loss"] for row in stage.log if "loss" in row])
        if len(losses):
            means = smoothed(losses)
            lines.append(
                f"loss {number(means[0])} at the beginning, {number(means[-1])} at the end"
            )
        lines += [
            f"{curve.name} {curve.value}"
            for curve in page.curves
            if curve.name in ("learning rate", "gradient norm") or "second" in curve.name
        ]
        lines += [f"{name} {value}" for name, value in page.results]
        console.print(escape("  " + "; ".join(lines)), soft_wrap=True)
        for curve in page.scores[:1]:
            console.print(escape(f"  scores {curve.low} to {curve.high}, lower is better"))
    print_problems(console, problems)
