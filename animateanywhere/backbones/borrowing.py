"""Bases for other commands than `aa generate`: a folder with parts of its own, and in base.toml the
name of the base that the others come from (`parts`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from animateanywhere.backbones.base import Base, base_config, find_base, hash_of
from animateanywhere.backbones.spec import Model
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import sha256

NEEDED = ("name", "size", "frames", "fps")  # entries of base.toml


def command_config(
    folder: Path, command: str, does: str, recipe: str, other: str = ""
) -> dict[str, Any]:
    """The contents of base.toml of a base for a command.

    does: what such a base can do, for messages. recipe: that makes one. other: the name of another
    base that can. Raises UsageError for a base of another command, and if the base that its other
    parts come from is no longer the one that it was trained with.
    """
    config = {"guidance_scale": Model.guidance_scale} | base_config(folder)
    if config.get("command") != command:
        raise UsageError(
            f"{folder}: this base cannot {does}; give one that `aa base-train {recipe}` made"
            + (f", or {other}" if other else "")
        )
    if missing := [key for key in NEEDED if key not in config]:
        raise UsageError(
            f"{folder / 'base.toml'}: lacks {' and '.join(missing)}; get the base again"
        )
    parts, known = config.get("parts"), config.get("parts_hash")
    if parts is not None and known is not None and hash_of(find_base(parts)) != known:
        raise UsageError(
            f"{folder}: it was trained with another version of the base {parts}; remove it and run "
            f"`aa base-train {config.get('name', folder.name)}` again"
        )
    return config


def lent_config(lender: str, name: str, command: str) -> dict[str, Any]:
    """The entries of base.toml of a new base with this name and command, as far as the lender gives
    them."""
    parts = find_base(lender)
    usual = {"guidance_scale": Model.guidance_scale} | base_config(parts)
    for key in ("personalize", "hash"):
        usual.pop(key, None)
    own = {"name": name, "command": command, "parts": lender, "parts_hash": hash_of(parts)}
    return usual | own


def part_hashes(base: Base, *parts: str) -> list[str]:
    """The hashes of the weights of parts, of the base's folder or of the base that lends them, if
    there is one."""
    places = [base.folder / name for name in parts]
    if "parts" in base.config:
        lender = find_base(base.config["parts"])
        places = [place if place.is_dir() else lender / place.name for place in places]
    return [sha256(path) for place in places for path in sorted(place.glob("*.safetensors"))]
