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
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import (
    AbstractContextManager,
    ExitStack,
    closing,
    contextmanager,
    nullcontext,
    suppress,
)
from contextvars import ContextVar, copy_context
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
    place = (cache_place(CACHE) if _KEPT.get() is None else CACHE) / name
    paths = [place / f"{_digest(arrays)}.npz" for arrays in arguments]
    results = [_load(path) for path in paths]
    missing = [index for index, known in enumerate(results) if known is None]
    stop, lock = threading.Event(), threading.Lock()

    def work(thread: _Thread, part: list[int]) -> None:
        function = thread.opened(name, open_backend)
        for index in part:
            if stop.is_set():
                return
            result = function(*arguments[index])
            _store(paths[index], result)
            with lock:
                results[index] = result
                bar.advance(1)

    if missing:
        kept = _KEPT.get()
        with (
            progress(label, total=len(frames), done=len(frames) - len(missing)) as bar,
            closing(_Threads()) if kept is None else nullcontext(kept.threads) as threads,
        ):
            # A copy of the context for each thread, so that its messages reach our reporter
            parts = [
                thread.pool.submit(copy_context().run, work, thread, missing[start::workers])
                for start, thread in enumerate(threads.first(workers))
            ]
            try:
                for part in parts:
                    part.result()
            except BaseException:  # Ctrl-C too: the results so far are in the cache
                stop.set()
                wait(parts)
                raise
    return [known for known in results if known is not None]


class KeptOpen:
    """Backends that stay open for clip after clip, where loading them for each would take longer
    than using them. Results are kept in memory, and only for one clip."""

    def __init__(self) -> None:
        self.threads = _Threads()
        self.results: dict[Path, FrameResult] = {}

    @contextmanager
    def one_clip(self) -> Iterator[None]:
        """Inside, `cached_results` uses these backends and this memory."""
        self.results.clear()
        token = _KEPT.set(self)
        try:
            yield
        finally:
            _KEPT.reset(token)
            self.results.clear()

    def close(self) -> None:
        """Close all backends."""
        self.threads.close()


_KEPT: ContextVar[KeptOpen | None] = ContextVar("kept", default=None)


class _Thread:
    """A thread, and what it has opened by name."""

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(1)
        self.stack = ExitStack()
        self.functions: dict[str, FrameFunction] = {}

    def opened(
        self, name: str, open_backend: Callable[[], AbstractContextManager[FrameFunction]]
    ) -> FrameFunction:
        if name not in self.functions:
            self.functions[name] = self.stack.enter_context(open_backend())
        return self.functions[name]


class _Threads:
    """Threads that are started when they are needed."""

    def __init__(self) -> None:
        self.threads: list[_Thread] = []

    def first(self, count: int) -> list[_Thread]:
        self.threads += [_Thread() for _ in range(count - len(self.threads))]
        return self.threads[:count]

    def close(self) -> None:
        for thread in self.threads:
            with thread.pool as pool:
                pool.submit(thread.stack.close).result()
        self.threads.clear()


def _digest(arrays: Sequence[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(repr((array.shape, array.dtype.str)).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:32]


def _load(path: Path) -> FrameResult | None:
    if kept := _KEPT.get():
        return kept.results.get(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None


def _store(path: Path, result: FrameResult) -> None:
    if kept := _KEPT.get():
        kept.results[path] = result
        return
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
