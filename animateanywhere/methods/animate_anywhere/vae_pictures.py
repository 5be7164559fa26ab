"""The pictures that the VAE learns from."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from rich.markup import escape

from animateanywhere.core.errors import UsageError
from animateanywhere.core.frame_size import Size, square
from animateanywhere.core.messages import warn
from animateanywhere.datasets.ahead import in_this_context
from animateanywhere.datasets.clips import Corpus, open_corpus
from animateanywhere.datasets.samples import Samples
from animateanywhere.datasets.views import frame_counts, view
from animateanywhere.methods.animate_anywhere.puppet_corpora import portraits, procedural
from animateanywhere.methods.animate_anywhere.settings import Recipe
from animateanywhere.methods.animate_anywhere.vae_stage import Source, TakesPictures

TRIES = 100  # samples in a row that cannot be read, until it is no accident


def vae_sources(settings: Recipe, folder: Path, images: TakesPictures) -> list[Source]:
    """The pictures that the VAE learns from: single frames, and portraits and procedural pictures
    if the recipe asks for them. If it does, half of the rows of a batch are procedural.

    folder: for portraits and procedural pictures, which are rendered where they are missing.
    images: the single frames.
    """
    size, counts = square(settings.model.size), settings.corpus
    kinds = {"portraits": (counts.portraits, portraits), "pictures": (counts.pictures, procedural)}
    sources = [Source(images, 1.0)]
    for name, (count, make) in kinds.items():
        if count:
            corpus = open_corpus(folder / name, partial(make, settings), count, 1, size)
            share = 2.0 if name == "pictures" and counts.portraits else 1.0
            sources.append(Source(RenderedPictures([corpus]), share, upright=name == "portraits"))
    return sources


class RenderedPictures:
    """The single frames of corpora, for the VAE."""

    def __init__(self, corpora: list[Corpus]) -> None:
        self.corpora = corpora
        self.ends = np.cumsum([len(corpus.frames) for corpus in corpora])
        # Of several frame sizes the middle that all have: a VAE takes any size once it is trained
        self.side = min(min(corpus.frames.shape[2:4]) for corpus in corpora)

    def __len__(self) -> int:
        return int(self.ends[-1])

    def take(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Frames (n, S, S, 3) uint8 and keypoints (n, 18, 3), by numbers (n,)."""
        if len(self.corpora) == 1 and self.corpora[0].frames.shape[2:4] == (self.side, self.side):
            return self.corpora[0].frames[index, 0], self.corpora[0].keypoints[index, 0]
        frames, keypoints = [], []
        for number in index.tolist():
            which = int(np.searchsorted(self.ends, number, side="right"))
            corpus = self.corpora[which]
            row = number - int(self.ends[which]) + len(corpus.frames)
            top, left = ((side - self.side) // 2 for side in corpus.frames.shape[2:4])
            cut = slice(top, top + self.side), slice(left, left + self.side)
            frames.append(corpus.frames[row, 0][cut])
            keypoints.append(corpus.keypoints[row, 0] - np.array([left, top, 0], np.float32))
        return np.stack(frames), np.stack(keypoints)


class SamplePictures:
    """Single frames of samples in one size, decoded when they are asked for. A clip has one for
    each `every` frames."""

    def __init__(self, samples: Samples, size: Size, fps: float, every: int, workers: int) -> None:
        self.samples, self.size, self.fps = samples, size, fps
        counts = frame_counts(samples, fps)
        parts = np.maximum(counts // every, 1)
        self.rows = np.repeat(np.arange(len(samples)), parts)
        part = np.arange(len(self.rows)) - np.repeat(np.cumsum(parts) - parts, parts)
        share = (part + 0.5) / np.repeat(parts, parts)
        self.moments = (share * np.repeat(counts, parts)).astype(int)  # the middle of each part
        self._pool = ThreadPoolExecutor(workers, "reader") if workers else None
        self._bad: set[int] = set()

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Frames (n, H, W, 3) uint8 and keypoints (n, 18, 3), by numbers (n,).

        In place of one that cannot be read, the next one is taken, with a warning. Raises
        UsageError if there is none.
        """
        one = in_this_context(self._one)
        found = (self._pool.map if self._pool else map)(one, index.tolist())
        frames, keypoints = zip(*found, strict=True)
        return np.stack(frames), np.stack(keypoints)

    def _one(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        for place in range(number, number + min(TRIES, len(self))):
            row, moment = (int(x[place % len(self)]) for x in (self.rows, self.moments))
            if row in self._bad:
                continue
            try:
                found = view(self.samples, row, self.size, self.fps)
                frame = next(islice(found.frames, moment, None))
                return frame, found.keypoints[moment]
            except UsageError as error:
                self._bad.add(row)
                warn(escape(f"{error}; the next sample is taken in its place"))
        raise UsageError(f"{TRIES} samples of the corpus in a row cannot be read; see the warnings")
