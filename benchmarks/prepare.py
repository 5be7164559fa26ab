"""Frames a second of `aa prepare` with mediapipe, part by part and as a whole.

    .venv/bin/python benchmarks/prepare.py CLIP.mp4 --size 512

Takes the clip's first 64 frames at its own rate, scaled to `--size` pixels a side, and prepares
them at that size, three times; the best of each part is printed, as a Markdown table. Nothing is
remembered from run to run. The start of Python and of mediapipe (5 s) is left out.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from animateanywhere.commands import prepare as command
from animateanywhere.media import video
from animateanywhere.preprocessing.masks import segment
from animateanywhere.preprocessing.pose import mediapipe, people

PARTS = (
    ("decode", video, "read"), ("pose", mediapipe, "extract"), ("mask", segment, "extract"),
    ("crop", command, "crop_frames"), ("write", command, "write_subject"),
    ("count persons", people, "count_persons"), ("findings", command, "clip_findings"),
    ("report.html", command, "write_report"),
)  # fmt: skip
ASKED = 5  # of them, the first ones


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("--size", type=int, default=512)
    options = parser.parse_args()
    import_module("mediapipe.python.solutions")
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
            command.prepare(square, "subject", size=options.size, fps=taken.fps)
            spent["all of it"] = time.perf_counter() - begun
            best = {name: min(value, best.get(name, value)) for name, value in spent.items()}
    asked = sum(best[name] for name, *_ in PARTS[:ASKED])
    print(f"{len(frames)} frames of {options.size} x {options.size} pixels\n")
    print("| part | seconds | frames a second |\n|---|---|---|")
    for name, seconds in [*best.items(), ("decode, pose, mask, cut, write", asked)]:
        print(f"| {name} | {seconds:.2f} | {len(frames) / max(seconds, 1e-6):.0f} |")


def timed(function: Callable[..., Any], name: str, spent: dict[str, float]) -> Callable[..., Any]:
    """The function, adding what it takes to `spent`."""

    def run(*arguments: Any, **options: Any) -> Any:
        begun = time.perf_counter()
        try:
            return function(*arguments, **options)
        finally:
            spent[name] = spent.get(name, 0.0) + time.perf_counter() - begun

    return run


if __name__ == "__main__":
    main()
