"""The ways in which bases put a character into a scene. Which one a base takes is decided here."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from animateanywhere.backbones.base import (
    Base,
    base_config,
    family_in,
    family_of,
    find_base,
    load_base,
)
from animateanywhere.core.errors import UsageError
from animateanywhere.core.paths import recipes_folder
from animateanywhere.methods.anycharv import generation, vace
from animateanywhere.methods.anycharv.swap_base import COMMAND, load_swap_base

CANNOT = (
    "this base cannot put the person of a picture into a scene: mini-swap, anycharv and "
    "wan-vace-1.3b can; or learn the person first, by `aa personalize`"
)


@dataclass(frozen=True)
class Route:
    """One of the ways; the functions are those of `generation` or of `vace`."""

    load: Callable[[str | Path], Base]
    # (base, pictures, masks, poses, prompt) -> the character, for:
    read_character: Callable[..., Any]
    # (base, character, scene, region, poses, options, progress) -> latents
    swap_latents: Callable[..., Tensor]
    prompted: bool  # whether the base is one of `aa generate` and reads a prompt as well


def route_of(name: str | Path) -> Route:
    """The way of a base, given as for `find_base`. Raises UsageError if it cannot swap."""
    try:
        folder = find_base(name)
    except UsageError:
        if _is_of_another_command(name):  # before it is downloaded in vain
            raise UsageError(f"base {name}: {CANNOT}") from None
        raise
    if base_config(folder).get("command") == COMMAND:
        return Route(load_swap_base, _unprompted, generation.swap_latents, False)
    if family_in(folder).encode_region is not None:
        return Route(load_base, vace.read_character, vace.swap_latents, True)
    raise UsageError(f"{folder}: {CANNOT}")


def _is_of_another_command(name: str | Path) -> bool:
    """Whether a recipe of this name makes a base that cannot swap."""
    path = recipes_folder() / f"{name}.toml"
    if Path(name).name != str(name) or not path.is_file():
        return False
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    parts = tables.get("model", {})
    return "swap" not in tables and ("cast" in tables or family_of(parts).encode_region is None)


def _unprompted(base: Base, pictures: Any, masks: Any, poses: Any, prompt: str) -> Any:
    return generation.read_character(base, pictures, masks, poses)
