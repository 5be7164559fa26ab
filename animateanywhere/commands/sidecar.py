"""The JSON file beside a generated video: everything that the video depends on."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from animateanywhere.backbones.prompt_weights import plain
from animateanywhere.core.files import write_aside


def write_sidecar(video: Path, settings: dict[str, Any]) -> None:
    """Write the settings of a video beside it."""
    with write_aside(video.with_suffix(".json")) as aside:
        aside.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def free_name(folder: Path, prompt: str, seed: int, suffix: str, settings: dict[str, Any]) -> Path:
    """A file in `folder` named by the prompt, with a number appended if a video with other settings
    has the name."""
    words = "-".join(re.findall(r"\w+", plain(prompt).lower()))[:60] or "video"
    name, number = f"{words}-{seed}", 1
    free = folder / f"{name}{suffix}"
    while (free.exists() or free.with_suffix(".json").exists()) and read_sidecar(free) != settings:
        number += 1
        free = folder / f"{name}-{number}{suffix}"
    return free


def read_sidecar(video: Path) -> Any:
    """The settings beside a video of this tool, under today's names; None for another file, or
    without them."""
    try:
        record = json.loads(video.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict) or not {"prompt", "pose", "fit"} <= record.keys():
        return None
    if "said" in record:  # the key's name in earlier versions
        record["full_prompt"] = record.pop("said")
    record.setdefault("negative", "")  # not in them
    told = record.get("output")
    form = {"format": ".mp4", "fps": record.get("fps"), "loop": None, "sound": False}
    record["output"] = form | told if isinstance(told, dict) else form
    if isinstance(record.get("size"), int):  # a square, in those too
        record["size"] = [record["size"]] * 2
    return record
