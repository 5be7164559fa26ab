"""Base training from a corpus of clips and pictures: shards, or a folder of files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.markup import escape
from torch import Tensor

from animateanywhere.backbones.base import Base
from animateanywhere.core.errors import UsageError
from animateanywhere.core.frame_size import square
from animateanywhere.core.messages import warn
from animateanywhere.datasets.ahead import Ahead
from animateanywhere.datasets.clip_folder import open_folder
from animateanywhere.datasets.order import Order
from animateanywhere.datasets.samples import Samples, parse_captions
from animateanywhere.datasets.shard_corpus import ShardCorpus, is_shard_corpus, open_shards
from animateanywhere.methods.animate_anywhere.batch import Read, more_weight
from animateanywhere.methods.animate_anywhere.latent_shards import (
    ARRAYS,
    encoded_samples,
    layout_of,
)
from animateanywhere.methods.animate_anywhere.settings import Loss, Recipe, Stage
from animateanywhere.methods.animate_anywhere.vae_pictures import TRIES, SamplePictures
from animateanywhere.training.loop import pass_number


def open_samples(folder: Path) -> Samples:
    """A corpus of shards, or a folder of clips and pictures. Raises UsageError if it is neither, or
    damaged."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; [corpus] source names the training data")
    if not is_shard_corpus(folder):
        return open_folder(folder)
    found = open_shards(folder)
    if not len(found):
        raise UsageError(f"{folder}: contains no sample; run `aa corpus build` again")
    return found


@dataclass(frozen=True)
class CorpusData:
    """The samples of a corpus, from which all stages draw."""

    settings: Recipe
    out: Path
    samples: Samples

    @property
    def captions(self) -> list[str]:
        """All captions, to train a tokenizer on, but of samples that cannot be read, which a
        warning names. Raises UsageError if there is none."""
        found = []
        for number in range(len(self.samples)):
            name = self.samples.name(number, "caption.txt")
            try:
                found += parse_captions(self.samples.read(number, ["caption.txt"]), name)
            except UsageError as error:
                warn(escape(f"{error}; it is left out"))
        if not found:
            source = self.settings.corpus.source
            raise UsageError(f"{source}: no sample has a caption that can be read")
        return found

    @property
    def fingerprint(self) -> str:
        """A hash that changes if any sample does."""
        found = [self.samples.fingerprint(n) for n in range(len(self.samples.groups()))]
        return hashlib.sha256("".join(found).encode()).hexdigest()

    @cached_property
    def pictures(self) -> SamplePictures:
        """Square frames, for the VAE, which takes any size once it is trained."""
        model, workers = self.settings.model, self.settings.corpus.workers
        return SamplePictures(self.samples, square(model.size), model.fps, model.frames, workers)

    def latents(self, base: Base) -> ShardCorpus:
        """The latents of all samples: those that `aa corpus encode` wrote into the corpus, or of
        the run's folder, where they are computed if they are missing."""
        layout = layout_of(base, self.settings.aspects)
        name = f"latents-{layout.key}"
        folders = [Path(self.settings.corpus.source) / name, self.out / "corpus" / name]
        workers = self.settings.corpus.workers
        return encoded_samples(base, self.samples, layout, folders, workers)

    def rows(
        self, base: Base, stage: Stage, seed: int, video: bool
    ) -> Callable[[torch.Generator], Read]:
        """A function that reads the rows of a pass, of clips or of single frames."""
        read = self._reader(base, stage, seed, video)
        return lambda generator: read(pass_number(generator, seed))

    def pairs(
        self, base: Base, stage: Stage, seed: int
    ) -> Callable[[torch.Generator], tuple[list[str], Tensor]]:
        """A function that draws the captions and pictures, as latents (B, C, h, w), of a pass."""
        read = self._reader(base, stage, seed, video=False, pairs=True)

        def draw(generator: torch.Generator) -> tuple[list[str], Tensor]:
            found = read(pass_number(generator, seed))
            return found.captions, found.latents[:, 0]

        return draw

    def _reader(
        self, base: Base, stage: Stage, seed: int, video: bool, pairs: bool = False
    ) -> Callable[[int], Read]:
        """A function of a pass's number that reads its rows. pairs: each with its caption, and no
        clip several times, of which one would count as a wrong answer to another."""
        latents = self.latents(base)
        frames = stage.frames if video else 1
        rows = _rows(latents, frames, frames if video else self.settings.model.frames)
        rows = np.unique(rows) if pairs else rows
        if not len(rows):
            longest = int(latents.frames.max())
            has = f"its longest has {longest}" if longest > 1 else "it has only pictures"
            raise UsageError(
                f"stage {stage.name}: {self.settings.corpus.source} contains no clip of {frames} "
                f"frames at {self.settings.model.fps:g} fps, {has}: build one of longer clips for "
                f"this recipe (`aa corpus build --recipe {self.settings.name}`), train a recipe "
                "that learns fewer frames at once, or lower `frames` of the stage"
            )
        _, bucket_of = np.unique(latents.sizes[rows], axis=0, return_inverse=True)
        buckets = [rows[bucket_of.ravel() == number] for number in range(bucket_of.max() + 1)]
        dropout = 0.0 if pairs else stage.dropout
        rule = Loss() if pairs else self.settings.loss
        passes = _Passes(latents, Order(buckets, seed), seed, stage.batch, frames, dropout, rule)
        return Ahead(passes, self.settings.corpus.workers)


def _rows(samples: Samples | ShardCorpus, frames: int, each: int) -> np.ndarray:
    """The samples of at least `frames` frames, each as often as it has `each` frames, but once."""
    long = np.flatnonzero(samples.frames >= frames)
    return np.repeat(long, np.maximum(samples.frames[long] // each, 1))


@dataclass(frozen=True)
class _Passes:
    """Reads the rows of a pass by its number. In place of a row that is damaged, the next one of
    the same frame size is read, with a warning: a run of days is not lost with one file."""

    latents: ShardCorpus
    order: Order
    seed: int
    batch: int
    frames: int  # of each row
    dropout: float  # share of the rows without their caption
    rule: Loss
    damaged: set[int] = field(default_factory=set)

    def __call__(self, number: int) -> Read:
        """Pass `number`, by a random generator of its own: which frames of a clip, and which of its
        captions, if any. Raises UsageError if too many rows that follow each other are damaged."""
        bucket, rows = self.order.rows(number, self.batch)
        rng = np.random.default_rng([self.seed, 4, number])
        found = [self._row(bucket, row, rng) for row in rows.tolist()]
        clean, poses, keypoints = (np.stack(part) for part in zip(*(one.arrays for one in found),
                                                                  strict=True))  # fmt: skip
        width = int(self.latents.sizes[rows[0], 0])
        more = more_weight(self.rule, keypoints, width, clean.shape[-2:])
        texts = [one.caption for one in found]
        return Read(torch.from_numpy(clean), torch.from_numpy(poses), texts, more)

    def _row(self, bucket: int, row: int, rng: np.random.Generator) -> _Row:
        rows = np.unique(self.order.buckets[bucket])
        first = int(np.searchsorted(rows, row))
        for place in range(first, first + min(TRIES, len(rows))):
            row = int(rows[place % len(rows)])
            if row in self.damaged:
                continue
            try:
                return self._read(row, rng)
            except UsageError as error:
                self.damaged.add(row)
                warn(escape(f"{error}; the next sample is taken in its place, and "
                            f"{len(self.damaged)} in all are damaged so far"))  # fmt: skip
        raise UsageError(
            f"{self.latents.folder}: {min(TRIES, len(rows))} samples in a row are damaged: delete "
            "this folder, and its latents are computed again"
        )

    def _read(self, row: int, rng: np.random.Generator) -> _Row:
        latents = self.latents
        name = latents.name(row, "caption.txt")
        words = parse_captions(latents.read(row, ["caption.txt"]), name)
        first = int(rng.integers(latents.frames[row] - self.frames + 1))
        arrays = latents.rows(row, ARRAYS, first, first + self.frames)
        caption = words[int(rng.integers(len(words)))]
        return _Row(arrays, "" if rng.random() < self.dropout else caption)


class _Row(NamedTuple):
    """Latents and pose latents (F, C, h, w), keypoints (F, 18, 3), and a caption."""

    arrays: list[np.ndarray]
    caption: str
