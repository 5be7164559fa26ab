"""Training data that are drawn from clips of footage, as `aa corpus build` writes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from rich.markup import escape

from animateanywhere.core.errors import UsageError
from animateanywhere.core.messages import warn
from animateanywhere.datasets.shard_corpus import ShardCorpus, read_corpus_index

MASKS = "mask.mp4"
APART = 30  # frames between a target and a reference out of the same clip
TRIES = 16  # clips in a row that may be of no use
SEEN = 0.002  # share of the frame: a mask that is smaller shows nobody

C = TypeVar("C")  # a clip
T = TypeVar("T")  # what is drawn of one


@dataclass(frozen=True)
class Footage(Generic[C]):
    """Some clips of a corpus. read: a clip by its number in the corpus; raises UsageError, with
    file and key, if that cannot be read."""

    corpus: ShardCorpus
    rows: np.ndarray  # numbers in the corpus
    read: Callable[[int], C]
    useless: set[int] = field(default_factory=set)  # numbers of those that could not be used

    @cached_property
    def _recent(self) -> Callable[[int], C]:
        return lru_cache(maxsize=2)(self.read)

    def draws(
        self, count: int, numbers: range, seed: int, draw: Callable[[C, np.random.Generator], T]
    ) -> Iterator[T]:
        """The draws of some numbers of `count`; each depends on its number, `count` and the seed.

        Draws of one clip follow each other, so that it is decoded once. In place of a clip that
        cannot be read, or of which `draw` can make nothing (UsageError), the next one is taken,
        with one warning. Raises UsageError if `TRIES` in a row are of no use.
        """
        order = np.random.default_rng([seed, 9]).permutation(self.rows)
        each = -(-count // len(order))  # draws of a clip
        tries = min(TRIES, len(order))
        for number in numbers:
            for attempt in range(tries):
                row = int(order[(number // each + attempt) % len(order)])
                if row in self.useless:
                    continue
                rng = np.random.default_rng([seed, 8, number])
                try:
                    drawn = draw(self._recent(row), rng)
                except UsageError as error:
                    self.useless.add(row)
                    key = self.corpus.key(row)
                    warn(escape(f"{key}: {error}; the next clip is taken in its place"))
                    continue
                yield drawn
                break
            else:
                raise UsageError(
                    f"{self.corpus.folder}: {tries} clips in a row are of no use; see the warnings"
                )


def footage_hash(folder: Path) -> list[str]:
    """What changes if a shard of a corpus does."""
    return [str(row["sha256"]) for row in read_corpus_index(folder)["shards"]]


def shows_somebody(masks: np.ndarray) -> np.ndarray:
    """Whether masks uint8 (F, H, W) show a person, (F,) bool."""
    seen: np.ndarray = (masks > 127).mean((1, 2)) > SEEN
    return seen


def apart(
    seen: np.ndarray, distance: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Numbers (count,) of frames for references: of those in `seen`, some at least `APART` from the
    target, or the farthest there are. distance: of each of `seen` from the target, in frames."""
    far = seen[distance >= min(APART, int(distance.max()))]
    chosen: np.ndarray = rng.choice(far, count, replace=len(far) < count)
    return chosen
