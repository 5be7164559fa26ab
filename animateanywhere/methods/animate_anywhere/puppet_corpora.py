"""Puppets rendered for base training, as memory-mapped corpora."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from animateanywhere import puppets
from animateanywhere.backbones.spec import Model
from animateanywhere.backbones.vae import latent_patch
from animateanywhere.core.frame_size import Size, square
from animateanywhere.datasets.clips import ClipRow, Corpus, open_corpus
from animateanywhere.datasets.procedural import picture
from animateanywhere.datasets.views import keypoints_in, middle_of
from animateanywhere.media.memory import cover
from animateanywhere.methods.animate_anywhere.latent_shards import frame_sizes
from animateanywhere.methods.animate_anywhere.settings import Recipe
from animateanywhere.pose.skeleton import Poses

BATCH_RENDER = 16  # puppets rendered at once


def open_puppets(settings: Recipe, folder: Path) -> tuple[list[Corpus], list[Corpus]]:
    """Open the corpora of puppets in a folder, and render what is missing: single frames, and
    clips, in each aspect ratio of the recipe."""
    model, counts = settings.model, settings.corpus
    sizes = frame_sizes(settings.aspects or ("1:1",), model.size, puppet_stride(model))
    images, clips = [], []
    for number, size in enumerate(sizes):
        part = Part(number, len(sizes), size)
        name = "" if len(sizes) == 1 else f"-{size}"
        images.append(
            open_corpus(
                folder / f"images{name}", partial(puppet_images, settings, part=part),
                part.count(counts.images), 1, size,
            )
        )  # fmt: skip
        clips.append(
            open_corpus(
                folder / f"clips{name}", partial(puppet_clips, settings, part=part),
                part.count(counts.clips), model.frames, size,
            )
        )  # fmt: skip
    return images, clips


def puppet_stride(model: Model) -> int:
    """Pixels that the sides of frames are multiples of, before there is a VAE."""
    table = model.vae
    channels = table.get("block_out_channels") or table.get("encoder_block_out_channels")
    # A VAE that is loaded from elsewhere says it only then; those at hand divide by 8
    return 2 ** (len(channels) - 1) * latent_patch(table) if channels else 8


class Part(NamedTuple):
    """The puppets in one of several frame sizes: every `of`-th from `number` on."""

    number: int
    of: int
    size: Size

    def count(self, total: int) -> int:
        """How many of `total` puppets these are."""
        return len(range(self.number, total, self.of))


def puppet_images(settings: Recipe, start: int, part: Part) -> Iterator[ClipRow]:
    """Render single frames of puppets, each of another person, scene and motion, from the
    `start`-th of a part on."""
    model, corpus = settings.model, settings.corpus
    size = model.size if part.of == 1 else max(part.size)
    for first in range(start, part.count(corpus.images), BATCH_RENDER):
        numbers = (part.number + part.of * n for n in range(first, first + BATCH_RENDER))
        seeds = [_seed(settings, "images", number) for number in numbers]
        specs = [puppets.sample_spec(seed, detailed=corpus.detailed) for seed in seeds]
        times = [float(np.random.default_rng(seed).uniform(0, 4)) for seed in seeds]
        for clip in puppets.render_batch(specs, times, size=size):
            yield *_cropped(clip, part.size), _captions(clip.spec, corpus.captions)


def puppet_clips(settings: Recipe, start: int, part: Part) -> Iterator[ClipRow]:
    """Render clips of puppets, of the base's length, from the `start`-th of a part on."""
    model, corpus = settings.model, settings.corpus
    size = model.size if part.of == 1 else max(part.size)
    for number in range(part.number, corpus.clips, part.of)[start:]:
        seed = _seed(settings, "clips", number)
        spec = puppets.sample_spec(seed, detailed=corpus.detailed)
        clip = puppets.render(spec, frames=model.frames, size=size, fps=model.fps)
        yield *_cropped(clip, part.size), _captions(spec, corpus.captions)


def _cropped(clip: puppets.Clip, size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Frames and keypoints of a square clip, cropped to `size` around the person."""
    side = clip.frames.shape[1]
    if size == (side, side):
        return clip.frames, clip.keypoints
    poses = Poses(clip.keypoints, side, side, clip.fps)
    crop = cover(square(side), size, middle_of(poses))
    return crop.of(clip.frames), keypoints_in(clip.keypoints, crop, poses)


def procedural(settings: Recipe, start: int) -> Iterator[ClipRow]:
    """Generate procedural pictures, without people, from number `start` on."""
    nobody = np.zeros((1, 18, 3), np.float32)
    for number in range(start, settings.corpus.pictures):
        seed = _seed(settings, "images", number)
        yield picture(seed, settings.model.size)[None], nobody, [""]


def portraits(settings: Recipe, start: int) -> Iterator[ClipRow]:
    """Render single frames of portraits (`puppets.sample_portrait`) from number `start` on."""
    model, corpus = settings.model, settings.corpus
    for first in range(start, corpus.portraits, BATCH_RENDER):
        seeds = [_seed(settings, "images", n) for n in range(first, first + BATCH_RENDER)]
        specs = [puppets.sample_portrait(seed) for seed in seeds]
        times = [float(np.random.default_rng(seed).uniform(0, 4)) for seed in seeds]
        for clip in puppets.render_batch(specs, times, size=model.size):
            yield clip.frames, clip.keypoints, [""]


def _seed(settings: Recipe, kind: str, number: int) -> int:
    return settings.seed * 10_000_000 + {"images": 0, "clips": 5_000_000}[kind] + number


def _captions(spec: puppets.Spec, count: int) -> list[str]:
    """Varied captions of a clip; the last does not name the appearance, as captions of a subject do
    not."""
    full = [puppets.caption(spec, seed=spec.seed + n) for n in range(count - 1)]
    return [*full, puppets.caption(spec, seed=spec.seed, appearance=False)]
