"""Results: generated videos and pictures outside of what a command keeps for itself, each known by
the settings beside it."""

from __future__ import annotations

import os
from pathlib import Path
from stat import S_ISREG

from animateanywhere.core.json_file import read_table
from animateanywhere.evaluation.sidecar import earlier_settings

LARGEST = 2**20  # bytes of a sidecar
SUFFIXES = (".mp4", ".webm", ".gif", ".webp", ".png", "")  # "": a folder of pictures
NAMED = ("swap", "cast")  # commands whose results say that they are theirs


def result_of(path: Path) -> tuple[Path, str] | None:
    """The result by its path or that of its sidecar, and its command; None for other files."""
    sidecar = path.with_suffix(".json")
    try:
        about = sidecar.stat()
    except OSError:
        return None
    if not S_ISREG(about.st_mode) or about.st_size > LARGEST:
        return None
    if (settings := earlier_settings(path)) is not None:
        command, suffix = "generate", settings["output"].get("format")
    else:
        settings = read_table(sidecar)
        command, suffix = str(settings.get("command")), settings.get("format")
        if command not in NAMED or suffix not in SUFFIXES:
            return None
    result = path.with_suffix(suffix if suffix in SUFFIXES else ".mp4")
    return (result, command) if path in (result, sidecar) else None


def files_of_result(result: Path) -> list[Path]:
    """What a command wrote for a result, as far as it exists."""
    suffixes = (".json", ".estimate.json", ".reference.png")
    some = (result, *(result.with_suffix(suffix) for suffix in suffixes))
    return [path for path in some if os.path.lexists(path)]
