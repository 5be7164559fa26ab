"""What `aa check` estimates of time and memory, held against what then happens.

    .venv/bin/python benchmarks/predict.py

Three settings, each in a new folder and by the commands themselves: the test base with its own
recipe, the bundled base with a shortened one, and with more regularization, views and frames. The
clip and motion are those of `examples/`, or `--clip` and `--pose`. Wants an idle machine.
Prints a Markdown table; time is that of the whole command, loading included.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from animateanywhere.core.paths import EXAMPLES, recipes_folder

SHORT = {"prior_images": 16, "appearance.steps": 80, "motion.steps": 12}
LARGE = {
    "prior_images": 24, "prior_clips": 4, "prior_steps": 16, "placements": 6,
    "appearance.steps": 50, "appearance.batch": 10, "motion.steps": 10, "motion.batch": 2,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clip", type=Path, default=EXAMPLES / "reference.mp4")
    parser.add_argument("--pose", type=Path, default=EXAMPLES / "driving.mp4")
    options = parser.parse_args()
    print(f"load of the machine before: {os.getloadavg()[0]:.1f}\n")
    print("| setting | command | estimate, s | took, s | ratio | estimate, GB | took, GB | ratio |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for name, base, changes in (
        ("tiny, its recipe", "tiny", None),
        ("mini, shortened", "mini", SHORT),
        ("mini, more of all", "mini", LARGE),
    ):
        with tempfile.TemporaryDirectory() as place:
            one(Path(place), name, base, changes, options.clip.resolve(), options.pose.resolve())


def one(
    place: Path, name: str, base: str, changes: dict[str, int] | None, clip: Path, pose: Path
) -> None:
    if base == "tiny":
        run(place, "base-train", "tiny", "--out", "tiny")
    settings = ["--base", base, "--class-word", "man"]
    if changes is not None:
        (place / "own.toml").write_text(recipe(changes))
        settings += ["--recipe", "own.toml"]
    told = json.loads(run(place, "check", str(clip), "--pose", str(pose), *settings, "--json"))
    for command, arguments, record in (
        ("personalize", [str(clip), "--token", "sks", *settings], "runs/sks/estimate.json"),
        ("generate", ["sks man on a beach", "--pose", str(pose), "--out", "runs/a.mp4"],
         "runs/a.estimate.json"),
    ):  # fmt: skip
        start = time.monotonic()
        run(place, command, *arguments)
        seconds = time.monotonic() - start
        memory = json.loads((place / record).read_text())["took"]["memory"]
        said = told["prediction"][command]
        row = [said["seconds"], seconds, said["seconds"] / seconds]
        row += [said["memory_gb"], memory, said["memory_gb"] / memory]
        print(f"| {name} | {command} | " + " | ".join(f"{x:.2f}" for x in row) + " |", flush=True)


def recipe(changes: dict[str, int]) -> str:
    """The default recipe with other numbers, as TOML; "stage.key" changes a stage."""
    lines, stage = [], ""
    missing = dict(changes)
    for line in (recipes_folder() / "personalize.toml").read_text().splitlines():
        if line.startswith("name ="):
            stage = line.split('"')[1] + "."
        key = stage + line.split(" =")[0]
        lines.append(f"{line.split(' =')[0]} = {missing.pop(key)}" if key in missing else line)
    place = next(n for n, line in enumerate(lines) if line.startswith("[extras]")) + 1
    lines[place:place] = [f"{key} = {value}" for key, value in missing.items()]
    return "\n".join(lines) + "\n"


def run(place: Path, *arguments: str) -> str:
    """Run `aa` in a folder; what it prints. Its own words are shown where it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "animateanywhere", *arguments],
        cwd=place, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"aa {arguments[0]}: {done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
