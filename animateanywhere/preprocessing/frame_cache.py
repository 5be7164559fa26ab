"""A cache on disk of the results for single frames (detections, keypoints, masks, captions).

Keyed by the frame's pixels and the backend, so that an interrupted `aa prepare` resumes, and
another scene, size or longer cut of a clip takes little time.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from contextvars import copy_context
from pathlib import Path

import numpy as np

from animateanywhere.core.files import cache_place
from animateanywhere.core.messages import progress
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
    """The results of a backend for each frame, read from the cache where they are known.

    Args:
        frames: uint8 (F, H, W, 3).
        name: of the backend, including its version and every setting that changes its results.
        open_backend: context manager of its function from a frame to arrays; entered once for each
            worker, and not at all if all results are cached.
        label: of the progress bar, such as "estimating poses".
        hints: one for each frame, passed to the function as well, such as a bounding box.
        workers: number of threads, each with its own function.

    Returns:
        For each frame, its arrays by name. A result that cannot be written, for example on a full
        disk, is computed again the next time.
    """
    arguments = [(frame,) if hints is None else (frame, hints[index])
             for index, frame in enumerate(frames)]  # fmt: skip
    place = cache_place(CACHE) / name
    paths = [place / f"{_digest(arrays)}.npz" for arrays in arguments]
    results = [_load(path) for path in paths]
    missing = [index for index, known in enumerate(results) if known is None]
    stop, lock = threading.Event(), threading.Lock()

    def work(part: list[int]) -> None:
        with open_backend() as function:
            for index in part:
                if stop.is_set():
                    return
                result = function(*arguments[index])
                _store(paths[index], result)
                with lock:
                    results[index] = result
                    bar.advance(1)

    if missing:
        with (
            progress(label, total=len(frames), done=len(frames) - len(missing)) as bar,
            ThreadPoolExecutor(workers) as pool,
        ):
            # A copy of the context for each thread, so that its messages reach our reporter
            parts = [
                pool.submit(copy_context().run, work, missing[start::workers])
                for start in range(workers)
            ]
            try:
                for part in parts:
                    part.result()
            except BaseException:  # Ctrl-C too: the results so far are in the cache
                stop.set()
                raise
    return [known for known in results if known is not None]


def _digest(arrays: Sequence[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(repr((array.shape, array.dtype.str)).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:32]


def _load(path: Path) -> FrameResult | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None


def _store(path: Path, result: FrameResult) -> None:
    part = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.npz")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Equivalent to numpy's savez_compressed, in a quarter of the time
            with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
                for name, array in result.items():
                    with file.open(f"{name}.npy", "w") as entry:
                        np.lib.format.write_array(entry, np.asarray(array), allow_pickle=False)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
