"""Corpora of arrays that this program computes itself, from puppets or by a model: made once, as
shards that an interrupted run goes on with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from accelerate import PartialState
from rich.markup import escape

from animateanywhere.core.errors import UsageError
from animateanywhere.core.launcher import on_this_machine
from animateanywhere.core.messages import progress, warn
from animateanywhere.datasets.arrays import array_files
from animateanywhere.datasets.in_processes import in_processes
from animateanywhere.datasets.shard_corpus import ShardCorpus, open_shards, write_corpus
from animateanywhere.datasets.shards import (
    Sample,
    finished_shard,
    read_shard,
    shard_path,
    write_shard,
)

PER_SHARD = 64  # frames or samples, whichever fills a shard first
TRIES = 16  # damaged samples in a row, after which training ends

T = TypeVar("T")


def cached_shards(
    folder: Path, count: int, each: int, about: Mapping[str, Any],
    make: Callable[[range], Iterable[Sample]], label: str,
) -> ShardCorpus:  # fmt: skip
    """A corpus of `count` samples, `each` in a shard. Shards that are finished and were made from
    `about` are kept, so an interrupted run resumes; processes that train together share the work.

    make: the samples of some numbers.
    """
    groups = _groups(count, each)
    missing = {*_missing(folder, groups, about)}
    state = PartialState()
    with progress(label, total=count) as bar:
        for number, group in enumerate(groups):
            if number in missing:
                write_shard(folder, number, make(group), about)
            bar.advance(len(group))
    state.wait_for_everyone()
    if state.is_main_process:
        write_corpus(folder, [read_shard(shard_path(folder, n)) for n in range(len(groups))])
    state.wait_for_everyone()
    return open_shards(folder)


def rendered_shards(
    folder: Path, count: int, each: int, about: Mapping[str, Any],
    render: Callable[[range], Iterable[T]], encode: Callable[[int, T], Sample], label: str,
) -> ShardCorpus:  # fmt: skip
    """As `cached_shards`, of what `render` gives for numbers, in several processes if there are
    many (see `in_processes`), and `encode`, here, makes a sample of."""
    groups = _groups(count, each)
    missing = [groups[number] for number in _missing(folder, groups, about)]
    one_by_one = [range(number, number + 1) for group in missing for number in group]
    with in_processes(render, one_by_one, sharers=on_this_machine()) as rows:

        def make(numbers: range) -> Iterator[Sample]:
            return map(encode, numbers, rows)  # ends with the numbers

        return cached_shards(folder, count, each, about, make, label)


def _groups(count: int, each: int) -> list[range]:
    return [range(start, min(start + each, count)) for start in range(0, count, each)]


def _missing(folder: Path, groups: Sequence[range], about: Mapping[str, Any]) -> list[int]:
    """The shards that this one of the processes that train together has to write, in order."""
    state = PartialState()
    own = range(state.process_index, len(groups), state.num_processes)
    return [number for number in own if finished_shard(folder, number, about) is None]


def array_sample(key: str, arrays: Mapping[str, np.ndarray], caption: str) -> Sample:
    """A sample of arrays, float16 or float32, by name."""
    files = array_files({f"{name}.npy": array for name, array in arrays.items()})
    meta = {"width": 1, "height": 1, "frames": 1, "fps": 0.0, "license": "", "source": "puppets"}
    files |= {"caption.txt": f"{caption}\n".encode(), "meta.json": json.dumps(meta).encode()}
    return Sample(key, files)


def undamaged(read: Callable[[int], T], row: int, count: int, damaged: set[int]) -> T:
    """What `read` reads of a row or, where that is damaged, of the next one of `count`, with a
    warning: a run of days is not lost with one file.

    damaged: those known, and added to. Raises UsageError if `TRIES` in a row are.
    """
    tries = min(TRIES, count)
    for number in (place % count for place in range(row, row + tries)):
        if number in damaged:
            continue
        try:
            return read(number)
        except UsageError as error:
            damaged.add(number)
            warn(escape(f"{error}; the next person is taken in that one's place"))
    raise UsageError(f"{tries} people of the corpus in a row are damaged; see the warnings")
