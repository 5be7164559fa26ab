"""The names of checkpoints in the folder of a stage, and the order in which they count."""

from __future__ import annotations

from pathlib import Path

CHECKPOINT = "checkpoint.safetensors"
PREVIOUS = "checkpoint.previous.safetensors"
NEXT = "checkpoint.next.safetensors"  # complete, and not yet renamed


def checkpoint_files(folder: Path) -> list[Path]:
    """The checkpoints that are there, the newest first."""
    # NEXT first if a kill came between the two renames
    names = [CHECKPOINT if (folder / CHECKPOINT).exists() else NEXT, PREVIOUS]
    return [folder / name for name in names if (folder / name).is_file()]
