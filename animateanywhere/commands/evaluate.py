"""`aa evaluate`: metrics and a contact sheet of a video without a ground truth."""

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
from animateanywhere.core.messages import progress, say, warn
from animateanywhere.core.paths import RUNS
from animateanywhere.core.run_folder import owned, require_own
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
MOST, FAST = 128, 16  # frames of a video that are measured, by default and with --fast
REFERENCE = 64  # frames of the reference that are measured
COLUMNS = 8  # of the contact sheet
SIDE_BY_SIDE = 4  # up to so many videos have their own column in the terminal

Detector = Literal["auto", "puppets", "backends"]


class Evaluation(NamedTuple):
    """The result of `evaluate`."""

    out: Path  # folder it was written to
    videos: dict[str, dict[str, float]]  # by video and metric
    mean: dict[str, float]  # by metric
    missing: dict[str, str]  # why a metric is missing, by metric or "<metric> of <video>"


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
    """Measure a video, or every video that `aa generate` wrote to the folder of a run.

    reference: a clip, a picture or a subject folder of the person; by default the run's subject.
    pose: the requested motion, or the folder it is in; by default the file named in the sidecar.
    prompt: by default the sidecar's. Metrics that need a missing input are left out, with a reason.
    out: folder for metrics.json, table.md and contact_sheet.png; by default runs/evaluate/<name>.
    detector: of persons: the bundled perception network ("puppets", for rendered people only) or
    the backends. "auto" uses the network if the sidecar names a base that has one and the subject's
    masks are exact, as those of rendered people are, and where the backends find nobody.
    fast: at most 16 frames, and no identity networks. Raises UsageError for unusable input, such as
    a video without a person.
    """
    backends = backends or Backends()
    out = out or FOLDER / (path.resolve().stem or "video")
    require_writable(out)
    targets = find_targets(path)
    require_own(out, "evaluate", _is_result)
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
            own = _own_network(target)
            net = _network(detector, own, source)
            if net is None and not settled:  # only once, since each choice prints a message
                finder, segmenter = (
                    choose_backend(kind, backends, target.video) for kind in ("pose", "mask")
                )
                backends, settled = replace(backends, pose=finder, mask=segmenter), True
            most = FAST if fast else MOST
            observed = observe(target.video, most, backends, net)
            if detector == "auto" and net is None and not observed.has_person.any():
                observed = _observe_blurred(target, most, backends, own) or observed
            if not observed.has_person.any() and len(targets) == 1:
                raise UsageError(f"{target.video}: {_nobody(observed)}; try another --detector")
            if source is None:
                lacking["reference"] = "no --reference"
            elif (source, net is None) not in known:
                known[source, net is None] = _reference(source, fast, backends, net)
                rows += _rows(f"reference: {source.name}", known[source, net is None])
            requested = None
            try:
                motion, given = find_motion(target, pose), pose is not None
                requested = requested_motion(target, motion, observed, backends, trusted=given)
            except UsageError as error:
                if pose is not None:
                    raise
                lacking["motion"] = str(error)
            text = target.prompt(prompt)
            if text is None:
                lacking["prompt"] = "no --prompt"
            person = None if source is None else known[source, net is None]
            scores = score(observed, person, requested, text, nets, others)
            numbers[target.name], reasons[target.name] = measured_and_missing(scores, lacking)
            title = target.name if text is None else f"{target.name}: {text}"
            rows += _rows(title, observed, requested)
            bar.advance(1)
    evaluation = Evaluation(out, numbers, _mean(numbers), _missing(reasons))
    with owned(out, "evaluate", _is_result):
        _write(evaluation, rows)
    _report_missing(evaluation)
    return evaluation


def show(evaluation: Evaluation) -> None:
    """Print a table to stderr."""
    several, few = len(evaluation.videos) > 1, len(evaluation.videos) <= SIDE_BY_SIDE
    table = Table(title=escape(str(evaluation.out)), title_justify="left", box=None)
    table.add_column("metric", no_wrap=True)
    names = list(evaluation.videos) if few else ["lowest", "highest"]
    for name in [*names, "mean"] if several else ["value"]:
        table.add_column(escape(name), justify="right", overflow="fold")
    table.add_column("good", no_wrap=True)
    if not several:
        table.add_column("what", style="dim")
    for name, (what, more) in METRICS.items():
        values = [row.get(name) for row in evaluation.videos.values()]
        measured = [value for value in values if value is not None]
        if not measured:
            continue
        shown = [*values] if few else [min(measured), max(measured)]
        cells = [*shown, evaluation.mean[name]] if several else shown
        good = {True: "high", False: "low", None: "as requested"}[more]
        table.add_row(name, *map(_text, cells), good, *([] if several else [what]))
    Console(stderr=True, highlight=False, emoji=False).print(table)


def to_json(evaluation: Evaluation) -> str:
    """The content of metrics.json."""
    content = evaluation._asdict()
    del content["out"]
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)


def _subject_of(target: Target) -> Path | None:
    """The subject folder of the run that a video belongs to."""
    places = [folder / SUBJECT for folder in (target.run, target.video.parent)]
    own = target.sidecar is not None and target.sidecar.get("token")
    return next((place for place in places if own and read_settings(place)), None)


def _own_network(target: Target) -> Path | None:
    """The perception network of the base that generated a video, None where there is none."""
    if target.sidecar is None:
        return None
    folder = BUNDLED
    with suppress(UsageError):  # the base is not on this machine
        folder = find_base(str(target.sidecar["base"].get("name")))
    own = folder / "perception"
    return own if own.is_dir() else None


def _network(detector: Detector, own: Path | None, source: Path | None) -> Perception | None:
    """The perception network, if it is to be used for a video; None for the backends."""
    if detector == "auto":
        exact = source is not None and read_settings(source).get("mask") == "exact"
        detector = "puppets" if own is not None and exact else "backends"
    return None if detector == "backends" else load_perception(own or perception_of(BUNDLED))


def _observe_blurred(
    target: Target, most: int, backends: Backends, own: Path | None
) -> Observed | None:
    """A video in which the backends find nobody, as the perception network of its base sees it;
    None if that finds nobody either. Prints that it was used."""
    if own is None:
        return None
    observed = observe(target.video, most, backends, load_perception(own))
    if not observed.has_person.any():
        return None
    warn(
        f"{escape(target.name)}: {backends.pose} finds nobody in frames as blurred as this base's; "
        "measured by its own network for rendered people, which is less exact"
    )
    return observed


def _reference(path: Path, fast: bool, backends: Backends, net: Perception | None) -> Observed:
    observed = observe_reference(path, FAST if fast else REFERENCE, backends, net)
    if not observed.has_person.any():
        raise UsageError(f"{path}: {_nobody(observed)}; give a clip that shows the person")
    return observed.person_frames()


def _nobody(observed: Observed) -> str:
    return f"no person found in its {len(observed.frames)} frames"


def _rows(
    name: str, observed: Observed, requested: np.ndarray | None = None
) -> list[tuple[str, np.ndarray]]:
    """A clip's rows of the contact sheet: requested motion, frames, and detected person."""
    count = len(observed.frames) if requested is None else len(requested)
    shown = evenly_spaced(count, COLUMNS)
    frames, masks = observed.frames[shown], observed.masks[shown, ..., None]
    rows = [(name, frames)]
    if requested is not None:
        rows.insert(0, ("requested motion", skeleton.draw(requested[shown], *frames.shape[1:3])))
    cut = (frames * masks + 255 * (1 - masks)).astype(np.uint8)
    return [*rows, ("detected mask and joints", overlay_skeletons(cut, observed.keypoints[shown]))]


def _mean(numbers: dict[str, dict[str, float]]) -> dict[str, float]:
    """Mean of each metric over the videos that have it."""
    found = {name: [row[name] for row in numbers.values() if name in row] for name in METRICS}
    return {name: float(np.mean(values)) for name, values in found.items() if values}


def _missing(reasons: dict[str, dict[str, str]]) -> dict[str, str]:
    """Reasons by metric; by metric and video if it is not missing for one reason in all videos."""
    out: dict[str, str] = {}
    for name in METRICS:
        found = {video: row[name] for video, row in reasons.items() if name in row}
        if len(found) == len(reasons) and len(set(found.values())) == 1:
            out[name] = next(iter(found.values()))
        else:
            out |= {f"{name} of {video}": why for video, why in found.items()}
    return out


def _write(evaluation: Evaluation, rows: list[tuple[str, np.ndarray]]) -> None:
    out, videos, mean, _ = evaluation
    with write_aside(out / "metrics.json") as aside:
        aside.write_text(to_json(evaluation) + "\n", encoding="utf-8")
    names = [name for name in METRICS if name in mean]
    lines = ["| video | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    everything = videos | ({"mean": mean} if len(videos) > 1 else {})
    for name, row in everything.items():
        cells = [name.replace("|", "\\|"), *(_text(row.get(metric)) for metric in names)]
        lines.append("| " + " | ".join(cells) + " |")
    good = {True: "higher is better", False: "lower is better", None: "as requested is best"}
    lines += ["", *(f"- {name}: {METRICS[name][0]}; {good[METRICS[name][1]]}" for name in names)]
    with write_aside(out / "table.md") as aside:
        aside.write_text("\n".join(lines) + "\n", encoding="utf-8")
    video.contact_sheet(out / "contact_sheet.png", rows)


def _is_result(folder: Path) -> bool:
    """Whether a folder without a mark is a result of version 0.1, which wrote none."""
    return all((folder / n).is_file() for n in ("metrics.json", "table.md", "contact_sheet.png"))


def _report_missing(evaluation: Evaluation) -> None:
    """Print a line for each reason why metrics are missing."""
    by_reason: dict[str, list[str]] = {}
    for name, why in evaluation.missing.items():
        by_reason.setdefault(why, []).append(name)
    for why, names in by_reason.items():
        say(f"[yellow]not measured[/yellow]: {escape(', '.join(names))}: {escape(why)}")
    say(f"wrote [bold]{escape(str(evaluation.out))}[/bold]")


def _text(value: Any) -> str:
    return "" if value is None else f"{value:.3f}"
