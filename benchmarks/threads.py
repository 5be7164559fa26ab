"""How waiting threads of OpenMP cost time: wall time of a training step by the way they wait.

    .venv/bin/python benchmarks/threads.py [--rows 8] [--turns 5] [--busy 0 1 2]

Threads that wait for others either spin, which is quick on an idle machine and takes the processor
from others on a busy one, or sleep. OpenMP reads how when it is loaded, so there is one process for
each setting; they take turns, with so many other processes busy. Prints a Markdown table of the
times relative to those of libgomp's default on a machine with none.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from statistics import median

SETTINGS = {
    "libgomp's default": {},
    "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
    "GOMP_SPINCOUNT=1000": {"GOMP_SPINCOUNT": "1000"},
    "GOMP_SPINCOUNT=10000": {"GOMP_SPINCOUNT": "10000"},
    "GOMP_SPINCOUNT=100000": {"GOMP_SPINCOUNT": "100000"},
}
VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS")
DONE = "step"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=8, help="rows of a step")
    parser.add_argument("--turns", type=int, default=5, help="steps that are measured")
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, os.cpu_count() or 2])
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.rows)
        return
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    with ExitStack() as stack:
        workers = {name: stack.enter_context(worker(options.rows, variables))
                   for name, variables in SETTINGS.items()}  # fmt: skip
        times = {}
        for count in options.busy:
            with others(count):
                times[count] = in_turn(workers, options.turns)
    unit = times[options.busy[0]][next(iter(SETTINGS))]
    heads = [f"{count} other processes" for count in options.busy]
    print(f"| waiting | {' | '.join(heads)} |", "|---|" + "---:|" * len(heads), sep="\n")
    for name in SETTINGS:
        cells = [f"{times[count][name] / unit:.2f}" for count in options.busy]
        print(f"| {name} | {' | '.join(cells)} |")
    print(f"\n1.00 is {unit:.2f} s a step of {options.rows} rows")


def in_turn(workers: dict[str, subprocess.Popen[str]], turns: int) -> dict[str, float]:
    """Median seconds of a step of each worker, by name; the first turn is not counted."""
    spent: dict[str, list[float]] = {name: [] for name in workers}
    for turn in range(turns + 1):
        for name, process in workers.items():
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(f"{DONE}\n")
            process.stdin.flush()
            seconds = float(process.stdout.readline())
            if turn:
                spent[name].append(seconds)
    return {name: median(values) for name, values in spent.items()}


@contextmanager
def worker(rows: int, variables: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A process that trains a step whenever it is asked."""
    kept = {name: text for name, text in os.environ.items() if name not in VARIABLES}
    command = [sys.executable, __file__, "--worker", "--rows", str(rows)]
    process = subprocess.Popen(
        command, env={**kept, **variables}, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def others(count: int) -> Iterator[None]:
    """So many other processes that never wait."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def work(rows: int) -> None:
    """Train the image UNet of the bundled base for a step on each line of stdin; print seconds."""
    import torch

    from animateanywhere.backbones.base import load_base

    base = load_base()
    unet = base.denoiser.requires_grad_(True)
    x = torch.randn(rows, unet.config.in_channels, 16, 16)
    text = torch.randn(rows, 32, unet.config.cross_attention_dim)
    for _ in sys.stdin:
        start = time.perf_counter()
        unet(x, torch.tensor([500]), encoder_hidden_states=text).sample.square().mean().backward()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
