"""Which rows are read when: a pure function of seed and pass, whoever does the pass.

A pass is the part of a training step whose rows go through the network together. All rows of a pass
are of one bucket, so that their frames have one size.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import sqrt

import numpy as np

_GOLDEN = (sqrt(5) - 1) / 2


class Order:
    """The order of the rows of some buckets.

    A pass draws its bucket with a probability equal to the bucket's share of all rows, evenly
    spread over the passes. Each bucket is read through again and again, each time in another
    random order, so after any number of passes all its rows were read equally often, up to one.
    """

    def __init__(self, buckets: Sequence[np.ndarray], seed: int) -> None:
        """buckets: the rows of each, int (n,), n > 0; a row that counts twice is in it twice."""
        self.buckets, self.seed = list(buckets), seed
        counts = np.array([len(rows) for rows in buckets], float)
        self._ends = np.cumsum(counts / counts.sum())
        self._start = float(np.random.default_rng([seed, 2]).random())
        # Of each pass so far: its bucket, and the number of passes of the same bucket before it
        self._passes = np.zeros((2, 0), np.int64)
        self._shuffled = lru_cache(4)(self._shuffle)

    def rows(self, number: int, count: int) -> tuple[int, np.ndarray]:
        """The bucket of pass `number`, and its `count` rows, when all passes have as many."""
        passes = self._passes
        if number >= passes.shape[1]:
            self._passes = passes = self._plan(2 * number + 1024)  # at once: threads share it
        bucket, before = passes[:, number].tolist()
        size = len(self.buckets[bucket])
        turns, places = np.divmod(before * count + np.arange(count), size)
        return bucket, np.array([
            self._shuffled(bucket, int(turn))[place]
            for turn, place in zip(turns, places, strict=True)
        ])  # fmt: skip

    def _plan(self, passes: int) -> np.ndarray:
        # Multiples of the golden ratio fill the unit interval as evenly as any sequence does
        points = (self._start + np.arange(passes) * _GOLDEN) % 1
        chosen = np.searchsorted(self._ends, points, side="right").clip(max=len(self.buckets) - 1)
        before = np.zeros(passes, np.int64)
        for bucket in range(len(self.buckets)):
            own = chosen == bucket
            before[own] = np.arange(own.sum())
        return np.stack([chosen, before])

    def _shuffle(self, bucket: int, turn: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, 3, bucket, turn])
        return rng.permutation(self.buckets[bucket])
