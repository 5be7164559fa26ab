"""The bases that are ready here, for each command."""

from __future__ import annotations

import tomllib
from typing import Any, Literal

from animateanywhere.core.errors import UsageError
from animateanywhere.core.paths import ASSETS
from animateanywhere.studio.form import Form, text_of
from animateanywhere.studio.place import Place

Command = Literal["generate", "swap", "cast"]
SHOWN = ("fps", "frames", "size", "steps", "guidance_scale")


def bases(place: Place, command: Command = "generate") -> list[dict[str, Any]]:
    """The bases for a command: name, frames per second, length and width of a clip, and whether a
    swap reads words as well. That of the command's default is the first."""
    found: dict[str, dict[str, Any]] = {}
    for path in (*ASSETS.glob("*/base.toml"), *(place.runs / "bases").glob("*/base.toml")):
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        does = table.get("command", "generate")
        vace = "command" not in table and (path.parent / "transformer").is_dir()
        if "fps" in table and (does == command or (vace and command != "generate")):
            name = path.parent.name
            found[name] = {key: table.get(key) for key in SHOWN} | {"name": name, "prompted": vace}
    default = default_of(command)
    return sorted(found.values(), key=lambda one: (one["name"] != default, one["name"]))


def default_of(command: Command) -> str:
    """The name of a command's own base."""
    return "mini" if command == "generate" else f"mini-{command}"


def base_of(place: Place, form: Form, command: Command = "generate") -> str:
    """The name of a base that is ready. Raises UsageError for another one."""
    name = text_of(form, "base") or default_of(command)
    if name not in [one["name"] for one in bases(place, command)]:
        raise UsageError(f"base {name} is not ready here: `aa bases` lists them")
    return name
