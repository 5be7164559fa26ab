"""`aa bases`: the list of bases, with their requirements and whether they are ready here."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding

from animateanywhere.backbones.base import base_config, find_base
from animateanywhere.core.errors import UsageError
from animateanywhere.core.paths import ASSETS, recipes_folder
from animateanywhere.methods.animate_anywhere.settings import Recipe, load_recipe
from animateanywhere.methods.anycharv import settings as swap_settings
from animateanywhere.methods.context_anyone import settings as cast_settings
from animateanywhere.training.stage import Stage


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
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        if "swap" in tables:
            rows.append(_for_swaps(path))
            continue
        if "cast" in tables:
            cast = cast_settings.load_recipe(path)
            rows.append(
                _of_parts(cast, "aa cast") if cast.full_size
                else _borrowing(cast.name, cast.cast.base, cast.stage, "aa cast")
            )  # fmt: skip
            continue
        if "model" not in tables:
            continue  # it learns a person
        recipe = load_recipe(path)
        model = recipe.model
        made = f"aa base-train {recipe.name}: {_makes(recipe)}"
        size = f"{model.size} px, {model.frames} frames"
        ready = _ready(recipe.name)
        rows.append(Row(recipe.name, size, model.license or "yours", model.needs, ready, made))
    return sorted(rows)


def _for_swaps(path: Path) -> Row:
    """The row of a base for `aa swap`, which has the size and license of the one it begins with."""
    recipe = swap_settings.load_recipe(path)
    if recipe.full_size:
        return _of_parts(recipe, "aa swap")
    return _borrowing(recipe.name, recipe.swap.base, recipe.stage, "aa swap")


def _of_parts(recipe: swap_settings.Recipe | cast_settings.Recipe, command: str) -> Row:
    """The row of a base of published parts for another command than `aa generate`."""
    made = f"aa base-train {recipe.name}: {_makes(recipe)}"
    config, needs = recipe.model.base_toml(), recipe.model.needs
    return _row(recipe.name, config, needs, made, command, "not stated")


def _borrowing(name: str, lender: str, stages: Sequence[Stage], command: str) -> Row:
    """The row of a base for another command than `aa generate`, which begins with a base."""
    parts, steps = base_config(find_base(lender)), sum(stage.steps for stage in stages)
    made = (
        f"aa base-train {name}: begins with {lender}; trains {steps:,} steps in {len(stages)} "
        "stages"
    )
    return _row(name, parts, f"what {lender} needs", made, command)


def _row(
    name: str, config: dict[str, Any], needs: str, made: str, command: str, usual: str = "yours"
) -> Row:
    size = f"{config['size']} px, {config['frames']} frames, for `{command}`"
    return Row(name, size, config.get("license") or usual, needs, _ready(name), made)


def _ready(name: str) -> str:
    """Folder and size of a base, "" if it is not there."""
    try:
        folder = find_base(name)
    except UsageError:
        return ""
    taken = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6
    return f"{'bundled' if folder.parent == ASSETS else folder}, {taken:.0f} MB"


def show(rows: list[Row]) -> None:
    """Print a paragraph for each base to stderr."""
    console = Console(stderr=True, highlight=False, emoji=False)
    for row in rows:
        console.print(f"[bold]{escape(row.name)}[/]: {escape(row.videos)}; {escape(row.license)}")
        about = escape(f"needs {row.needs}\n{'ready: ' * bool(row.ready)}{row.ready or row.made}")
        console.print(Padding(about, (0, 0, 1, 2), expand=False))


def _makes(recipe: Recipe | swap_settings.Recipe | cast_settings.Recipe) -> str:
    """What the command that creates a base does, in short."""
    parts = recipe.model.tables().values()
    public = list(dict.fromkeys(part["from"] for part in parts if "from" in part))
    steps = sum(stage.steps for stage in recipe.stage)
    does = [f"downloads {', '.join(name.split('/')[-1] for name in public)}"] if public else []
    does += [f"trains {steps:,} steps in {len(recipe.stage)} stages"] if steps else []
    return "; ".join(does)
