"""The runner on Ray Data: items go to actors that keep their models, on this machine or a cluster.

Ray Data holds back items while results wait to be taken (back-pressure), starts actors that died
anew and gives their items to others. Results come in any order, each exactly once.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import ceil
from typing import Any

from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.core.paths import install_command
from animateanywhere.preprocessing.corpus.in_process import MOST_ATTEMPTS, GivenUp

SECONDS = 10.0  # until a cluster must answer
MOST_BLOCKS = 20_000  # items are sent one by one, if there are not more


def require() -> None:
    """Raise UsageError if Ray is not installed."""
    from importlib.util import find_spec

    if find_spec("ray") is None:
        raise UsageError(f"--engine ray: ray is not installed; run: {install_command('ray')}")


def run(
    make: Callable[[], Callable[[Any], Any]], items: Sequence[tuple[str, Any]],
    address: str | None = None, workers: int | None = None,
) -> Iterator[tuple[str, Any]]:  # fmt: skip
    """The name and the result of each item, in any order.

    Args:
        make: returns the function from an item to its result, called once in each actor. What it
            raises as UsageError, Failure or OSError is raised here.
        items: with their names, which must differ.
        address: of a cluster, such as "auto" or "HOST:6379"; None: this machine.
        workers: number of actors; None: one for each GPU, or without any for each processor core.

    Raises UsageError if Ray is not installed, Failure if the cluster does not answer.
    """
    if not items:
        return
    with connected(address, workers) as ray:
        attempts = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(_Attempts).remote()
        rows = [{"item": pickle.dumps(one)} for one in items]  # a name may be no UTF-8 text
        gpus = int(ray.cluster_resources().get("GPU", 0))
        cores = int(ray.cluster_resources().get("CPU", 1))
        size = max(min(workers or gpus or cores, len(rows)), 1)
        data = ray.data.from_items(rows, override_num_blocks=min(len(rows), MOST_BLOCKS)).map(
            _Actor,
            fn_constructor_args=(make, attempts),
            compute=ray.data.ActorPoolStrategy(size=size),
            num_gpus=_share(gpus, size),
        )
        for row in data.iter_rows():
            name, result = pickle.loads(row["result"])
            if isinstance(result, Exception):
                raise result
            yield name, result


def _share(gpus: int, workers: int) -> float:
    """The part of a GPU for each worker. Each GPU takes whole workers: 4 workers have 1/2 of 3."""
    return 1 / ceil(workers / gpus) if gpus else 0


class _Actor:
    """The function of one process of the cluster."""

    def __init__(self, make: Callable[[], Callable[[Any], Any]], attempts: Any) -> None:
        self.work, self.attempts = make(), attempts

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        import ray

        name, item = pickle.loads(row["item"])
        result: Any
        before = ray.get(self.attempts.begin.remote(name))
        if before >= MOST_ATTEMPTS:
            result = GivenUp(before)
        else:
            try:
                result = self.work(item)
            except (UsageError, Failure, OSError) as error:  # Ray would wrap it
                result = error
            ray.get(self.attempts.end.remote(name))
        return {"result": pickle.dumps((name, result))}


class _Attempts:
    """Counts how often each item was begun and not ended: Ray would repeat one that kills its
    actor for ever."""

    def __init__(self) -> None:
        self.begun: dict[str, int] = {}

    def begin(self, name: str) -> int:
        """Begin an item; returns how often it was begun before."""
        before = self.begun.get(name, 0)
        self.begun[name] = before + 1
        return before

    def end(self, name: str) -> None:
        """An item is done."""
        self.begun.pop(name, None)


@contextmanager
def connected(address: str | None, workers: int | None) -> Iterator[Any]:
    """The module ray, connected to a cluster, which was started here if there is no address."""
    require()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to its makers
    import ray
    import ray.data

    if ray.is_initialized():
        yield ray
        return
    _require_answer(address)
    own: dict[str, Any] = {} if address else {"num_cpus": workers, "include_dashboard": False}
    try:
        ray.init(
            address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **own
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        where = f"the cluster {address} does not answer" if address else "Ray cannot be started"
        raise Failure(f"--engine ray: {where} ({reason})") from None
    for name in ("ray", "ray.data"):  # they write of each start and end
        logging.getLogger(name).setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    try:
        yield ray
    finally:
        ray.shutdown()


def _require_answer(address: str | None) -> None:
    """Raise Failure if nothing listens at HOST:PORT, for which Ray itself would wait minutes."""
    host, _, port = (address or "").rpartition("/")[2].rpartition(":")
    if not (host and port.isdecimal()):
        return
    try:
        socket.create_connection((host, int(port)), timeout=SECONDS).close()
    except (OSError, OverflowError) as error:
        raise Failure(f"--engine ray: the cluster {address} does not answer ({error})") from None
