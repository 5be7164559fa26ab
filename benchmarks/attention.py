"""Mask-guided attention as one appended channel, against a dense bias and plain attention.

    .venv/bin/python benchmarks/attention.py

Prints a Markdown table: seconds (median of several runs) and the ratio to plain attention, all in
one process, and how far the appended channel lies from the dense bias.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from animateanywhere.backbones.guided_attention import guided_attention

GAMMA = 0.1


def timed(run: Callable[[], Tensor], times: int) -> float:
    """Median seconds of a run, after one that is not counted."""
    seconds = []
    for _ in range(times + 1):
        start = time.perf_counter()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=7)
    times = parser.parse_args().times
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    print(f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}, fp32\n")
    print("| pixels | plain | appended channel | dense bias | appended / plain | "
          "dense / plain | max difference |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    for pixels in (256, 1024, 4096):
        q, k, v = (torch.randn(2, 8, pixels, 40, device=device) for _ in range(3))
        m = torch.rand(2, pixels, device=device) * 2 - 1

        def plain() -> Tensor:
            return F.scaled_dot_product_attention(q, k, v)  # noqa: B023

        def dense() -> Tensor:
            bias = -math.log(GAMMA) / 2 * m[:, None, :, None] * m[:, None, None, :]  # noqa: B023
            return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)  # noqa: B023

        def appended() -> Tensor:
            return guided_attention(q, k, v, m, m, GAMMA)  # noqa: B023

        base, ours, bias = (timed(run, times) for run in (plain, appended, dense))
        apart = float((appended() - dense()).abs().max())
        print(
            f"| {pixels} | {base * 1e3:.1f} ms | {ours * 1e3:.1f} ms | {bias * 1e3:.1f} ms "
            f"| {ours / base:.2f} | {bias / base:.2f} | {apart:.1e} |"
        )


if __name__ == "__main__":
    main()
