"""`aa bases`: the list of bases, with their requirements and whether they are ready here."""

from __future__ import annotations

import tomllib
from typing import NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding

from animateanywhere.backbones.base import BUNDLED, find_base
from animateanywhere.core.errors import UsageError
from animateanywhere.core.paths import recipes_folder
from animateanywhere.methods.animate_anywhere.settings import Recipe, load_recipe


class Row(NamedTuple):
    name: str
    videos: str  # size and length
    license: str
    needs: str  # hardware
    ready: str  # folder and size on disk, "" if it is not there
    made: str  # command that creates it, and what that does


def bases() -> list[Row]:
    """All bases for which there is a recipe, sorted by name."""
    rows = []
    for path in sorted(recipes_folder().glob("*.toml")):
        if "model" not in tomllib.loads(path.read_text(encoding="utf-8")):
            continue  # it learns a person, or belongs to another method
        recipe = load_recipe(path)
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
    return sorted(rows)


def show(rows: list[Row]) -> None:
    """Print a paragraph for each base to stderr."""
    console = Console(stderr=True, highlight=False, emoji=False)
    for row in rows:
        console.print(f"[bold]{escape(row.name)}[/]: {escape(row.videos)}; {escape(row.license)}")
        about = escape(f"needs {row.needs}\n{'ready: ' * bool(row.ready)}{row.ready or row.made}")
        console.print(Padding(about, (0, 0, 1, 2), expand=False))


def _makes(recipe: Recipe) -> str:
    """What the command that creates a base does, in short."""
    parts = recipe.model.tables().values()
    public = list(dict.fromkeys(part["from"] for part in parts if "from" in part))
    steps = sum(stage.steps for stage in recipe.stage)
    does = [f"downloads {', '.join(name.split('/')[-1] for name in public)}"] if public else []
    does += [f"trains {steps:,} steps in {len(recipe.stage)} stages"] if steps else []
    return "; ".join(does)
