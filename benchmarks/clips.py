"""Results of preprocessing for a folder of clips: each as a reference and as a driving video.

    .venv/bin/python benchmarks/clips.py ../shared/real --out runs/clips

Pictures are converted to clips by panning for two seconds, so that their content is judged. Mask
flicker is 1 - IoU of the masks of consecutive frames, after compensating the motion of their
centers. Seconds per frame are those of `aa prepare` without the start of Python. Prints two
Markdown tables, and writes the reports to OUT.
"""

from __future__ import annotations

import argparse
import io
import shutil
import tempfile
import time
from contextlib import redirect_stderr
from itertools import pairwise
from pathlib import Path

import numpy as np
from rich.progress import track

from animateanywhere.commands.prepare import prepare
from animateanywhere.core.errors import UsageError
from animateanywhere.core.frame_size import square
from animateanywhere.media import video
from animateanywhere.media.pictures import PICTURE_SUFFIXES
from animateanywhere.pose.keypoints import VISIBLE
from animateanywhere.pose.visibility import has_person
from animateanywhere.preprocessing import frame_cache
from animateanywhere.preprocessing.driving import read_driving

VIDEOS = {".mp4", ".mov", ".webm", ".mkv", ".avi"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/clips"))
    parser.add_argument("--size", type=int, default=128, help="pixels a side")
    parser.add_argument("--fps", type=float, default=8)
    options = parser.parse_args()
    files = sorted(
        path for path in options.folder.rglob("*")
        if path.suffix.lower() in VIDEOS | PICTURE_SUFFIXES
    )  # fmt: skip
    if not files:
        parser.error(f"{options.folder}: no clips in it")
    references, drivings = [], []
    with tempfile.TemporaryDirectory() as scratch:
        frame_cache.CACHE = Path(scratch) / "cache"  # nothing is cached from earlier runs
        for path in track(files, "clips", transient=True):
            clip = path
            if path.suffix.lower() in PICTURE_SUFFIXES:
                clip = Path(scratch) / f"{path.stem}.mp4"
                _pan(path, clip, options.fps)
            name = f"{path.stem}{' (panned)' if clip != path else ''}"
            out = options.out / path.stem
            shutil.rmtree(out, ignore_errors=True)
            references.append(_reference(name, clip, out, options.size, options.fps))
            shutil.rmtree(frame_cache.CACHE, ignore_errors=True)
            drivings.append(_driving(name, clip, options.fps))
    print("| as a reference | frames | visible joints | mask flicker | s/frame | warnings |")
    print("|---|---|---|---|---|---|")
    print("\n".join(references))
    print(
        "\n| as a driving clip | read as | frames | with a pose | warnings |\n|---|---|---|---|---|"
    )
    print("\n".join(drivings))


def _reference(name: str, clip: Path, out: Path, size: int, fps: float) -> str:
    """A row of the first table."""
    output = io.StringIO()
    start = time.perf_counter()
    try:
        with redirect_stderr(output):
            subject = prepare(clip, out, class_word="person", size=square(size), fps=fps)
    except UsageError as error:
        return f"| {name} | | | | | **refused**: {_short(str(error), clip)} |"
    seconds = (time.perf_counter() - start) / len(subject.frames)
    visible = (subject.keypoints[..., 2] >= VISIBLE).mean()
    return (
        f"| {name} | {len(subject.frames)} | {visible:.0%} | {_flicker(subject.masks):.2f} | "
        f"{seconds:.3f} | {_warnings(output.getvalue(), clip)} |"
    )


def _driving(name: str, clip: Path, fps: float) -> str:
    """A row of the second table."""
    output = io.StringIO()
    try:
        with redirect_stderr(output):
            driving = read_driving(clip, fps)
    except UsageError as error:
        return f"| {name} | | | | **refused**: {_short(str(error), clip)} |"
    posed = has_person(driving.keypoints).mean()
    warnings = _warnings(output.getvalue(), clip)
    return f"| {name} | {driving.kind} | {len(driving.keypoints)} | {posed:.0%} | {warnings} |"


def _flicker(masks: np.ndarray) -> float:
    """Mean of 1 - IoU of consecutive masks, aligned at their centers of mass."""
    solid = masks > 0.5
    out = []
    for a, b in pairwise(solid):
        if a.any() and b.any():
            shift = np.round(np.argwhere(a).mean(0) - np.argwhere(b).mean(0)).astype(int)
            b = np.roll(b, shift, (0, 1))
            out.append(1 - (a & b).sum() / (a | b).sum())
    return float(np.mean(out)) if out else float("nan")


def _pan(picture: Path, clip: Path, fps: float) -> None:
    """Write a clip of two seconds in which a window of 90 % of a picture moves between corners."""
    whole = video.read(picture).frames[0]
    height, width = (int(side * 0.9) // 2 * 2 for side in whole.shape[:2])
    count = round(2 * fps)
    corners = np.linspace((0, 0), (whole.shape[0] - height, whole.shape[1] - width), count)
    windows = [whole[y : y + height, x : x + width] for y, x in corners.astype(int)]
    video.write(clip, np.stack(windows), fps)


def _warnings(output: str, clip: Path) -> str:
    lines = [line for line in output.splitlines() if line.startswith("warning: ")]
    return "; ".join(_short(line.removeprefix("warning: "), clip) for line in lines) or "-"


def _short(line: str, clip: Path) -> str:
    return line.replace(str(clip), clip.name).removeprefix(f"{clip.name}: ").replace("|", "/")


if __name__ == "__main__":
    main()
