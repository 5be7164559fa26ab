"""Stops commands at random moments, runs them again, and compares the end with an undisturbed run.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/kills.py [KILLS] [COMMAND ...]

At tiny size, SIGKILL, SIGTERM and SIGINT in turn hit `aa base-train`, the same in two processes
(`base-train-2`), `personalize`, `generate` and `export` [default: all, 100 times together] until
the command ends by itself. Its files must then be those of the undisturbed run, bit for bit;
SIGTERM and SIGINT must end with code 143 or 130 and without a traceback, but for that of PyTorch's
launcher itself. Prints a Markdown table; exit code 1 if anything differs.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from animateanywhere.core.files import sha256

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
EXAMPLES = Path(__file__).parents[1] / "examples"
CLIP, MOTION = EXAMPLES / "reference.mp4", EXAMPLES / "driving.poses.json"
# With times or the number of the process
LEFT_OUT = {"estimate.json", "log.jsonl", ".animateanywhere"}


@dataclass
class Command:
    """A command, run in an empty folder; the files and folders it writes, relative to that."""

    name: str
    arguments: Sequence[str | Path]
    results: Sequence[str]
    processes: int = 1
    kills: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    runs: int = 0
    faults: list[str] = field(default_factory=list)


def main() -> int:
    kills = int(sys.argv[1]) if sys.argv[1:] else 100
    rng = random.Random(0)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, it would be in the commands
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        base = root / "T"
        finish(["base-train", "tiny", "--out", base], root)
        weights = root / "sks" / "personal.safetensors"
        finish(personalize(base, weights.parent), root)
        names = sys.argv[2:]
        chosen = [one for one in commands(base, weights) if not names or one.name in names]
        truths = {}
        for one in chosen:
            folder = root / f"undisturbed-{one.name}"
            folder.mkdir()
            begun = time.monotonic()
            finish(one.arguments, folder, one.processes)
            one.seconds = time.monotonic() - begun
            truths[one.name] = digests(folder, one.results)
        while sum(sum(one.kills.values()) for one in chosen) < kills:
            for one in chosen:
                folder = Path(tempfile.mkdtemp(dir=root))
                disturb(one, folder, rng)
                differ = truths[one.name].items() ^ digests(folder, one.results).items()
                if differ:
                    files = sorted({name for name, _ in differ})
                    one.faults.append(f"another end: {', '.join(files)}")
                shutil.rmtree(folder)
                done = f"{sum(one.kills.values())} kills, {len(one.faults)} faults"
                print(f"aa {one.name}: {done}", *one.faults[-1:], file=sys.stderr, flush=True)
    show(chosen)
    return int(any(one.faults for one in chosen))


def commands(base: Path, weights: Path) -> list[Command]:
    motion = ["--pose", MOTION, "--frames", "8", "--steps", "4", "--base", base]
    return [
        Command("base-train", ["base-train", "tiny", "--out", "base"], ["base"]),
        Command("base-train-2", ["base-train", "tiny", "--out", "base"], ["base"], processes=2),
        Command("personalize", personalize(base, Path("run")), ["run/personal.safetensors"]),
        Command(
            "generate",
            ["generate", "sks man on a beach", *motion, "--weights", weights, "--out", "x.mp4"],
            ["x.mp4", "x.json"],
        ),
        Command(
            "export",
            ["export", weights, "--format", "diffusers", "--base", base, "--out", "lora"],
            ["lora"],
        ),
    ]


def personalize(base: Path, out: Path) -> list[str | Path]:
    recipe = ["--recipe", "personalize-tiny", "--class-word", "man"]
    return ["personalize", CLIP, "--token", "sks", "--base", base, *recipe, "--out", out]


def start(
    arguments: Sequence[str | Path], folder: Path, processes: int = 1
) -> subprocess.Popen[str]:
    many = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    launcher = many if processes > 1 else []
    words = [sys.executable, *launcher, "-m", "animateanywhere", *map(str, arguments)]
    source = os.pathsep.join([str(EXAMPLES.parent), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        words, cwd=folder, text=True,
        env={**os.environ, "PYTHONPATH": source, "ACCELERATE_USE_CPU": "1"},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def finish(arguments: Sequence[str | Path], folder: Path, processes: int = 1) -> None:
    """Run a command to its end; raises RuntimeError where that is an error."""
    running = start(arguments, folder, processes)
    words = running.communicate()[1]
    if running.returncode:
        raise RuntimeError(f"aa {arguments[0]} ended with {running.returncode}: {words}")


def disturb(one: Command, folder: Path, rng: random.Random) -> None:
    """Run a command, stopped at random moments, until it ends by itself."""
    while True:
        kind = SIGNALS[sum(one.kills.values()) % len(SIGNALS)]
        running = start(one.arguments, folder, one.processes)
        one.runs += 1
        try:
            words = running.communicate(timeout=rng.uniform(0, 1.2 * one.seconds))[1]
        except subprocess.TimeoutExpired:
            others = psutil.Process(running.pid).children(recursive=True)
            running.send_signal(kind)
            for other in others if kind == signal.SIGKILL else ():
                with suppress(psutil.NoSuchProcess):
                    other.kill()
            words = running.communicate()[1]
            if running.returncode:
                one.kills[kind.name] = one.kills.get(kind.name, 0) + 1
        told = " ".join(words.split())[-200:]
        expected = [0, 130, 143, -signal.SIGKILL]
        if one.processes > 1:  # the launcher has its own ways
            expected += [1, -signal.SIGTERM, -signal.SIGINT]
            words = words.replace("Traceback", "") if "SignalException" in words else words
        if "Traceback" in words or "unexpected" in words or running.returncode not in expected:
            one.faults.append(f"{kind.name}: code {running.returncode}: {told}")
        if running.returncode == 0 or len(one.faults) > 20:
            return


def digests(folder: Path, results: Sequence[str]) -> dict[str, str]:
    """SHA-256 of each file of a command."""
    found = {}
    for result in results:
        path = folder / result
        files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file())
        for file in files:
            if file.name not in LEFT_OUT and "tensorboard" not in file.parts:
                found[str(file.relative_to(folder))] = sha256(file)
    return found


def show(commands: Sequence[Command]) -> None:
    names = [kind.name for kind in SIGNALS]
    print(f"| command | undisturbed, s | starts | {' | '.join(names)} | faults |")
    print("|---|" + "---|" * (len(names) + 3))
    for one in commands:
        counts = [str(one.kills.get(name, 0)) for name in names]
        row = [f"{one.seconds:.0f}", str(one.runs), *counts, str(len(one.faults))]
        print(f"| `aa {one.name}` | {' | '.join(row)} |")
    for one in commands:
        for fault in one.faults:
            print(f"\n{one.name}: {fault}")


if __name__ == "__main__":
    sys.exit(main())
