"""What was found in a frame is kept, so that the same pixels are not looked at twice: a stopped
`prepare` goes on where it was, and another scene, size or longer cut of a clip costs little."""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import numpy as np

from animateanywhere.core.console import progress
from animateanywhere.core.paths import RUNS

CACHE = RUNS / "frame_cache"
FrameResult = dict[str, np.ndarray]
FrameFunction = Callable[..., FrameResult]


def cached_results(
    frames: np.ndarray,
    name: str,
    open_backend: Callable[[], AbstractContextManager[FrameFunction]],
    label: str,
    hints: np.ndarray | Sequence[np.ndarray] | None = None,
    workers: int = 1,
) -> list[FrameResult]:
    """What a backend finds in each frame, from memory where it saw the same before.

    Args:
        frames: uint8 (F, H, W, 3).
        name: of the backend, with its version and whatever else changes what it finds.
        opened: gives its function from a frame to arrays, called once a worker, and not at all
            where everything is known.
        what: for the progress bar, such as "finding poses".
        hints: for each frame what the function gets beside it, such as a box.
        workers: threads, each with a function of its own.

    Returns:
        For each frame the arrays by name. What cannot be kept, on a full disk say, is found anew
        the next time.
    """
    asked = [(frame,) if hints is None else (frame, hints[index])
             for index, frame in enumerate(frames)]  # fmt: skip
    paths = [CACHE / name / f"{_digest(arrays)}.npz" for arrays in asked]
    found = [_load(path) for path in paths]
    missing = [index for index, known in enumerate(found) if known is None]
    stop, turn = threading.Event(), threading.Lock()

    def work(part: list[int]) -> None:
        with open_backend() as look:
            for index in part:
                if stop.is_set():
                    return
                here = look(*asked[index])
                _store(paths[index], here)
                with turn:
                    found[index] = here
                    bar.advance(1)

    if missing:
        with (
            progress(label, total=len(frames), done=len(frames) - len(missing)) as bar,
            ThreadPoolExecutor(workers) as pool,
        ):
            parts = [pool.submit(work, missing[start::workers]) for start in range(workers)]
            try:
                for part in parts:
                    part.result()
            except BaseException:  # Ctrl-C too: what is found so far stays known
                stop.set()
                raise
    return [known for known in found if known is not None]


def _digest(arrays: Sequence[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(repr((array.shape, array.dtype.str)).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:32]


def _load(path: Path) -> FrameResult | None:
    try:
        with np.load(path, allow_pickle=False) as kept:
            return dict(kept)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None


def _store(path: Path, found: FrameResult) -> None:
    part = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.npz")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # As numpy's savez_compressed, at a quarter of its time
            with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
                for name, array in found.items():
                    with file.open(f"{name}.npy", "w") as entry:
                        np.lib.format.write_array(entry, np.asarray(array), allow_pickle=False)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
