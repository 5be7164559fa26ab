"""Stops commands at random moments, runs them again, and compares the end with an undisturbed run.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/kills.py [KILLS] [COMMAND ...]

At tiny size, SIGKILL, SIGTERM and SIGINT in turn hit `aa base-train`, `personalize`, `generate` and
`export` [default: these, 100 times together] until the command ends by itself. Its files must then
be those of the undisturbed run, bit for bit; SIGTERM and SIGINT must end with code 143 or 130 and
without a traceback. Prints a Markdown table; exit code 1 if anything differs.

`launched` is `base-train` in two processes of PyTorch's launcher, which prints a traceback of its
own. `loaded` and `loaded-2` are base training without its last stage, in one and in two processes
that have loaded the packages before they start, so that more signals hit the work; of two
processes, one at random gets the signal. In the first milliseconds of Python itself, before any
line of `aa` runs, Ctrl-C is its traceback and SIGTERM its end: these are not faults.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from animateanywhere.core.files import sha256

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
EXAMPLES = Path(__file__).parents[1] / "examples"
CLIP, MOTION = EXAMPLES / "reference.mp4", EXAMPLES / "driving.poses.json"
FORKS = multiprocessing.get_context("forkserver")
PACKAGES = ["animateanywhere.commands.base_train", "animateanywhere.cli.main"]
# What Python says of Ctrl-C before it runs a line of ours
PYTHON = ("Failed to import the site module", "Could not import runpy module")
# With times or the number of the process
LEFT_OUT = {"estimate.json", "log.jsonl", ".animateanywhere"}


@dataclass
class Command:
    """A command, run in an empty folder; the files and folders it writes, relative to that."""

    name: str
    arguments: Sequence[str | Path]
    results: Sequence[str]
    processes: int = 1
    loaded: bool = False
    kills: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    runs: int = 0
    early: int = 0  # signals before a line of ours ran
    faults: list[str] = field(default_factory=list)


def main() -> int:
    kills = int(sys.argv[1]) if sys.argv[1:] else 100
    rng = random.Random(0)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, it would be in the commands
    FORKS.set_forkserver_preload(PACKAGES)
    first = FORKS.Process(target=int)  # loads them, which is not to be timed
    first.start()
    first.join()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        names = sys.argv[2:] or ["base-train", "personalize", "generate", "export"]
        base, weights = root / "T", root / "sks" / "personal.safetensors"
        if {"personalize", "generate", "export"} & {*names}:
            finish(["base-train", "tiny", "--out", base], root)
            finish(personalize(base, weights.parent), root)
        chosen = [one for one in commands(root, base, weights) if one.name in names]
        truths = {}
        for one in chosen:
            folder = root / f"undisturbed-{one.name}"
            folder.mkdir()
            begun = time.monotonic()
            codes, words = run(one, folder)
            if any(codes):
                raise RuntimeError(f"aa {one.name} ended with {codes}: {words}")
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


def commands(root: Path, base: Path, weights: Path) -> list[Command]:
    motion = ["--pose", MOTION, "--frames", "8", "--steps", "4", "--base", base]
    tiny = (EXAMPLES.parent / "recipes" / "tiny.toml").read_text()
    (root / "short.toml").write_text("[[stage]]".join(tiny.split("[[stage]]")[:-1]))
    whole, short = (["base-train", r, "--out", "base"] for r in ("tiny", root / "short.toml"))
    return [
        Command("base-train", whole, ["base"]),
        Command("launched", whole, ["base"], processes=2),
        Command("loaded", short, ["base"], loaded=True),
        Command("loaded-2", short, ["base"], processes=2, loaded=True),
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


def finish(arguments: Sequence[str | Path], folder: Path) -> None:
    """Run a command to its end; raises RuntimeError where that is an error."""
    running = start(arguments, folder)
    words = running.communicate()[1]
    if running.returncode:
        raise RuntimeError(f"aa {arguments[0]} ended with {running.returncode}: {words}")


def in_process(arguments: Sequence[str], folder: Path, words: Path, environment: Any) -> None:
    """The program, in a process that has loaded the packages."""
    from animateanywhere.__main__ import run

    os.environ |= environment
    os.chdir(folder)
    with words.open("w") as file, open(os.devnull, "w") as nothing:
        os.dup2(file.fileno(), 2)
        os.dup2(nothing.fileno(), 1)
    sys.argv = ["aa", *arguments]
    sys.exit(run())


def loaded(one: Command, folder: Path) -> list[Any]:
    """Start a command in processes that have loaded the packages."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    started = []
    for rank in range(one.processes):
        ranks = {"WORLD_SIZE": str(one.processes), "RANK": str(rank), "LOCAL_RANK": str(rank)}
        words = folder.parent / f"{folder.name}.{rank}"
        given = ([str(word) for word in one.arguments], folder, words,
                 common | ranks if one.processes > 1 else {})  # fmt: skip
        started.append(FORKS.Process(target=in_process, args=given))
        started[-1].start()
    return started


def run(one: Command, folder: Path, seconds: float | None = None, kind: Any = None, rng: Any = None
        ) -> tuple[list[int], str]:  # fmt: skip
    """Run a command, which after some seconds gets a signal; returns the exit codes of its
    processes, or of their launcher, and what they said."""
    if one.loaded:
        running = loaded(one, folder)
        end = time.monotonic() + (seconds or 1e6)
        while time.monotonic() < end and any(process.is_alive() for process in running):
            time.sleep(0.01)
        if any(process.is_alive() for process in running):
            with suppress(ProcessLookupError):
                os.kill(rng.choice(running).pid, kind)
        for process in running:
            process.join()
        told = [folder.parent / f"{folder.name}.{rank}" for rank in range(one.processes)]
        words = "\n".join(place.read_text() for place in told if place.exists())
        return [process.exitcode for process in running], words
    launched = start(one.arguments, folder, one.processes)
    try:
        words = launched.communicate(timeout=seconds)[1]
    except subprocess.TimeoutExpired:
        others = psutil.Process(launched.pid).children(recursive=True)
        launched.send_signal(kind)
        for other in others if kind == signal.SIGKILL else ():
            with suppress(psutil.NoSuchProcess):
                other.kill()
        words = launched.communicate()[1]
    return [launched.returncode], words


def disturb(one: Command, folder: Path, rng: random.Random) -> None:
    """Run a command, stopped at random moments, until it ends by itself."""
    while True:
        kind = SIGNALS[sum(one.kills.values()) % len(SIGNALS)]
        codes, words = run(one, folder, rng.uniform(0, 1.2 * one.seconds), kind, rng)
        one.runs += 1
        if any(codes):
            one.kills[kind.name] = one.kills.get(kind.name, 0) + 1
        told = " ".join(words.split())[-300:]
        expected = [0, 130, 143, -signal.SIGKILL]
        if one.processes > 1:  # the launcher has its own codes; who lost another ends with 1
            expected += [1, -signal.SIGTERM, -signal.SIGINT]
            words = words.replace("Traceback", "") if "SignalException" in words else words
        if any(text in words for text in PYTHON):
            one.early += 1
        elif "Traceback" in words or "unexpected" in words or not {*codes} <= {*expected}:
            one.faults.append(f"{kind.name}: codes {codes}: {told}")
        if not any(codes) or len(one.faults) > 20:
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
    print(f"| command | undisturbed, s | starts | {' | '.join(names)} | before aa | faults |")
    print("|---|" + "---|" * (len(names) + 4))
    for one in commands:
        counts = [str(one.kills.get(name, 0)) for name in names]
        row = [f"{one.seconds:.0f}", str(one.runs), *counts, str(one.early), str(len(one.faults))]
        print(f"| `aa {one.name}` | {' | '.join(row)} |")
    for one in commands:
        for fault in one.faults:
            print(f"\n{one.name}: {fault}")


if __name__ == "__main__":
    sys.exit(main())
