"""`aa evaluate --bench cast`: videos of held-out people from one picture each, by our method, its
ablations and baselines, compared with the renderer's truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from animateanywhere import __version__
from animateanywhere.backbones.base import find_base, hash_of
from animateanywhere.commands.cast_baselines import (
    KNOWN,
    METHODS,
    Bases,
    Made,
    check_methods,
    train_ablation,
    words_of,
)
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import require_writable
from animateanywhere.core.messages import progress, quietly, say
from animateanywhere.core.run_folder import owned
from animateanywhere.evaluation.held_out import SUBJECTS
from animateanywhere.evaluation.instruments import Instruments, instruments
from animateanywhere.evaluation.records import is_benchmark, scored
from animateanywhere.evaluation.report import write_report
from animateanywhere.evaluation.report_page import Section, write_page
from animateanywhere.media import video
from animateanywhere.methods.context_anyone.ablations import ABLATIONS
from animateanywhere.methods.context_anyone.held_out import PEOPLE, STRATA, Case, Person, person
from animateanywhere.methods.context_anyone.truth import (
    COLUMNS,
    check_aims,
    measure_free,
    measure_posed,
)

FEWER = 3  # people, with `fast`
SHOWN = 4  # people in the contact sheet
MEASURES = 3  # version of what is measured; with another, scores are made again
TEXT = (
    "The first table is of videos in the pose of the true one. Without a pose, a video is compared "
    "with the person rendered as it shows them, in the scene that was asked for."
)
KINDS = {"posed": "with the pose", "free": "without"}


def cast_benchmark(
    out: Path,
    *,
    subjects: int | None = None,
    methods: Sequence[str] = (),
    fast: bool = False,
    base: str = "mini-cast",
) -> Path:
    """Run the benchmark of `aa cast`, or resume it; returns `out`, which contains
    `metrics-cast.json`, `table-cast.md`, `contact_sheet-cast.png` and `report-cast.html`, or the
    same with `-fast`.

    The people, scenes and motions of `--bench puppets`, each person known from one picture taken
    elsewhere. Every method makes each case twice, in the pose of the true video and by words alone.
    subjects: number of people. methods: names of KNOWN; by default all of METHODS. Those of
    ABLATIONS are trained first, in `bases` of `out`. fast: three people, one scene each, 12 people
    to be recognized among instead of 100, without learning anybody. Results in `out` for the same
    base are reused. Raises UsageError for an unknown method, for a base that cannot do this, and
    for an ablation of a base whose recipe is not known.
    """
    if subjects is not None and subjects > PEOPLE:
        raise UsageError(f"--subjects {subjects}: the cast benchmark has {PEOPLE} people")
    bases = Bases(find_base(base), fast, out / "bases")
    chosen = _chosen(methods, fast)
    check_methods(chosen, bases.folder)
    config = bases.ours.config  # a base that cannot is refused before anything is rendered
    if "parts" not in config:
        raise UsageError(
            f"--base {base}: the benchmark is of rendered people, and this base learned from "
            "footage; give one such as mini-cast"
        )
    require_writable(out)
    setting = "cast-fast" if fast else "cast"
    with owned(out, "benchmark", is_benchmark):
        for name in chosen:
            if name in ABLATIONS:
                train_ablation(bases, name)
        people = range(subjects or (FEWER if fast else SUBJECTS))
        shown: list[tuple[str, np.ndarray]] = []
        tools = instruments(find_base(str(config["parts"])))
        with progress("benchmark", total=len(people) * len(chosen)) as bar:
            for number in people:
                one = person(number, config, fast)
                bases.references.clear()
                for name in chosen:
                    _score(name, one, bases, tools, out / setting / name / f"{number:02}")
                    bar.advance(1)
                shown += sheet(one, chosen, out / setting) if number < SHOWN else []
        pictures = out / f"contact_sheet-{setting}.png"
        video.contact_sheet(pictures, shown)
        tables = write_report(
            out, setting, {name: method.title for name, method in KNOWN.items()}, bases.hash,
            columns=COLUMNS, aims=check_aims, strata=STRATA, held_against="third",
        )  # fmt: skip
        title = f"People of one picture each, in videos of {config['name']}"
        sections = [Section("Against the renderer's truth", TEXT, tables)]
        write_page(out / f"report-{setting}.html", title, sections, pictures)
    return out


def _chosen(methods: Sequence[str], fast: bool) -> list[str]:
    """The methods to compare; says which is left out, and why."""
    names = list(methods or METHODS)
    if fast and not methods:
        names.remove("personalized")
        say(
            "left out by --fast: personalized, which takes minutes a person (--methods asks for it)"
        )
    return names


def _score(name: str, one: Person, bases: Bases, tools: Instruments, place: Path) -> dict[str, Any]:
    """Mean scores of a method over a person's cases, and the videos of these in `place`."""
    key = {"base": bases.hash, "version": __version__, "fast": bases.fast, "measures": MEASURES,
           "faces": tools.face_detector is not None}  # fmt: skip
    if name in ABLATIONS:
        key["trained"] = hash_of(bases.trained / name)

    def cases() -> list[dict[str, Any]]:
        rows = []
        place.mkdir(parents=True, exist_ok=True)
        for number, case in enumerate(one.cases):
            with quietly():
                made = KNOWN[name].make(bases, one, case, place, 100 * one.number + number)
            for kind, frames in made._asdict().items():
                if frames is not None:
                    video.write(place / f"case{number}-{kind}.mp4", frames, case.fps)
            rows.append(_measured(tools, made, one, case))
        return rows

    return scored(place / "scores.json", key, cases)


def _measured(tools: Instruments, made: Made, one: Person, case: Case) -> dict[str, Any]:
    """The scores of a case's videos."""
    scores: dict[str, Any] = {"delta_e_parts": {}}
    if made.posed is not None:
        scores |= measure_posed(tools, made.posed, one, case)
    if made.free is not None:
        scores |= measure_free(tools, made.free, one, case)
    return scores


def sheet(one: Person, methods: Sequence[str], folder: Path) -> list[tuple[str, np.ndarray]]:
    """Rows of the contact sheet: a person's picture, and each case's true video and those of all
    methods."""
    rows = [(f"person {one.number}: picture", one.shot.frames)]
    for number, case in enumerate(one.cases):
        rows.append((f"ground truth: {words_of(case, 'the person')}", case.truth.frames))
        for name in (name for name in methods if name != "truth"):
            place = folder / name / f"{one.number:02}"
            files = {kind: place / f"case{number}-{kind}.mp4" for kind in KINDS}
            if name in ("pasted", "vae"):  # both are one
                del files["free"]
            for kind, path in files.items():
                if path.is_file():
                    words = KNOWN[name].title + f", {KINDS[kind]}" * (len(files) > 1)
                    rows.append((words, video.read(path).frames))
    return rows
