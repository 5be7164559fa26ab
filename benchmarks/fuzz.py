"""Reads damaged files of every kind, through the functions that read them and some commands.

    .venv/bin/python benchmarks/fuzz.py [--inputs N] [--seed N] [KIND ...]

For each kind of file (default: all of `fuzz_kinds.KINDS`) a valid one is damaged N times in all
[default: 20000] and read. Right is a result or one `UsageError` or `Failure` of one line. Wrong is
any other exception, a crash of the process (the decoders are C), more than 10 s, more than 1 GB of
memory above that of the valid files, a command with another exit code or a traceback, or a file
opened for writing outside of the target folder. A worker process reads, so that it may crash; its
memory is limited. Prints a Markdown table; exit code 1 if anything is wrong. An input is made again
by its kind, seed and number: `--first NUMBER --inputs 1 KIND` keeps the damaged file.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import queue
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SECONDS, GIGABYTES = 10.0, 1.0  # that an input may take
START = 600.0  # seconds for a worker to make the valid files
EVERYTHING = "everything"  # in the place of a kind: all of them in one worker
EVERY = 20  # inputs, of which one goes through a command too
SHARES = {"containers": 0.4, "poses": 0.12, "tensors": 0.14, "subjects": 0.12, "runs": 0.12,
          "recipes": 0.1, "shards": 0.12}  # fmt: skip


@dataclass
class Count:
    """What came of the inputs of a kind."""

    inputs: int = 0
    refused: int = 0
    commands: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    memory: float = 0.0  # GB above that of the valid files, at most
    faults: list[str] = field(default_factory=list)


def main() -> int:
    parser = argparse.ArgumentParser(description="Read damaged files of every kind.")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(SHARES)}")
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    kinds = given.kinds or list(SHARES)
    if given.worker is not None:
        work(kinds[0], given.seed, given.first, given.inputs, given.worker)
        return 0
    total = sum(SHARES[kind] for kind in kinds)
    counts = {}
    for kind in kinds:
        share = round(given.inputs * SHARES[kind] / total)
        counts[kind] = run(kind, given.seed, given.first, share)
        for fault in counts[kind].faults:
            print(f"{kind}: {fault}", file=sys.stderr, flush=True)
    show(counts)
    return int(any(count.faults for count in counts.values()))


def run(kind: str, seed: int, first: int, inputs: int) -> Count:
    """Read so many inputs of a kind; a worker that dies or hangs is replaced."""
    count, number, stop = Count(), first, first + inputs
    while number < stop:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
            before = number
            with worker(kind, seed, number, stop - number, Path(place)) as process:
                number = watch(process, count, number, stop)
            if number == before:
                count.faults.append(f"the worker does not start at {number}")
                return count
    return count


@contextlib.contextmanager
def worker(
    kind: str, seed: int, first: int, inputs: int, place: Path
) -> Iterator[subprocess.Popen[str]]:
    home = {name: str(place) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "MPLCONFIGDIR")}
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, __file__, kind, "--seed", str(seed), "--first", str(first),
         "--inputs", str(inputs), "--worker", str(place)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=place,
        env={**os.environ, **home, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def watch(process: subprocess.Popen[str], count: Count, number: int, stop: int) -> int:
    """Take a worker's results; returns the number of the next input that is to be read."""
    assert process.stdout is not None
    lines: queue.Queue[str] = queue.Queue()
    output = process.stdout

    def take() -> None:
        with contextlib.suppress(ValueError):  # it was closed meanwhile
            for line in output:
                lines.put(line)
        lines.put("")

    threading.Thread(target=take, daemon=True).start()
    patience = START
    while number < stop:
        fault = ""
        try:
            line = lines.get(timeout=patience)
        except queue.Empty:
            fault = f"no end after {patience:.0f} s"
        else:
            if not line:
                fault = f"the process died, code {process.wait()}"
        if fault:
            if patience == START:
                return number
            count.faults.append(f"input {number}: {fault}")
            count.inputs += 1
            return number + 1
        patience = SECONDS
        if line.startswith("{"):
            add(count, json.loads(line), number)
            number += 1
    return number


def add(count: Count, result: dict[str, Any], number: int) -> None:
    count.inputs += 1
    count.refused += result["refused"]
    count.commands += result["command"]
    count.seconds += result["seconds"]
    count.slowest = max(count.slowest, result["seconds"])
    count.memory = max(count.memory, result["memory"])
    faults = [*result["faults"]]
    if result["memory"] > GIGABYTES:
        faults.append(f"{result['memory']:.1f} GB")
    count.faults += [f"input {number}, {result['file']}: {fault}" for fault in faults]


def work(kind: str, seed: int, first: int, inputs: int, place: Path) -> None:
    """A worker: read damaged files, and print a JSON line for each."""
    import numpy as np

    from animateanywhere.core.errors import Failure, UsageError
    from benchmarks.fuzz_kinds import KINDS

    targets = []
    for name in KINDS if kind == EVERYTHING else [kind]:
        (place / name).mkdir()
        targets += list(KINDS[name](place / name))
    for target in targets:  # what libraries load at the first use, and that the file is valid
        target.read(target.file)
        if target.command is not None:
            with contextlib.suppress(UsageError, Failure):
                through_command(target.command(target.file))
    used = memory("VmSize")
    limit = int(used + 8 * GIGABYTES * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    wrote = guard(place)
    print("ready", flush=True)
    resident = memory("VmRSS")
    whole = {target.file: target.file.read_bytes() for target in targets}
    for number in range(first, first + inputs):
        target = targets[number % len(targets)]
        rng = np.random.default_rng([seed, *kind.encode(), number])
        target.file.write_bytes(target.mutate(whole[target.file], rng))
        kept = (place / "kept").write_bytes(target.file.read_bytes()) if inputs == 1 else 0
        result: dict[str, Any] = {"file": target.file.name, "refused": 0, "command": 0}
        faults: list[str] = []
        reset_peak()
        begun = time.monotonic()
        try:
            target.read(target.file)
        except (UsageError, Failure) as error:
            result["refused"] = 1
            if "\n" in str(error) or not str(error):
                faults.append(f"not one line: {error!r}")
        except Exception as error:
            faults.append(described(error))
        if target.command is not None and number // len(targets) % EVERY == 0:
            result["command"] = 1
            faults += through_command(target.command(target.file))
        result["seconds"] = time.monotonic() - begun
        result["memory"] = max(memory("VmHWM") - resident, 0) / 2**30
        result["faults"] = [*faults, *(f"wrote {path}" for path in wrote)]
        wrote.clear()
        target.file.write_bytes(whole[target.file])
        print(json.dumps(result), flush=True)
        if kept and (result["faults"] or result["memory"] > GIGABYTES):
            os.replace(place / "kept", ROOT / f"fuzz-{number}-{target.file.name}")


def described(error: Exception) -> str:
    """The type, the message, and where it was raised, in one line."""
    trace = error.__traceback__
    places = []
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{Path(code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]} ({' '.join(places[-5:])})"


def through_command(arguments: list[str]) -> list[str]:
    """What is wrong with the end of a command."""
    from animateanywhere.cli.main import main as aa

    out, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
        try:
            code = aa(arguments)
        except BaseException as error:
            return [f"aa {arguments[0]}: {type(error).__name__}: {error}"]
    words = " ".join(said.getvalue().split())
    if code not in (0, 1, 2) or "unexpected" in words or "Traceback" in words:
        return [f"aa {arguments[0]}: code {code}: {words[-300:]}"]
    return []


def guard(place: Path) -> list[str]:
    """A list to which every path outside of `place` is added that Python opens for writing,
    creates, renames or removes from now on."""
    wrote: list[str] = []
    inside = (str(place.resolve()), f"/proc/{os.getpid()}/", "/dev/null")
    writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = given
            if not (isinstance(flags, int) and flags & writes):
                return
            paths = [path]
        elif event in ("os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.chmod"):
            paths = [given[0]]
        elif event in ("os.rename", "os.link", "os.symlink"):
            paths = [*given[:2]]
        else:
            return
        for path in paths:
            if isinstance(path, str | bytes | os.PathLike):
                full = os.path.realpath(os.fsdecode(path))
                if not full.startswith(inside):
                    wrote.append(f"{event} {full}")

    sys.addaudithook(hook)
    return wrote


def memory(name: str) -> int:
    """A line of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


def reset_peak() -> None:
    """Let VmHWM be the peak from now on (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def show(counts: dict[str, Count]) -> None:
    print(
        "| files | inputs | refused | through commands | mean, ms | slowest, s | memory, GB | "
        "wrong |"
    )
    print("|---|" + "---|" * 7)
    everything = Count()
    for kind, count in counts.items():
        print(row(kind, count))
        everything.inputs += count.inputs
        everything.refused += count.refused
        everything.commands += count.commands
        everything.seconds += count.seconds
        everything.slowest = max(everything.slowest, count.slowest)
        everything.memory = max(everything.memory, count.memory)
        everything.faults += count.faults
    if len(counts) > 1:
        print(row("all", everything))
    kinds = Counter(fault.partition(": ")[2][:120] for fault in everything.faults)
    for fault, times in kinds.most_common(30):
        print(f"\n{times} times {fault}")


def row(kind: str, count: Count) -> str:
    mean = 1000 * count.seconds / max(count.inputs, 1)
    return (
        f"| {kind} | {count.inputs:,} | {count.refused:,} | {count.commands:,} | {mean:.0f} | "
        f"{count.slowest:.1f} | {count.memory:.2f} | {len(count.faults)} |"
    )


if __name__ == "__main__":
    sys.exit(main())
