"""Speed of `aa prepare` with BlazePose, in total and of each part.

    .venv/bin/python benchmarks/prepare.py CLIP.mp4 --size 512

Prepares the clip's first 64 frames, scaled to `--size` pixels a side, three times, and prints the
best time of each part as a Markdown table. Nothing is cached between runs. The start of Python
is not included.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from animateanywhere.commands import prepare as command
from animateanywhere.core import frame_size
from animateanywhere.media import video
from animateanywhere.preprocessing.masks import segment
from animateanywhere.preprocessing.pose import detect

PARTS = (
    ("decode", video, "read"), ("pose", detect, "find_people"), ("mask", segment, "extract"),
    ("crop", command, "crop_frames"), ("write", command, "write_subject"),
    ("findings", command, "clip_findings"),
    ("report.html", command, "write_report"),
)  # fmt: skip
CORE = 5  # the first parts, which are timed together as well


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("--size", type=int, default=512)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        square = Path(place) / "clip.mp4"
        taken = video.read(options.clip, max_frames=64)
        sides = (options.size, options.size)
        frames = [np.array(Image.fromarray(frame).resize(sides)) for frame in taken.frames]
        video.write(square, np.stack(frames), taken.fps)
        spent: dict[str, float] = {}
        for name, module, function in PARTS:
            setattr(module, function, timed(getattr(module, function), name, spent))
        best: dict[str, float] = {}
        for _ in range(3):
            os.chdir(tempfile.mkdtemp(dir=place))  # a frame cache of its own
            spent.clear()
            begun = time.perf_counter()
            command.prepare(square, "subject", size=frame_size.square(options.size), fps=taken.fps)
            spent["total"] = time.perf_counter() - begun
            best = {name: min(value, best.get(name, value)) for name, value in spent.items()}
    core = sum(best[name] for name, *_ in PARTS[:CORE])
    print(f"{len(frames)} frames of {options.size} x {options.size} pixels\n")
    print("| part | seconds | frames per second |\n|---|---|---|")
    for name, seconds in [*best.items(), ("decode, pose, mask, crop, write", core)]:
        print(f"| {name} | {seconds:.2f} | {len(frames) / max(seconds, 1e-6):.0f} |")


def timed(function: Callable[..., Any], name: str, spent: dict[str, float]) -> Callable[..., Any]:
    """Wrap a function so that its time is added to `spent[name]`, in seconds."""

    def run(*arguments: Any, **options: Any) -> Any:
        begun = time.perf_counter()
        try:
            return function(*arguments, **options)
        finally:
            spent[name] = spent.get(name, 0.0) + time.perf_counter() - begun

    return run


if __name__ == "__main__":
    main()
