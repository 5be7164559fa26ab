"""Recipes: TOML files that become a method's frozen dataclasses; unknown keys are errors."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from animateanywhere.core.errors import UsageError
from animateanywhere.core.messages import warn
from animateanywhere.core.paths import recipes_folder
from animateanywhere.core.schema import build

T = TypeVar("T")


def load_recipe(
    name_or_path: str | Path, schema: type[T], renamed: Mapping[str, str] | None = None
) -> T:
    """Read a recipe by bare name (`mini`) or path, as a dataclass of class `schema`.

    schema: has a field `name`, which becomes the file's own. renamed: keys of earlier releases by
    the dotted names of their tables ("loss.keep"), and what they are called now ("extras.weight");
    those of `stage.` are keys of each [[stage]]. They go on working, with a warning.

    Raises UsageError where there is no such recipe, or what it says does not fit the schema.
    """
    path = find_recipe(name_or_path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"{path} is not a TOML file: {error}") from None
    for old, new in (renamed or {}).items():
        if _rename(table, old, new, str(path)):
            warn(f"{path}: {old} is now {new}; the old name will not be read by the next release")
    recipe: T = build(schema, {"name": path.stem, **table}, str(path))
    return recipe


def find_recipe(name_or_path: str | Path) -> Path:
    """The file of a recipe. Raises UsageError where there is none."""
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = recipes_folder() / f"{name_or_path}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in recipes_folder().glob("*.toml")))
        raise UsageError(f"no recipe {name_or_path}: give a .toml file or one of {known}")
    return path


def _rename(table: dict[str, Any], old: str, new: str, where: str) -> bool:
    """Move a key to its new name in place; return whether it was there."""
    (old_table, old_key), (new_table, new_key) = old.split("."), new.split(".")
    there = table.get(old_table)
    found = False
    for some in there if isinstance(there, list) else [there]:
        if not isinstance(some, dict) or old_key not in some:
            continue
        target = some if new_table == old_table else table.setdefault(new_table, {})
        if new_key in target:
            raise UsageError(f"{where}: {old} is now {new}, which is there too: remove {old}")
        target[new_key] = some.pop(old_key)
        found = True
    if found and there == {} and new_table != old_table:
        del table[old_table]
    return found
