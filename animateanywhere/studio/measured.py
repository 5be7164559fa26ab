"""What was measured in a run, to show: curves of trainings as `aa runs show` has them, and the
tables and pictures that `aa evaluate` wrote."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from animateanywhere.commands.run_stages import StagePage, stage_page
from animateanywhere.commands.run_state import stages_of
from animateanywhere.commands.runs import find_run
from animateanywhere.core.json_file import read_table
from animateanywhere.evaluation.written import read_tables
from animateanywhere.studio.place import Place, Unknown

LARGEST = 2**20  # bytes of a file with tables


def measured(place: Place, name: str) -> dict[str, Any]:
    """Stages with their curves, and reports with their tables, of a run by its id. Raises Unknown
    for what is no run."""
    path = place.path_of(name)
    if not path.is_dir():
        raise Unknown(name)
    run = find_run(str(path.relative_to(place.runs)), place.runs)
    problems = list(run.problems)
    stages = [_shown(stage_page(run, stage, problems)) for stage in stages_of(path)[0]]
    files = [one for one in sorted(path.glob("table*.md"))
             if place.holds(one) and one.is_file() and one.stat().st_size <= LARGEST]  # fmt: skip
    return {"stages": stages, "reports": [_report(place, one) for one in files],
            "problems": problems}  # fmt: skip


def _shown(stage: StagePage) -> dict[str, Any]:
    """A stage, its curves without the places to hover over."""
    kinds = {"main": stage.main, "curves": stage.curves, "scores": stage.scores}
    curves = {
        kind: [curve._replace(points=[])._asdict() for curve in some]
        for kind, some in kinds.items()
    }
    return asdict(stage) | curves


def _report(place: Place, file: Path) -> dict[str, Any]:
    """A file of `aa evaluate`: table.md of a video or run, or table-SETTING.md of a benchmark."""
    tables, notes = read_tables(file.read_text(encoding="utf-8", errors="replace"))
    setting = file.stem.removeprefix("table")
    missing = read_table(file.with_name(f"metrics{setting}.json")).get("missing")
    sheet = file.with_name(f"contact_sheet{setting}.png")
    return {
        "name": setting.removeprefix("-"), "notes": notes,
        "tables": [{"title": one.title, "head": one.head, "rows": one.rows,
                    "intervals": one.intervals()} for one in tables],
        "missing": missing if isinstance(missing, dict) else {},
        "sheet": place.id_of(sheet) if sheet.is_file() else None,
    }  # fmt: skip
