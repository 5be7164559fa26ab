"""The ways in which bases put a character into a scene. Which one a base takes is decided here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from animateanywhere.backbones.base import Base, base_config, family_in, find_base, load_base
from animateanywhere.core.errors import UsageError
from animateanywhere.methods.anycharv import generation, vace
from animateanywhere.methods.anycharv.swap_base import COMMAND, load_swap_base


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
    folder = find_base(name)
    if base_config(folder).get("command") == COMMAND:
        return Route(load_swap_base, _unprompted, generation.swap_latents, False)
    if family_in(folder).encode_region is not None:
        return Route(load_base, vace.read_character, vace.swap_latents, True)
    raise UsageError(
        f"{folder}: this base cannot put the person of a picture into a scene; give one that "
        "`aa base-train mini-swap` made, anycharv or wan-vace-1.3b"
    )


def _unprompted(base: Base, pictures: Any, masks: Any, poses: Any, prompt: str) -> Any:
    return generation.read_character(base, pictures, masks, poses)
