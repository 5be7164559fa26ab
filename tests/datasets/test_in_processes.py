"""What several processes render is what one renders; and none of them remains."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest

from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.core.frame_size import Size
from animateanywhere.datasets import in_processes
from animateanywhere.datasets.rendered import array_sample, rendered_shards
from animateanywhere.datasets.shards import Sample, index_path, shard_path
from animateanywhere.methods.animate_anywhere import puppet_corpora
from animateanywhere.methods.animate_anywhere.settings import load_recipe
from animateanywhere.methods.anycharv.settings import Corpus as Triplets
from animateanywhere.methods.anycharv.triplets import Triplet, triplets
from animateanywhere.methods.context_anyone.pairs import Person, people
from animateanywhere.methods.context_anyone.settings import Corpus as People


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Two processes, also for a few rows."""
    monkeypatch.setattr(in_processes, "processors", lambda: 2)
    monkeypatch.setattr(in_processes, "FEW", 2)
    return monkeypatch


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_any_number_of_processes_renders_the_same_bytes(
    tmp_path: Path, two: pytest.MonkeyPatch
) -> None:
    """Also where it goes on in the middle of a batch."""
    recipe = load_recipe("tiny")
    model = replace(recipe.model, size=32, frames=2)
    corpus = replace(recipe.corpus, images=40, clips=3, detailed=True)
    recipe = replace(recipe, model=model, corpus=corpus)
    puppet_corpora.open_puppets(recipe, tmp_path / "two")
    captions = tmp_path / "two" / "images" / "captions.jsonl"
    captions.write_text("".join(captions.read_text().splitlines(keepends=True)[:21]))
    np.load(captions.with_name("frames.npy"), mmap_mode="r+")[21:] = 0
    puppet_corpora.open_puppets(recipe, tmp_path / "two")
    two.setattr(in_processes, "processors", lambda: 1)
    puppet_corpora.open_puppets(recipe, tmp_path / "one")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert len(contents(tmp_path / "one")) >= 8


def squares(numbers: range) -> Iterator[int]:
    for number in numbers:
        yield number**2


def test_rows_come_in_order_and_few_are_asked_for_ahead(
    tmp_path: Path, two: pytest.MonkeyPatch
) -> None:
    groups = [range(start, start + 1) for start in range(40)]
    with in_processes.in_processes(partial(noted, tmp_path), groups) as rows:
        assert next(rows) == 0
        time.sleep(0.5)
        assert len(list(tmp_path.iterdir())) <= 2 * in_processes.AHEAD + 2
        assert list(rows) == [number**2 for number in range(1, 40)]
    assert len({path.read_text() for path in tmp_path.iterdir()} - {str(os.getpid())}) == 2
    assert not multiprocessing.active_children()


def noted(folder: Path, numbers: range) -> Iterator[int]:
    """Squares, and by which process each was made."""
    for number in numbers:
        time.sleep(0.01)
        (folder / str(number)).write_text(str(os.getpid()))
        yield number**2


def ends(how: str, numbers: range) -> Iterator[int]:
    if 5 in numbers:
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "exits":
            os._exit(3)
        raise UsageError("number 5 cannot be rendered")
    return squares(numbers)


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        ("killed", Failure, "renders was killed by signal 9; to go on"),
        ("exits", Failure, "renders ended with exit code 3; to go on"),
        ("fails", UsageError, "^number 5 cannot be rendered"),
    ],
)
def test_a_process_that_ends_is_told_in_one_line(
    how: str, error: type[Exception], words: str, two: pytest.MonkeyPatch
) -> None:
    groups = [range(start, start + 2) for start in range(0, 40, 2)]
    with (
        pytest.raises(error, match=words) as raised,
        in_processes.in_processes(partial(ends, how), groups) as rows,
    ):
        assert list(rows) == []
    assert len(str(raised.value).splitlines()) == 1
    assert not multiprocessing.active_children()


def test_processes_that_train_together_share_the_processors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of two processors and two of them, each has one: rows are made by the process itself."""
    monkeypatch.setattr(in_processes, "FEW", 2)
    monkeypatch.setattr(in_processes, "processors", lambda: 2)
    with in_processes.in_processes(lambda group: [os.getpid()], [range(9)] * 9, sharers=2) as rows:
        assert {*rows} == {os.getpid()}


SCRIPT = """
import os, sys, time
from pathlib import Path

import numpy as np

from animateanywhere.core.frame_size import square
from animateanywhere.datasets import in_processes
from animateanywhere.datasets.clips import ClipRow, open_corpus

def make(numbers):
    Path(f"pid-{os.getpid()}").touch()
    for number in numbers:
        time.sleep(0.05)
        yield ClipRow(np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 18, 3)), [""])

if __name__ == "__main__":
    in_processes.processors = lambda: 2
    try:
        open_corpus(Path("corpus"), make, 10_000, 1, square(8))
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_no_process_outlives_the_command(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """Ctrl-C goes to all processes of a terminal; a kill only to the command."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)  # tests in the background ignore it
    process = subprocess.Popen(
        [sys.executable, script], cwd=tmp_path, start_new_session=True, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    signal.signal(signal.SIGINT, before)
    made = tmp_path / "corpus" / "captions.jsonl"
    end = time.monotonic() + 120
    while len([*tmp_path.glob("pid-*")]) < 2 or not made.exists():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code and said == b""
    workers = [int(path.name[4:]) for path in tmp_path.glob("pid-*")]
    end = time.monotonic() + 20
    while any(psutil.pid_exists(pid) for pid in workers) and time.monotonic() < end:
        time.sleep(0.05)
    assert len(workers) == 2 and not any(psutil.pid_exists(pid) for pid in workers)


def test_people_of_the_other_methods_are_the_same_from_processes(
    tmp_path: Path, two: pytest.MonkeyPatch
) -> None:
    """In shards that this process writes, also where some are there already."""
    of_triplets = partial(
        triplets, Triplets(pictures=2), frames=1, size=16, fps=8.0, reference=Size(16, 32), seed=1
    )
    of_people = partial(people, People(pictures=2), frames=2, size=16, fps=8.0, seed=1)

    def encode(number: int, one: Triplet | Person) -> Sample:
        arrays = {"pictures": one.pictures, "keypoints": one.keypoints}
        halves = {name: array.astype(np.float16) for name, array in arrays.items()}
        return array_sample(f"{number}", halves, "")

    def made(count: int, render: Callable[[range], Iterable[Triplet | Person]]) -> Path:
        two.setattr(in_processes, "processors", lambda: count)
        folder = tmp_path / f"{count}-{render is of_people}"
        rendered_shards(folder, 7, 2, {}, render, encode, "people")
        return folder

    for render in (of_triplets, of_people):
        made(2, render)
        index_path(shard_path(made(2, render), 1)).unlink()
        assert contents(made(2, render)) == contents(made(1, render))
