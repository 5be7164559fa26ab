"""Modules of the package that run in a process of their own, while the studio answers others."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress


async def run_module(module: str, *arguments: str, patience: float) -> tuple[int, str, list[str]]:
    """The exit code of a module, what it printed, and the lines of its stderr.

    Raises TimeoutError after `patience` seconds; the process is ended then, and also where nobody
    waits for it any more.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, said = await asyncio.wait_for(process.communicate(), patience)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        code = await process.wait()
    return code, out.decode(errors="replace"), said.decode(errors="replace").strip().splitlines()
