"""`aa evaluate --bench swap`: held-out people put into held-out scenes by our method and by
baselines, compared with the true renders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from animateanywhere import __version__
from animateanywhere.backbones.base import find_base, hash_of
from animateanywhere.commands.swap_baselines import (
    ABLATED,
    METHODS,
    Bases,
    coded,
    first_checkpoint,
    region_of,
)
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import require_writable
from animateanywhere.core.messages import progress, quietly, say
from animateanywhere.core.run_folder import owned
from animateanywhere.evaluation.perception import Perception, load_perception, perception_of
from animateanywhere.evaluation.records import is_benchmark, scored
from animateanywhere.evaluation.report import write_report
from animateanywhere.evaluation.report_page import Section, write_page
from animateanywhere.media import video
from animateanywhere.methods.anycharv.as_found import as_found, shows_nobody
from animateanywhere.methods.anycharv.full_size import is_full_size
from animateanywhere.methods.anycharv.held_out import PEOPLE, STRATA, Guest, guest
from animateanywhere.methods.anycharv.swap_base import reference_size
from animateanywhere.methods.anycharv.truth import COLUMNS, check_aims, measure_swap

FEWER = 3  # people, with `fast`
SHOWN = 4  # people in the contact sheet
MEASURES = 7  # version of what is made and measured; with another, scores are made again
ROWS = METHODS | ABLATED
FOUND = "-found"  # appended to the setting: with poses and masks as found
FOUND_TEXT = (
    "Those methods again that look at poses or masks, with the ones that the perception network of "
    "the base finds in the picture and the scene. The measures are against the same true videos."
)


def swap_benchmark(
    out: Path,
    *,
    subjects: int | None = None,
    methods: Sequence[str] = (),
    fast: bool = False,
    base: str = "mini-swap",
    ablations: Mapping[str, Path] | None = None,
) -> Path:
    """Run the benchmark of `aa swap`, or resume it; returns `out`, which contains
    `report-swap.html`, `metrics-swap.json`, `table-swap.md` and `contact_sheet-swap.png`, or the
    same with `-fast`, and `metrics-` and `table-` of what those methods make that look at poses and
    masks with these as found (`-found`).

    Held-out people are put into held-out scenes, two each, from one picture: with exact poses and
    masks, and with those that the perception network finds in picture and scene. subjects: number
    of people. methods: names of METHODS; by default all that can run. fast: three people, one scene
    each, without learning anybody. ablations: folders of bases by name (`swap_ablations`), each a
    row. Results in `out` for the same bases are reused. Raises UsageError for an unknown method,
    and for one of stage 1 whose weights the base does not have.
    """
    folder = find_base(base)
    require_people(subjects)
    bases = Bases(folder, fast, dict(ablations or {}))
    if is_full_size(bases.ours):
        raise UsageError(
            f"--base {base}: the benchmark compares a base for swaps with the one that it was "
            "trained from, and this one comes from none; give one such as mini-swap"
        )
    reference_size(bases.ours)  # a base that cannot swap is refused before anything is rendered
    chosen = [*_chosen(methods, folder, fast), *bases.ablations]
    require_writable(out)
    setting = "swap-fast" if fast else "swap"
    with owned(out, "benchmark", is_benchmark):
        people = range(subjects or (FEWER if fast else PEOPLE))
        size = max(reference_size(bases.ours))
        shown: list[Guest] = []
        net = load_perception(perception_of(find_base(str(bases.ours.config["parts"]))))
        looking = [name for name in chosen if ROWS[name].looks]
        with progress("benchmark", total=len(people) * (len(chosen) + len(looking))) as bar:
            for number in people:
                one = guest(number, bases.ours.config, size, fast)
                shown += [one] if number < SHOWN else []
                look = cache(partial(as_found, net, one))
                for form, names in ((setting, chosen), (setting + FOUND, looking)):
                    bases.kept.clear()
                    for name in names:
                        _score(name, one, look, bases, net, out, form)
                        bar.advance(1)
        _report(out, setting, bases, shown, chosen)
    return out


def require_people(subjects: int | None) -> None:
    """Raise UsageError for more people than there are."""
    if subjects is not None and subjects > PEOPLE:
        raise UsageError(f"--subjects {subjects}: the swap benchmark has {PEOPLE} people")


def _report(
    out: Path, setting: str, bases: Bases, shown: list[Guest], chosen: Sequence[str]
) -> None:
    """Write the tables of both forms, the contact sheet, and the page."""
    titles = {name: method.title for name, method in ROWS.items()}
    exact = write_report(
        out, setting, titles, bases.hash, columns=COLUMNS, aims=check_aims, strata=STRATA
    )
    found = write_report(
        out, setting + FOUND, titles, bases.hash, columns=COLUMNS, aims=lambda *_: [],
        strata=STRATA,
    )  # fmt: skip
    pictures = out / f"contact_sheet-{setting}.png"
    video.contact_sheet(pictures, sheet(shown, chosen, out, setting))
    sections = [Section("With exact poses and masks", "", exact)]
    if any(table.rows for table in found):
        sections.append(Section("With poses and masks as found", FOUND_TEXT, found))
    name = bases.ours.config["name"]
    write_page(out / f"report-{setting}.html", f"People put into scenes by {name}", sections,
               pictures)  # fmt: skip


def _chosen(methods: Sequence[str], folder: Path, fast: bool) -> list[str]:
    """The names of the methods to run; says which of all are left out, and why."""
    for name in methods:
        if name not in METHODS:
            raise UsageError(f"no method {name}: give one of {', '.join(METHODS)}")
    names, stage1 = list(methods or METHODS), ("stage1_fine", "stage1_box")
    if first_checkpoint(folder) is None:
        if methods and any(name in stage1 for name in methods):
            raise UsageError(
                f"{folder}: no weights of stage 1; they are in training/ of the folder that "
                "`aa base-train` wrote"
            )
        names = [name for name in names if name not in stage1]
        if not methods:
            say("left out: stage1_fine and stage1_box, as the base has no weights of stage 1")
    if fast and not methods:
        names.remove("personalized")
        say(
            "left out by --fast: personalized, which takes minutes a person (--methods asks for it)"
        )
    return names


def _score(
    name: str, one: Guest, look: Callable[[], Guest], bases: Bases, net: Perception, out: Path,
    form: str,
) -> dict[str, Any]:  # fmt: skip
    """Mean scores of a method over a person's cases, and the videos of these, in `out`/FORM.

    look: gives the person and the scenes as found, as the method knows them in a form that ends in
    `FOUND`. Where that shows nobody, the scene stays as it is.
    """
    place = out / form / name / f"{one.number:02}"
    learned = out / form.removesuffix(FOUND) / name / f"{one.number:02}"  # for both forms
    key = {"base": bases.hash, "version": __version__, "fast": bases.fast,
           "measures": MEASURES}  # fmt: skip
    if name in bases.ablations:
        key["ablation"] = hash_of(bases.ablations[name])

    def cases() -> list[dict[str, Any]]:
        rows = []
        seen = look() if form.endswith(FOUND) else one
        place.mkdir(parents=True, exist_ok=True)
        for number, (case, known) in enumerate(zip(one.cases, seen.cases, strict=True)):
            seed = 100 * one.number + number
            method = ROWS["scene" if shows_nobody(seen, known) else name]
            with quietly():
                made = method.make(bases, seen, known, learned, seed)
            video.write(place / f"case{number}.mp4", made.frames, one.fps)
            empty = coded(bases, case, seed)
            rows.append(measure_swap(net, made.frames, case, region_of(known), made.matte, empty))
        return rows

    return scored(place / "scores.json", key, cases)


def sheet(
    people: list[Guest], methods: Sequence[str], out: Path, setting: str
) -> list[tuple[str, np.ndarray]]:
    """Rows of the contact sheet: each person's picture, and each case's scene, true video and
    videos of all methods."""
    rows = []
    for one in people:
        rows.append((f"person {one.number}: picture", one.picture.frames))
        for number, case in enumerate(one.cases):
            kinds = ", ".join(case.strata) or "any"
            rows.append((f"scene {number} ({kinds})", case.scene.frames))
            rows.append(("ground truth", case.truth.frames))
            for name in methods:
                for form, words in ((setting, ""), (setting + FOUND, ", as found")):
                    path = out / form / name / f"{one.number:02}" / f"case{number}.mp4"
                    if path.is_file() and name not in ("truth", "scene"):
                        rows.append((ROWS[name].title + words, video.read(path).frames))
    return rows
