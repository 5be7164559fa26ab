"""Base training from puppets: rendered and encoded once, and batches drawn from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor

from animateanywhere.backbones.base import Base
from animateanywhere.backbones.vae import encode_frames
from animateanywhere.core.device import is_gpu
from animateanywhere.core.files import sha256
from animateanywhere.core.frame_size import Size
from animateanywhere.datasets.checked_rows import CheckedRows
from animateanywhere.datasets.clips import Corpus, cached_array
from animateanywhere.datasets.in_processes import in_processes
from animateanywhere.methods.animate_anywhere.batch import Read, more_weight
from animateanywhere.methods.animate_anywhere.settings import Loss, Recipe, Stage
from animateanywhere.methods.animate_anywhere.vae_pictures import RenderedPictures
from animateanywhere.pose.skeleton import draw
from animateanywhere.training.ahead import DrawAhead, processes_for

T = TypeVar("T")

ENCODE_FRAMES = 32  # frames in one pass of the VAE
ON_GPU = 8  # times as many
DRAWN = 16  # clips whose skeletons a process draws at once


@dataclass(frozen=True)
class Rendered:
    """Rendered puppets: single frames, and clips, in each aspect ratio of the recipe."""

    settings: Recipe
    out: Path  # folder of the run
    images: list[Corpus]
    clips: list[Corpus]

    @property
    def captions(self) -> list[str]:
        """All captions, to train a tokenizer on."""
        corpora = (corpus for pair in self._pairs for corpus in pair)
        return [text for corpus in corpora for row in corpus.captions for text in row]

    @property
    def _pairs(self) -> list[tuple[Corpus, Corpus]]:
        return list(zip(self.images, self.clips, strict=True))

    @property
    def pictures(self) -> RenderedPictures:
        """Frames for the VAE."""
        return RenderedPictures(self.images)

    def rows(
        self, base: Base, stage: Stage, seed: int, video: bool
    ) -> Callable[[torch.Generator], Read]:
        """A function that reads the rows of a pass, of clips or of single frames; all have one
        aspect ratio."""
        draws, counts = [], []
        for images, clips in self._pairs:
            sources = [(clips, 1.0)] if video else [(images, 0.75), (clips, 0.25)]
            draws.append(_rows(base, stage, self.settings.loss, self.out, sources))
            counts.append(len(sources[0][0].frames))
        return self._ahead(_of_one_aspect(draws, counts), base, seed)

    def pairs(
        self, base: Base, stage: Stage, seed: int
    ) -> Callable[[torch.Generator], tuple[list[str], Tensor]]:
        """A function that draws the captions and pictures, as latents (B, C, h, w), of a pass."""
        draws: list[Callable[[torch.Generator], tuple[list[str], Tensor]]]
        draws = [partial(_pairs, corpus, encoded(base, self.out, corpus), stage.batch)
                 for corpus in self.images]  # fmt: skip
        counts = [len(corpus.frames) for corpus in self.images]
        return self._ahead(_of_one_aspect(draws, counts), base, seed)

    def _ahead(
        self, draw: Callable[[torch.Generator], T], base: Base, seed: int
    ) -> Callable[[torch.Generator], T]:
        return DrawAhead(draw, seed, processes_for(base.denoiser.device))


def _rows(
    base: Base, stage: Stage, rule: Loss, out: Path, sources: list[tuple[Corpus, float]]
) -> Callable[[torch.Generator], Read]:
    """Encode the corpora, and return a function that draws rows with a random generator.

    sources: corpora with the share of rows that is drawn from each.
    """
    latents = [encoded(base, out, corpus) for corpus, _ in sources]
    with PartialState().main_process_first():
        poses = [_cache(base, out, c, "pose_latents", _skeletons(c)) for c, _ in sources]
    shares = torch.tensor([share for _, share in sources])

    def draw(generator: torch.Generator) -> Read:
        picked: list[tuple[np.ndarray, ...]] = []
        captions = []
        for source in torch.multinomial(shares, stage.batch, True, generator=generator).tolist():
            corpus = sources[source][0]
            row = _index(len(corpus.frames), generator)
            first = _index(corpus.frames.shape[1] - stage.frames + 1, generator)
            cut = slice(first, first + stage.frames)
            parts = (latents[source], poses[source], corpus.keypoints, corpus.regions)
            picked.append(tuple(x[row, cut] for x in parts if x is not None))
            words = corpus.captions[row]
            dropped = float(torch.rand((), generator=generator)) < stage.dropout
            captions.append("" if dropped else words[_index(len(words), generator)])
        clean, pose, keypoints, *regions = (np.stack(part) for part in zip(*picked, strict=True))
        width, grid = sources[0][0].frames.shape[3], clean.shape[-2:]
        more = more_weight(rule, keypoints, width, grid, *regions)
        return Read(torch.from_numpy(clean), torch.from_numpy(pose), captions, more)

    return draw


def encoded(base: Base, out: Path, corpus: Corpus) -> CheckedRows:
    """Latents of a corpus, (N, F, C, h, w) float16, cached next to it."""
    with PartialState().main_process_first():
        return _cache(base, out, corpus, "latents", iter(corpus.frames))


def _skeletons(corpus: Corpus) -> Iterator[np.ndarray]:
    """Skeleton pictures (F, H, W, 3) of each clip, drawn from when the first is asked for."""
    clips = range(len(corpus.frames))
    groups = [clips[start : start + DRAWN] for start in clips[::DRAWN]]
    height, width = corpus.frames.shape[2:4]
    make = partial(_drawn, corpus.keypoints.path, Size(width, height))
    with in_processes(make, groups) as pictures:
        yield from pictures


def _drawn(path: Path, size: Size, clips: range) -> Iterator[np.ndarray]:
    keypoints = np.load(path, mmap_mode="r")
    return (draw(keypoints[number], size.height, size.width) for number in clips)


def _pairs(
    corpus: Corpus, latents: CheckedRows, batch: int, generator: torch.Generator
) -> tuple[list[str], Tensor]:
    rows = torch.randperm(len(latents), generator=generator)[:batch].tolist()
    options = [corpus.captions[row] for row in rows]
    picks = torch.rand(len(rows), generator=generator).tolist()
    texts = [words[int(pick * len(words))] for words, pick in zip(options, picks, strict=True)]
    return texts, torch.from_numpy(latents[rows, 0])


def _of_one_aspect(
    draws: list[Callable[[torch.Generator], T]], counts: list[int]
) -> Callable[[torch.Generator], T]:
    """A function that draws by one of several, each as often as its count says."""
    if len(draws) == 1:
        return draws[0]
    shares = torch.tensor(counts, dtype=torch.float)

    def draw(generator: torch.Generator) -> T:
        return draws[int(torch.multinomial(shares, 1, generator=generator))](generator)

    return draw


def _index(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=generator))


def _cache(
    base: Base, out: Path, corpus: Corpus, what: str, pictures: Iterator[np.ndarray]
) -> CheckedRows:
    """Latents (N, F, C, h, w) of pictures (F, H, W, 3) for each clip of a corpus, cached next to it
    under the VAE's hash."""
    key = sha256(next((out / "vae").glob("*.safetensors")))[:12]
    path = corpus.folder / f"{what}.{key}.npy"
    name = f"{what} of {corpus.folder.name}"

    def encode(start: int, stop: int) -> np.ndarray:
        pixels = np.stack(list(islice(pictures, stop - start)))
        latents = encode_frames(base.vae, pixels.reshape(-1, *pixels.shape[2:]))
        return latents.unflatten(0, pixels.shape[:2]).cpu().numpy()

    frames = ENCODE_FRAMES * (ON_GPU if is_gpu(base.denoiser.device) else 1)
    rows = max(1, frames // corpus.frames.shape[1])
    return cached_array(path, len(corpus.frames), encode, name, rows)
