"""The JSON file beside a generated video: everything that the video depends on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import write_aside
from animateanywhere.core.frame_size import Size
from animateanywhere.core.json_file import read_json

PART = ("start", "fps", "person")  # of the motion


def write_sidecar(video: Path, settings: dict[str, Any]) -> None:
    """Write the settings of a video beside it, right before the video gets its name
    (`output.write`): without them it would be nobody's, and the same command would not replace
    it."""
    with write_aside(video.with_suffix(".json")) as aside:
        aside.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def recorder(video: Path, settings: dict[str, Any]) -> Callable[[list[str]], None]:
    """What writes the settings of a video, once it is known where its metadata tells its origin:
    `beside` of `output.write`."""

    def beside(said_in: list[str]) -> None:
        origin = {"provenance": settings["provenance"] | {"metadata": said_in}}
        write_sidecar(video, settings | origin)

    return beside


def free_name(folder: Path, prompt: str, seed: int, suffix: str, settings: dict[str, Any]) -> Path:
    """A file in `folder` named by the prompt, with a number appended if a video with other settings
    has the name."""
    from animateanywhere.backbones.prompt_weights import plain  # with torch, which readers spare

    words = "-".join(re.findall(r"\w+", plain(prompt).lower()))[:60] or "video"
    name, number = f"{words}-{seed}", 1
    free = folder / f"{name}{suffix}"

    def taken(path: Path) -> bool:
        there = path.exists() or path.with_suffix(".json").exists()
        return there and earlier_settings(path) != settings

    while taken(free):
        number += 1
        free = folder / f"{name}-{number}{suffix}"
    return free


def earlier_settings(video: Path) -> dict[str, Any] | None:
    """The settings beside a video of this tool; None for another file, or without them."""
    try:
        return _settings(video)
    except (OSError, ValueError):
        return None


def read_sidecar(video: Path) -> dict[str, Any] | None:
    """The sidecar that `aa generate` wrote beside a video; None if there is none.

    Raises UsageError if it is damaged.
    """
    path = video.with_suffix(".json")
    if not path.is_file():
        return None
    try:
        sidecar = _settings(video)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(
            f"{path}: damaged ({reason}); delete it, or generate {video.name} again"
        ) from None
    if sidecar is None:
        return None
    from animateanywhere.pose.retarget import Fit  # with SciPy, which lists of runs spare

    numbers = [sidecar.get(key) for key in ("frames", "fps")]
    valid = (
        isinstance(sidecar["prompt"], str)
        and all(isinstance(sidecar.get(key), dict) for key in ("pose", "base"))
        and all(isinstance(number, int | float) and number > 0 for number in numbers)
        and frame_of(sidecar) is not None
        and sidecar["fit"] in get_args(Fit)
        and isinstance(sidecar.get("token"), str | None)
        and all(_is_given(sidecar["pose"].get(key)) for key in PART)
    )
    if not valid:
        raise UsageError(f"{path}: damaged; delete it, or generate {video.name} again")
    return sidecar


def _settings(video: Path) -> dict[str, Any] | None:
    """The JSON beside a video under today's names; None if another tool wrote it. Raises OSError
    and ValueError where it cannot be read."""
    record = read_json(video.with_suffix(".json"))
    if not isinstance(record, dict) or not {"prompt", "pose", "fit"} <= record.keys():
        return None
    if "said" in record:  # the key's name in earlier versions
        record["full_prompt"] = record.pop("said")
    record.setdefault("negative", "")  # not in them
    written = record.get("output")
    form = {"format": ".mp4", "fps": record.get("fps"), "loop": None, "sound": False}
    record["output"] = form | written if isinstance(written, dict) else form
    if isinstance(record.get("size"), int):  # a square, in those too
        record["size"] = [record["size"]] * 2
    return record


def _is_given(number: Any) -> bool:
    """Whether an option of the motion is a number that the command takes, or was not given."""
    return number is None or (isinstance(number, int | float) and number >= 0)


def frame_of(sidecar: dict[str, Any]) -> Size | None:
    """The size of the frames that a sidecar names, [width, height]; None if it names none."""
    sides = sidecar.get("size")
    if not isinstance(sides, list) or len(sides) != 2:
        return None
    if not all(isinstance(side, int) and side > 0 for side in sides):
        return None
    return Size(*sides)
