"""Parts of a program that Ctrl-C and SIGTERM must not cut in two."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def without_interrupts() -> Iterator[None]:
    """Ctrl-C and SIGTERM take effect at the end of the block, if this is the main thread."""
    handlers = {kind: signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)}
    if threading.current_thread() is not threading.main_thread():
        handlers = {}
    came: list[tuple[int, FrameType | None]] = []
    for kind, handler in handlers.items():
        if callable(handler):
            signal.signal(kind, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        for kind, handler in handlers.items():
            signal.signal(kind, handler)
        for number, frame in came[:1]:
            handler = handlers[signal.Signals(number)]
            assert callable(handler)
            handler(number, frame)
