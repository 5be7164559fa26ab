"""The runner on Ray Data: a cluster on this machine, with workers that die and items that kill."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from animateanywhere.commands.corpus import build
from animateanywhere.core.errors import Failure
from animateanywhere.preprocessing.corpus import in_process, on_ray
from animateanywhere.preprocessing.corpus.clip import Preprocessor
from animateanywhere.preprocessing.corpus.puppet import puppet_sources
from animateanywhere.preprocessing.corpus.source import Piece, Settings, frames_of

pytest.importorskip("ray", reason="ray is not installed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A cluster of two workers, for all tests of this file."""
    with on_ray.connected(None, 2):
        yield


def test_a_cluster_that_does_not_answer_is_named_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(Failure, match=f"the cluster {address} does not answer"):
        list(on_ray.run(lambda: str, [("one", 1)], address))


@pytest.mark.parametrize(("gpus", "workers", "at_once"), [(0, 4, 0), (8, 8, 1), (8, 2, 1),
                                                          (3, 4, 2), (2, 5, 3)])  # fmt: skip
def test_all_workers_have_a_place_on_a_gpu(gpus: int, workers: int, at_once: int) -> None:
    share = on_ray._share(gpus, workers)
    assert share == (1 / at_once if gpus else 0)
    assert gpus * at_once >= workers or not gpus


@pytest.mark.usefixtures("cluster")
def test_nothing_is_lost_and_nothing_twice_when_workers_die(tmp_path: Path) -> None:
    def make() -> object:
        def work(item: int) -> int:
            if item == 20:
                os._exit(1)  # a poisoned item kills each worker that takes it
            died = tmp_path / "died"
            if item == 8 and not died.exists():
                died.touch()
                os._exit(1)
            return item * item

        return work

    items = [(f"item \udce4 {number}", number) for number in range(30)]
    found = list(on_ray.run(make, items, workers=2))  # type: ignore[arg-type]
    assert (tmp_path / "died").exists()
    assert sorted(name for name, _ in found) == sorted(name for name, _ in items)
    wanted = {name: number * number for name, number in items}
    assert dict(found) == wanted | {"item \udce4 20": in_process.GivenUp(in_process.MOST_ATTEMPTS)}


@pytest.mark.usefixtures("cluster")
def test_samples_are_the_same_bytes_as_in_one_process(tmp_path: Path) -> None:
    settings = Settings(frames_of(64, 8.0, 8, (1.0,)))
    pieces = [Piece(source, 0.0, 8) for source in puppet_sources(3, "cc0")]
    items = [(piece.key, piece) for piece in pieces]
    make = partial(Preprocessor, settings)
    here = dict(in_process.run(make, items, tmp_path))
    assert dict(on_ray.run(make, items, workers=2)) == here


@pytest.mark.usefixtures("cluster")
def test_a_failure_ends_the_run_as_in_one_process() -> None:
    def make() -> object:
        def work(_item: int) -> int:
            raise Failure("disk full")

        return work

    with pytest.raises(Failure, match="disk full"):
        list(on_ray.run(make, [("one", 1)], workers=1))  # type: ignore[arg-type]


NODES = """
import os, subprocess, sys, time
from pathlib import Path
from ray.cluster_utils import Cluster

out = Path(sys.argv[1])
cluster = Cluster(True, head_node_args={"num_cpus": 1, "include_dashboard": False})
try:
    node = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    build = subprocess.Popen([
        sys.executable, "-m", "animateanywhere", "corpus", "build", "--puppets", "6", "--recipe",
        "tiny", "--out", str(out), "--engine", "ray", "--address", cluster.address,
    ])
    parts = out / "unfinished" / "samples"
    while build.poll() is None and not list(parts.glob("*.zip")):
        time.sleep(0.05)
    assert build.poll() is None, "it ended before the node was killed"
    cluster.remove_node(node, allow_graceful=False)
    sys.exit(build.wait())
finally:
    cluster.shutdown()
"""


def test_a_cluster_of_two_machines_of_which_one_dies(tmp_path: Path) -> None:
    """A real one, which asks for a token: nothing is lost, nothing twice, and the same bytes."""
    environment = os.environ | {
        "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,
        "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(Path(__file__).parents[3]),
    }  # fmt: skip
    command = [sys.executable, "-c", NODES, str(tmp_path / "ray")]
    ended = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    build([], tmp_path / "here", puppets=6, recipe="tiny")
    for name in ("shard-000000.tar", "shard-000000.index.json", "corpus.json"):
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
