"""`aa evaluate`: how good a video is of which no true one is known, in numbers and in a picture."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from animateanywhere.backbones.base import BUNDLED, find_base
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import require_writable, write_aside
from animateanywhere.core.messages import progress, say
from animateanywhere.core.paths import RUNS
from animateanywhere.datasets.subject import overlay_skeletons, read_settings
from animateanywhere.evaluation.observe import Observed, observe, observe_reference
from animateanywhere.evaluation.perception import Perception, load_perception, perception_of
from animateanywhere.evaluation.scores import (
    METRICS,
    measured_and_missing,
    networks,
    score,
    unrelated_scenes,
)
from animateanywhere.evaluation.targets import (
    SUBJECT,
    Target,
    find_motion,
    find_targets,
    requested_motion,
)
from animateanywhere.media import video
from animateanywhere.metrics import evenly_spaced
from animateanywhere.pose import skeleton
from animateanywhere.preprocessing.backends import Backends, choose_backend

FOLDER = RUNS / "evaluate"
MOST, FAST = 128, 16  # frames of a video that are looked at
REFERENCE = 64  # of the reference
COLUMNS = 8  # of the contact sheet
SIDE_BY_SIDE = 4  # videos that have a column each in the terminal

Detector = Literal["auto", "puppets", "backends"]


class Evaluation(NamedTuple):
    """Numbers by video and metric, their mean, and why some are missing; and where they lie."""

    out: Path
    videos: dict[str, dict[str, float]]
    mean: dict[str, float]
    missing: dict[str, str]


def evaluate(
    path: Path,
    *,
    reference: Path | None = None,
    pose: Path | None = None,
    prompt: str | None = None,
    out: Path | None = None,
    detector: Detector = "auto",
    fast: bool = False,
    backends: Backends | None = None,
) -> Evaluation:
    """Measure a video, or every video that `aa generate` made in the folder of a run.

    reference: a clip, a picture or a subject folder of the person; else the run's own subject.
    pose: the motion that was asked for, or the folder it is in; else the file that a sidecar names.
    prompt: else the sidecar's. What cannot be measured for want of these is left out, with a
    reason. out: folder of metrics.json, table.md and contact_sheet.png, else runs/evaluate/<name>.
    detector: what finds persons: the bundled network ("puppets", rendered people only) or the
    backends. "auto" takes the network where a sidecar names a base that has one and the subject's
    masks are exact, as those of rendered people are. fast: at most 16 frames, and no network for
    likeness.
    """
    backends = backends or Backends()
    out = out or FOLDER / (path.resolve().stem or "video")
    require_writable(out)
    targets = find_targets(path)
    nets, others = networks(backends.location, fast), unrelated_scenes()
    settled = False
    known: dict[tuple[Path, bool], Observed] = {}
    rows: list[tuple[str, np.ndarray]] = []
    numbers: dict[str, dict[str, float]] = {}
    reasons: dict[str, dict[str, str]] = {}
    with progress("evaluating", total=len(targets)) as bar:
        for target in targets:
            lacking = dict(nets.unavailable)
            source = reference or _subject_of(target)
            net = _network(detector, target, source)
            if net is None and not settled:  # once, so that it is said once
                eye, cutter = (
                    choose_backend(kind, backends, target.video) for kind in ("pose", "mask")
                )
                backends, settled = replace(backends, pose=eye, mask=cutter), True
            seen = observe(target.video, FAST if fast else MOST, backends, net)
            if not seen.has_person.any() and len(targets) == 1:
                raise UsageError(f"{target.video}: {_nobody(seen)}; or try another --detector")
            if source is None:
                lacking["reference"] = "no --reference"
            elif (source, net is None) not in known:
                known[source, net is None] = _reference(source, fast, backends, net)
                rows += _rows(f"reference: {source.name}", known[source, net is None])
            asked = None
            try:
                motion = find_motion(target, pose)
                asked = requested_motion(target, motion, seen, backends, trusted=pose is not None)
            except UsageError as error:
                if pose is not None:
                    raise
                lacking["motion"] = str(error)
            words = target.prompt(prompt)
            if words is None:
                lacking["prompt"] = "no --prompt"
            who = None if source is None else known[source, net is None]
            scores = score(seen, who, asked, words, nets, others)
            numbers[target.name], reasons[target.name] = measured_and_missing(scores, lacking)
            rows += _rows(target.name if words is None else f"{target.name}: {words}", seen, asked)
            bar.advance(1)
    made = Evaluation(out, numbers, _mean(numbers), _missing(reasons))
    _write(made, rows)
    _tell(made)
    return made


def show(made: Evaluation) -> None:
    """A table for people, on stderr."""
    several, few = len(made.videos) > 1, len(made.videos) <= SIDE_BY_SIDE
    table = Table(title=escape(str(made.out)), title_justify="left", box=None)
    table.add_column("metric", no_wrap=True)
    names = list(made.videos) if few else ["lowest", "highest"]
    for name in [*names, "mean"] if several else ["value"]:
        table.add_column(escape(name), justify="right", overflow="fold")
    table.add_column("good", no_wrap=True)
    if not several:
        table.add_column("what", style="dim")
    for name, (what, more) in METRICS.items():
        values = [row.get(name) for row in made.videos.values()]
        there = [value for value in values if value is not None]
        if not there:
            continue
        shown = [*values] if few else [min(there), max(there)]
        cells = [*shown, made.mean[name]] if several else shown
        good = {True: "high", False: "low", None: "as asked"}[more]
        table.add_row(name, *map(_text, cells), good, *([] if several else [what]))
    Console(stderr=True, highlight=False).print(table)


def to_json(made: Evaluation) -> str:
    """What metrics.json holds."""
    parts = {"videos": made.videos, "mean": made.mean, "missing": made.missing}
    return json.dumps(parts, indent=2, ensure_ascii=False, allow_nan=False)


def _subject_of(target: Target) -> Path | None:
    places = [folder / SUBJECT for folder in (target.run, target.video.parent)]
    own = target.sidecar is not None and target.sidecar.get("token")
    return next((place for place in places if own and read_settings(place)), None)


def _network(detector: Detector, target: Target, source: Path | None) -> Perception | None:
    """The network that sees rendered people, where it is to look; None for the backends."""
    folder = BUNDLED
    if target.sidecar is not None:
        with suppress(UsageError):  # it is somewhere else
            folder = find_base(str(target.sidecar["base"].get("name")))
    there = (folder / "perception").is_dir()
    if detector == "auto":
        exact = source is not None and read_settings(source).get("mask") == "exact"
        detector = "puppets" if target.sidecar is not None and there and exact else "backends"
    if detector == "backends":
        return None
    return load_perception(perception_of(folder))


def _reference(path: Path, fast: bool, backends: Backends, net: Perception | None) -> Observed:
    seen = observe_reference(path, FAST if fast else REFERENCE, backends, net)
    if not seen.has_person.any():
        raise UsageError(f"{path}: {_nobody(seen)}; give a clip that shows the person")
    return seen.person_frames()


def _nobody(seen: Observed) -> str:
    return f"no person found in its {len(seen.frames)} frames"


def _rows(
    name: str, seen: Observed, asked: np.ndarray | None = None
) -> list[tuple[str, np.ndarray]]:
    """A clip's rows of the contact sheet: asked motion, frames, and what is seen in them."""
    count = len(seen.frames) if asked is None else len(asked)
    shown = evenly_spaced(count, COLUMNS)
    frames, masks = seen.frames[shown], seen.masks[shown, ..., None]
    rows = [(name, frames)]
    if asked is not None:
        rows.insert(
            0, ("motion that was asked for", skeleton.draw(asked[shown], *frames.shape[1:3]))
        )
    cut = (frames * masks + 255 * (1 - masks)).astype(np.uint8)
    return [*rows, ("as seen: mask and joints", overlay_skeletons(cut, seen.keypoints[shown]))]


def _mean(numbers: dict[str, dict[str, float]]) -> dict[str, float]:
    """Mean of each metric over the videos that have it."""
    found = {name: [row[name] for row in numbers.values() if name in row] for name in METRICS}
    return {name: float(np.mean(values)) for name, values in found.items() if values}


def _missing(reasons: dict[str, dict[str, str]]) -> dict[str, str]:
    """Reasons by metric; where not all videos lack it for the same reason, by metric and video."""
    out: dict[str, str] = {}
    for name in METRICS:
        found = {video: row[name] for video, row in reasons.items() if name in row}
        if len(found) == len(reasons) and len(set(found.values())) == 1:
            out[name] = next(iter(found.values()))
        else:
            out |= {f"{name} of {video}": why for video, why in found.items()}
    return out


def _write(made: Evaluation, rows: list[tuple[str, np.ndarray]]) -> None:
    with write_aside(made.out / "metrics.json") as aside:
        aside.write_text(to_json(made) + "\n", encoding="utf-8")
    names = [name for name in METRICS if name in made.mean]
    lines = ["| video | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    everything = made.videos | ({"mean": made.mean} if len(made.videos) > 1 else {})
    for name, row in everything.items():
        cells = [name.replace("|", "\\|"), *(_text(row.get(metric)) for metric in names)]
        lines.append("| " + " | ".join(cells) + " |")
    with write_aside(made.out / "table.md") as aside:
        aside.write_text("\n".join(lines) + "\n", encoding="utf-8")
    video.contact_sheet(made.out / "contact_sheet.png", rows)


def _tell(made: Evaluation) -> None:
    """A line for each reason why something is missing."""
    by_reason: dict[str, list[str]] = {}
    for name, why in made.missing.items():
        by_reason.setdefault(why, []).append(name)
    for why, names in by_reason.items():
        say(f"[yellow]not measured[/yellow]: {escape(', '.join(names))}: {escape(why)}")
    say(f"wrote [bold]{escape(str(made.out))}[/bold]")


def _text(value: Any) -> str:
    return "" if value is None else f"{value:.3f}"
