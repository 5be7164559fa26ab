"""Recipes: TOML files that are read as frozen dataclasses of a method; unknown keys are errors."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from rich.markup import escape

from animateanywhere.core.errors import UsageError
from animateanywhere.core.messages import warn
from animateanywhere.core.paths import recipes_folder
from animateanywhere.core.schema import build

T = TypeVar("T")


def load_recipe(
    name_or_path: str | Path, schema: type[T], renamed: Mapping[str, str] | None = None
) -> T:
    """Read a recipe by its name (`mini`) or path, as an instance of the dataclass `schema`.

    schema: has a field `name`, which is set to the file's name. renamed: deprecated keys and their
    new names, as "table.key" ("loss.keep": "extras.background_weight"); "stage.key" is a key of
    each [[stage]]. They still work, with one warning each.

    Raises UsageError if there is no such recipe, or if it does not match the schema.
    """
    path = find_recipe(name_or_path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Windows' editor adds a mark
    except (ValueError, RecursionError, OSError) as error:
        raise UsageError(f"{path} is not a TOML file: {error}") from None
    for old, new in (renamed or {}).items():
        if _rename(table, old, new, str(path)):
            warn(
                escape(
                    f"{path}: {_title(old)} is deprecated and will be removed in the next release; "
                    f"use {_title(new)}"
                )
            )
    _drop_old_tables(table, renamed or {}, str(path))
    recipe: T = build(schema, {"name": path.stem, **table}, str(path))
    return recipe


def has_table(name_or_path: str | Path, table: str) -> bool:
    """Whether a recipe has a table: by that of its method, [swap] or [cast], it is known which
    method it is for. Raises UsageError if there is no such recipe."""
    path = find_recipe(name_or_path)
    try:
        return table in tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return False  # the loader says what is wrong


def find_recipe(name_or_path: str | Path) -> Path:
    """The file of a recipe, by name or path. Raises UsageError if there is none."""
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = recipes_folder() / f"{name_or_path}.toml"
    if not path.is_file():
        known = sorted(p.stem for p in recipes_folder().glob("*.toml"))
        near = difflib.get_close_matches(str(name_or_path), known, 1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise UsageError(
            f"no recipe {name_or_path}: {meant}give a .toml file or one of {', '.join(known)}"
        )
    return path


def _rename(table: dict[str, Any], old: str, new: str, where: str) -> bool:
    """Move the value of a deprecated key to its new name, in place; return whether it was there."""
    (old_table, old_key), (new_table, new_key) = old.split("."), new.split(".")
    content = table.get(old_table)
    found = False
    for some in content if isinstance(content, list) else [content]:
        if not isinstance(some, dict) or old_key not in some:
            continue
        target = some if new_table == old_table else table.setdefault(new_table, {})
        if not isinstance(target, dict):
            raise UsageError(f"{where}: {new_table} must be a table, not {target!r}")
        if new_key in target:
            raise UsageError(
                f"{where}: {_title(old)} is the old name of {_title(new)}, and both are given: "
                f"remove {old_key}"
            )
        target[new_key] = some.pop(old_key)
        found = True
    return found


def _drop_old_tables(table: dict[str, Any], renamed: Mapping[str, str], where: str) -> None:
    """Remove tables all of whose keys have moved elsewhere, in place.

    Raises UsageError for other content of them.
    """
    current = {new.split(".")[0] for new in renamed.values()}
    old_keys: dict[str, list[str]] = {}
    for old in renamed:
        name, key = old.split(".")
        old_keys.setdefault(name, []).append(key)
    for name in old_keys.keys() - current:
        content = table.pop(name, {})
        if not isinstance(content, dict):
            raise UsageError(f"{where}: {name} must be a table, not {content!r}")
        for key in content:
            near = difflib.get_close_matches(key, old_keys[name], 1)
            meant = near or old_keys[name]
            new = ", ".join(_title(renamed[f"{name}.{old}"]) for old in meant)
            raise UsageError(f"{where}: {name}: unknown key {key}: did you mean {new}?")


def _title(name: str) -> str:
    """A key as users write it: "loss.alpha" -> "[loss] alpha"."""
    table, key = name.split(".")
    return f"[[stage]] {key}" if table == "stage" else f"[{table}] {key}"
