"""`aa bases`: which bases there are, what each needs, and which are ready here."""

from __future__ import annotations

from typing import NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from animateanywhere.backbones.base import BUNDLED, find_base
from animateanywhere.core.errors import UsageError
from animateanywhere.core.paths import recipes_folder
from animateanywhere.methods.animate_anywhere.settings import Recipe, load_recipe


class Row(NamedTuple):
    name: str
    videos: str  # their size
    license: str
    needs: str  # to work with it
    ready: str  # its folder and what that takes of the disk, "" where it is not there
    made: str  # how to get it


def bases() -> list[Row]:
    """Every recipe that makes a base, by name."""
    rows = []
    for path in sorted(recipes_folder().glob("*.toml")):
        recipe = load_recipe(path)
        if recipe.stages("appearance", "motion"):
            continue
        model = recipe.model
        try:
            folder = find_base(recipe.name)
            taken = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6
            ready = f"{'bundled' if folder == BUNDLED else folder}, {taken:.0f} MB"
        except UsageError:
            ready = ""
        made = f"aa base-train {recipe.name}: {_makes(recipe)}"
        size = f"{model.size} px, {model.frames} frames"
        rows.append(Row(recipe.name, size, model.license or "yours", model.needs, ready, made))
    return rows


def show(rows: list[Row]) -> None:
    """A table for people, on stderr."""
    table = Table(box=None)
    for column in ("name", "videos", "license", "needs", "ready, or how to get it"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row[:-2]), escape(row.ready or row.made))
    Console(stderr=True, highlight=False).print(table)


def _makes(recipe: Recipe) -> str:
    """What making a base does; the command itself says the files it fetches."""
    parts = recipe.model.tables().values()
    public = list(dict.fromkeys(part["from"] for part in parts if "from" in part))
    steps = sum(stage.steps for stage in recipe.stage)
    does = [f"gathers {', '.join(name.split('/')[-1] for name in public)}"] if public else []
    does += [f"trains {steps:,} steps in {len(recipe.stage)} stages"] if steps else []
    return "; ".join(does)
