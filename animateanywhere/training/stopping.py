"""Ctrl-C and SIGTERM during training: the step is saved first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from animateanywhere.core.errors import Failure, UsageError


class Stop:
    """Within this context, Ctrl-C and SIGTERM are only noted, in `requested`.

    A signal in the middle of an optimizer step, of a write, or of TensorBoard's queue, whose lock
    it would leave held, would do harm; and of several processes, each must end at the same step.
    Signals that the process ignores remain ignored, and threads other than the main one get none.
    """

    def __init__(self) -> None:
        self.requested = 0  # number of the first signal
        self._open = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                before = signal.getsignal(number)
                if before is not signal.SIG_IGN:
                    self._before[number] = before
                    signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self._restore()
        # One that came last of all, after the work was done, or of which a library made an error
        own = kind is not None and issubclass(kind, UsageError | Failure)
        if self.requested and not own and (kind is None or issubclass(kind, Exception)):
            self.end()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """A block that a signal leaves by a KeyboardInterrupt, as does one that came before."""
        if self.requested:
            raise KeyboardInterrupt
        self._open = True
        try:
            yield
        finally:
            self._open = False

    def end(self) -> None:
        """Pass the signal on to who handled it before, which raises KeyboardInterrupt or ends the
        process."""
        self._restore()
        if self.requested in (signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(signal.Signals(self.requested))
        raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        first = not self.requested
        self.requested = self.requested or number
        if first and self._open:
            raise KeyboardInterrupt

    def _restore(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)
