"""Puppets rendered for base training, as memory-mapped corpora."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from animateanywhere import puppets
from animateanywhere.backbones.spec import Model
from animateanywhere.backbones.vae import latent_patch
from animateanywhere.core.frame_size import Size, square
from animateanywhere.datasets.clips import REGION_CELL, ClipRow, Corpus, open_corpus
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
    regions = settings.loss.uses_regions
    images, clips = [], []
    for number, size in enumerate(sizes):
        part = Part(number, len(sizes), size)
        name = "" if len(sizes) == 1 else f"-{size}"
        images.append(
            open_corpus(
                folder / f"images{name}", partial(puppet_images, settings, part=part),
                part.count(counts.images), 1, size, regions,
            )
        )  # fmt: skip
        clips.append(
            open_corpus(
                folder / f"clips{name}", partial(puppet_clips, settings, part=part),
                part.count(counts.clips), model.frames, size, regions,
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


def puppet_images(settings: Recipe, numbers: range, part: Part) -> Iterator[ClipRow]:
    """Render single frames of puppets, each of another person, scene and motion, by their numbers
    in a part."""
    model, corpus = settings.model, settings.corpus
    size = model.size if part.of == 1 else max(part.size)

    def seed_of(number: int) -> int:
        return _seed(settings, "images", part.number + part.of * number)

    for clip in _frames(seed_of, partial(_image_spec, settings=settings), numbers, size):
        yield _row(clip, part.size, corpus.captions)


def _frames(
    seed_of: Callable[[int], int], spec_of: Callable[[int], puppets.Spec], numbers: range, size: int
) -> Iterator[puppets.Clip]:
    """Frames of puppets by their numbers, each at a random time. The batches are the same whichever
    are asked for, so that rounding, which may depend on the place in a tensor, is so too."""
    for first in range(numbers.start - numbers.start % BATCH_RENDER, numbers.stop, BATCH_RENDER):
        batch = range(first, first + BATCH_RENDER)
        seeds = [seed_of(number) for number in batch]
        specs = [spec_of(seed) for seed in seeds]
        times = [float(np.random.default_rng(seed).uniform(0, 4)) for seed in seeds]
        clips = puppets.render_batch(specs, times, size=size)
        yield from (clip for number, clip in zip(batch, clips, strict=True) if number in numbers)


def puppet_clips(settings: Recipe, numbers: range, part: Part) -> Iterator[ClipRow]:
    """Render clips of puppets, of the base's length, by their numbers in a part."""
    model, corpus = settings.model, settings.corpus
    size = model.size if part.of == 1 else max(part.size)
    for number in numbers:
        seed = _seed(settings, "clips", part.number + part.of * number)
        spec = puppets.sample_spec(seed, detailed=corpus.detailed)
        clip = puppets.render(spec, frames=model.frames, size=size, fps=model.fps)
        yield _row(clip, part.size, corpus.captions)


def _image_spec(seed: int, settings: Recipe) -> puppets.Spec:
    """The spec of a single frame; a share of them are portraits."""
    if np.random.default_rng([seed, 7]).random() < settings.corpus.close_ups:
        return puppets.sample_portrait(seed)
    return puppets.sample_spec(seed, detailed=settings.corpus.detailed)


def _row(clip: puppets.Clip, size: Size, captions: int) -> ClipRow:
    """A square clip, cropped to `size` around the person, with its captions and regions."""
    texts, side = _captions(clip.spec, captions), clip.frames.shape[1]
    frames, keypoints, regions = clip.frames, clip.keypoints, _regions(clip)
    if size != (side, side):
        poses = Poses(keypoints, side, side, clip.fps)
        crop = cover(square(side), size, middle_of(poses))
        frames, regions = crop.of(frames), crop.of(regions)
        keypoints = keypoints_in(keypoints, crop, poses)
    return ClipRow(frames, keypoints, texts, _cells(regions))


def _regions(clip: puppets.Clip) -> np.ndarray:
    """Where faces and objects are, uint8 (F, H, W, 2)."""
    face = np.uint8(255) * (clip.parts == puppets.PARTS.index("face"))
    return np.stack([face, clip.objects], -1)


def _cells(regions: np.ndarray) -> np.ndarray:
    """The mean of each cell of regions (F, H, W, 2), uint8 (F, h, w, 2)."""
    height, width = regions.shape[1:3]
    grid = (-(-height // REGION_CELL), -(-width // REGION_CELL))
    x = torch.from_numpy(regions).permute(0, 3, 1, 2).float()
    cells: np.ndarray = F.adaptive_avg_pool2d(x, grid).round().byte().permute(0, 2, 3, 1).numpy()
    return cells


def procedural(settings: Recipe, numbers: range) -> Iterator[ClipRow]:
    """Generate procedural pictures, without people, by their numbers."""
    nobody = np.zeros((1, 18, 3), np.float32)
    for number in numbers:
        seed = _seed(settings, "images", number)
        yield ClipRow(picture(seed, settings.model.size)[None], nobody, [""])


def portraits(settings: Recipe, numbers: range) -> Iterator[ClipRow]:
    """Render single frames of portraits (`puppets.sample_portrait`) by their numbers."""

    seed_of = partial(_seed, settings, "images")
    for clip in _frames(seed_of, puppets.sample_portrait, numbers, settings.model.size):
        yield ClipRow(clip.frames, clip.keypoints, [""])


def _seed(settings: Recipe, kind: str, number: int) -> int:
    return settings.seed * 10_000_000 + {"images": 0, "clips": 5_000_000}[kind] + number


def _captions(spec: puppets.Spec, count: int) -> list[str]:
    """Varied captions of a clip; the last does not name the appearance, as captions of a subject do
    not."""
    full = [puppets.caption(spec, seed=spec.seed + n) for n in range(count - 1)]
    return [*full, puppets.caption(spec, seed=spec.seed, appearance=False)]
