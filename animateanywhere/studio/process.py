"""Modules of the package that run in a process of their own, while the studio answers others."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path


async def run_module(
    module: str, *arguments: str, patience: float, runs: Path | None = None
) -> tuple[int, str, list[str]]:
    """The exit code of a module, what it printed, and the lines of its stderr. runs: its folder of
    runs, if that is another than of this process.

    Raises TimeoutError after `patience` seconds; the process is ended then, and also where nobody
    waits for it any more.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env=None if runs is None else {**os.environ, "AA_RUNS": str(runs)},
    )  # fmt: skip
    try:
        out, said = await asyncio.wait_for(process.communicate(), patience)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        code = await process.wait()
    return code, out.decode(errors="replace"), said.decode(errors="replace").strip().splitlines()
