"""Rendering by several processes: what is made of a number alone is made by as many processes as
there are processors, and comes in order.

Each process has a pipe of its own, on which it answers one request after another, and a thread of
this process waits for it. The pool of `concurrent.futures` has one pipe for all results: a process
that is killed while it sends (a full memory, Ctrl-C) would leave a half of one there, and whoever
waits would wait forever.

The processes are forked from a server, a fresh process that has loaded what they need and nothing
else: the calling process may have used CUDA and have threads, with which it must not be forked, and
one that is started anew would load PyTorch, for seconds, each time.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from itertools import chain
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from typing import TypeVar

import torch

from animateanywhere.core.device import processors
from animateanywhere.core.errors import Failure

FEW = 64  # rows that are made sooner than processes start
AHEAD = 2  # groups of rows for each process that are asked for before they are needed

T = TypeVar("T")
Make = Callable[[range], Iterable[T]]


@contextmanager
def in_processes(make: Make[T], groups: Sequence[range], sharers: int = 1) -> Iterator[Iterator[T]]:
    """The rows that `make` gives for groups of numbers, one group after another.

    make: a row for each number, which depends on that alone; it is pickled, as its rows are. Few
    rows are made by this process. sharers: processes that do this at once and share the processors.
    Raises Failure if one of the processes ends; leaving the block ends them.
    """
    count = min(processors() // sharers, len(groups))
    if count < 2 or sum(map(len, groups)) < FEW:
        yield chain.from_iterable(make(group) for group in groups)
        return
    workers: list[tuple[BaseProcess, Connection]] = []
    threads = ThreadPoolExecutor(count, "renderer")
    try:
        context = multiprocessing.get_context("forkserver")
        module = getattr(make, "func", make).__module__  # of a partial
        with _without_main() if module != "__main__" else nullcontext():
            _start_server(module)
            for _ in range(count):
                here, there = context.Pipe()
                process = context.Process(target=_answer, args=(there, make), daemon=True)
                process.start()
                there.close()  # so that the pipe ends with the process
                workers.append((process, here))
        yield _in_order(threads, workers, groups)
    finally:
        for worker, _ in workers:
            worker.kill()
        threads.shutdown(cancel_futures=True)
        for worker, end in workers:
            worker.join()
            end.close()


@contextmanager
def _without_main() -> Iterator[None]:
    """Let new processes not run the program's main file anew: a script would do its work again in
    each of them, and they need nothing of it unless it defines what is made."""
    main = vars(sys.modules["__main__"])
    hidden: dict[str, object] = {
        name: main.pop(name) for name in ("__file__", "__spec__") if name in main
    }
    main["__spec__"] = None
    try:
        yield
    finally:
        del main["__spec__"]
        main.update(hidden)


def _start_server(module: str) -> None:
    """Start the server, if it does not run, so that neither it nor its processes know of Ctrl-C:
    this process ends them."""
    forkserver.set_forkserver_preload([__name__, module])
    resource_tracker.ensure_running()  # the server would, and let signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _in_order(
    threads: ThreadPoolExecutor, workers: Sequence[tuple[BaseProcess, Connection]],
    groups: Iterable[range],
) -> Iterator[T]:  # fmt: skip
    free: SimpleQueue[tuple[BaseProcess, Connection]] = SimpleQueue()
    for worker in workers:
        free.put(worker)

    def ask(group: range) -> list[T]:
        process, end = worker = free.get()
        try:
            end.send(group)
            found: list[T] | Exception = end.recv()
        except (EOFError, OSError):
            process.join()
            raise Failure(
                f"a process that renders {_ending(process)}; to go on, run the same command again, "
                "with fewer processors (taskset) if memory ran out"
            ) from None
        finally:
            free.put(worker)
        if isinstance(found, Exception):
            raise found
        return found

    pending: deque[Future[list[T]]] = deque()
    for group in groups:
        pending.append(threads.submit(ask, group))
        if len(pending) > AHEAD * len(workers):
            yield from pending.popleft().result()
    while pending:
        yield from pending.popleft().result()


def _ending(process: BaseProcess) -> str:
    code = process.exitcode
    if code is not None and code < 0:
        return f"was killed by signal {-code}"
    return f"ended with exit code {code}"


def _answer(end: Connection, make: Make[T]) -> None:
    """What a process does: the rows of each group that comes, or the error, until the pipe ends."""
    torch.set_num_threads(1)  # the others have the other processors
    with suppress(EOFError, OSError):  # who asked is gone
        while True:
            group = end.recv()
            try:
                found: list[T] | Exception = list(make(group))
            except Exception as error:
                error.add_note(traceback.format_exc())
                found = error
            end.send(found)
