"""Pictures of people and their appearance in words: what a picture encoder learns from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from animateanywhere.datasets.order import Order
from animateanywhere.datasets.rendered import undamaged
from animateanywhere.datasets.shard_corpus import ShardCorpus

HELD_OUT = 192  # people at most that are left out, to measure with
Pairs = tuple[list[str], Tensor]  # captions, and pictures as latents (B, C, h, w)


class Described:
    """The people of a corpus, each with some pictures (`pictures.npy`) and a caption; the last of
    them are left out of what is drawn."""

    def __init__(
        self, people: ShardCorpus, caption: Callable[[int], str], pictures: int, seed: int
    ) -> None:
        """caption: of a row. pictures: of each person."""
        self.people, self.caption, self.pictures, self.seed = people, caption, pictures, seed
        self.known = len(people) - min(HELD_OUT, len(people) // 8)
        self.order, self.damaged = Order([np.arange(self.known)], seed), set[int]()

    def batch(self, number: int, count: int) -> Pairs:
        """A picture of each of `count` people, or of all, for pass `number`."""
        rng = np.random.default_rng([self.seed, 7, number])
        _, chosen = self.order.rows(number, min(count, self.known))
        shown = rng.integers(self.pictures, size=len(chosen))
        return self._read(chosen.tolist(), shown.tolist(), self.known)

    def held_out(self) -> Pairs | None:
        """The first picture of each person who is left out; None if nobody is."""
        rows = range(self.known, len(self.people))
        return self._read(rows, [0] * len(rows), len(self.people)) if rows else None

    def _read(self, rows: Sequence[int], shown: Sequence[int], count: int) -> Pairs:
        def one(at: int, row: int) -> tuple[str, np.ndarray]:
            return self.caption(row), self.people.rows(row, ["pictures.npy"], at, at + 1)[0]

        texts, pictures = zip(*(
            undamaged(partial(one, at), row, count, self.damaged)
            for row, at in zip(rows, shown, strict=True)
        ), strict=True)  # fmt: skip
        return list(texts), torch.from_numpy(np.concatenate(pictures)).float()
