"""Reading ahead: what the next passes need is read and decoded while the device computes.

By threads and not by processes: reading, decoding and scaling release the interpreter's lock, no
arrays are copied between processes, and nothing hangs after a fork. What is read is a function of
the pass alone, so the number of threads, also none, changes nothing but the time.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Generic, TypeVar

A = TypeVar("A")
T = TypeVar("T")


def in_this_context(function: Callable[[A], T]) -> Callable[[A], T]:
    """A function to be called in other threads, whose messages go where those of this one go."""
    context = copy_context()
    return lambda given: context.copy().run(function, given)


class Ahead(Generic[T]):
    """Calls a function of a pass's number, and before they are asked for, of the next numbers.

    The next ones are guessed from the last two that were asked for: a process of several does every
    n-th pass. A wrong guess costs only time.
    """

    def __init__(self, fetch: Callable[[int], T], workers: int) -> None:
        """workers: threads; 0 reads in the calling thread when it is asked for."""
        self.fetch, self.workers = fetch, workers
        self._pool = ThreadPoolExecutor(workers, "reader") if workers else None
        self._pending: dict[int, Future[T]] = {}
        self._last: int | None = None

    def __call__(self, number: int) -> T:
        """The result for pass `number`; raises what the function raises."""
        if self._pool is None:
            return self.fetch(number)
        step = 1 if self._last is None or number <= self._last else number - self._last
        self._last = number
        wanted = [number + step * ahead for ahead in range(2 * self.workers + 1)]
        for old in self._pending.keys() - set(wanted):
            self._pending.pop(old).cancel()
        for one in wanted:
            if one not in self._pending:
                self._pending[one] = self._pool.submit(in_this_context(self.fetch), one)
        return self._pending.pop(number).result()
