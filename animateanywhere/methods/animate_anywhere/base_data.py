"""The data of base training: corpora of triplets, encoded once, and batches drawn from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState

from animateanywhere import puppets
from animateanywhere.backbones.base import Base, encode_text
from animateanywhere.backbones.vae import encode_frames
from animateanywhere.core.files import sha256
from animateanywhere.datasets.clips import (
    ClipRow,
    Corpus,
    cached_array,
    clips_of_folder,
    open_corpus,
)
from animateanywhere.datasets.procedural import picture
from animateanywhere.methods.animate_anywhere.batch import Batch
from animateanywhere.methods.animate_anywhere.settings import Recipe, Stage
from animateanywhere.methods.animate_anywhere.vae_stage import Source
from animateanywhere.pose.skeleton import heat

BATCH_RENDER = 16  # puppets rendered at once
ENCODE_FRAMES = 32  # frames in one pass of the VAE


def corpora(settings: Recipe, folder: Path) -> tuple[Corpus, Corpus]:
    """Open or create the corpora: single frames for the image stage, clips for the video stage."""
    model, corpus = settings.model, settings.corpus
    if corpus.source == "puppets":
        images = open_corpus(
            folder / "images",
            lambda start: puppet_images(settings, start),
            corpus.images,
            1,
            model.size,
        )
        clips = open_corpus(
            folder / "clips", lambda start: puppet_clips(settings, start), corpus.clips,
            model.frames, model.size,
        )  # fmt: skip
        return images, clips
    source = Path(corpus.source)
    count, singles = clips_of_folder(source, 1, model.size, model.fps)
    images = open_corpus(folder / "images", singles, count, 1, model.size)
    count, longer = clips_of_folder(source, model.frames, model.size, model.fps)
    return images, open_corpus(folder / "clips", longer, count, model.frames, model.size)


def puppet_images(settings: Recipe, start: int) -> Iterator[ClipRow]:
    """Render single frames of puppets, each of another person, scene and motion, from number
    `start` on."""
    model, corpus = settings.model, settings.corpus
    for first in range(start, corpus.images, BATCH_RENDER):
        seeds = [_seed(settings, "images", n) for n in range(first, first + BATCH_RENDER)]
        specs = [puppets.sample_spec(seed, detailed=corpus.detailed) for seed in seeds]
        times = [float(np.random.default_rng(seed).uniform(0, 4)) for seed in seeds]
        for clip in puppets.render_batch(specs, times, size=model.size):
            yield clip.frames, clip.keypoints, _captions(clip.spec, corpus.captions)


def puppet_clips(settings: Recipe, start: int) -> Iterator[ClipRow]:
    """Render clips of puppets, of the base's length, from number `start` on."""
    model, corpus = settings.model, settings.corpus
    for number in range(start, corpus.clips):
        seed = _seed(settings, "clips", number)
        spec = puppets.sample_spec(seed, detailed=corpus.detailed)
        clip = puppets.render(spec, frames=model.frames, size=model.size, fps=model.fps)
        yield clip.frames, clip.keypoints, _captions(spec, corpus.captions)


def vae_sources(settings: Recipe, folder: Path, images: Corpus) -> list[Source]:
    """The corpora that the VAE learns from: single frames, and portraits and procedural pictures if
    the recipe asks for them. If it does, half of the rows of a batch are procedural.

    folder: for portraits and procedural pictures, which are rendered where they are missing.
    images: the corpus of single frames.
    """
    size, counts = settings.model.size, settings.corpus
    kinds = {"portraits": (counts.portraits, portraits), "pictures": (counts.pictures, procedural)}
    sources = [Source(images, 1.0)]
    for name, (count, make) in kinds.items():
        if count:
            corpus = open_corpus(folder / name, partial(make, settings), count, 1, size)
            share = 2.0 if name == "pictures" and counts.portraits else 1.0
            sources.append(Source(corpus, share, upright=name == "portraits"))
    return sources


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


def batches(
    base: Base, stage: Stage, out: Path, sources: list[tuple[Corpus, float]], pose_weight: float
) -> Callable[[torch.Generator], Batch]:
    """Encode the corpora, and return a function that draws a batch with a random generator.

    sources: corpora with the share of rows that is drawn from each. pose_weight: additional weight
    of pixels near the limbs of the pose, as in HumanSD's heatmap-guided loss (arXiv 2304.04269;
    ours computes the heatmap from the pose itself).
    """
    latents = [encoded(base, out, corpus) for corpus, _ in sources]
    with PartialState().main_process_first():
        poses = [_cache(base, out, c, "pose_latents", Corpus.skeletons) for c, _ in sources]
    shares = torch.tensor([share for _, share in sources])

    def draw(generator: torch.Generator) -> Batch:
        picked: list[tuple[np.ndarray, ...]] = []
        captions = []
        for source in torch.multinomial(shares, stage.batch, True, generator=generator).tolist():
            corpus = sources[source][0]
            row = _index(len(corpus.frames), generator)
            first = _index(corpus.frames.shape[1] - stage.frames + 1, generator)
            cut = slice(first, first + stage.frames)
            picked.append(tuple(x[row, cut] for x in (latents[source], poses[source],
                                                      corpus.keypoints)))  # fmt: skip
            words = corpus.captions[row]
            dropped = float(torch.rand((), generator=generator)) < stage.dropout
            captions.append("" if dropped else words[_index(len(words), generator)])
        device = base.denoiser.device
        clean, pose, keypoints = (np.stack(part) for part in zip(*picked, strict=True))
        x, pose_latents = (torch.from_numpy(part).float().to(device) for part in (clean, pose))
        states = encode_text(base, captions)
        if not pose_weight:
            return Batch(x, pose_latents, states)
        cells = heat(keypoints.reshape(-1, 18, 3), base.config["size"], clean.shape[-1])
        near = torch.from_numpy(cells).unflatten(0, clean.shape[:2])[:, :, None].to(device)
        # weight · (near + background · (1 − near)) = 1 + pose_weight · near
        weight = x.new_full((len(x),), 1 + pose_weight)
        return Batch(x, pose_latents, states, near, background=1 / weight, weight=weight)

    return draw


def encoded(base: Base, out: Path, corpus: Corpus) -> np.ndarray:
    """Latents of a corpus, (N, F, C, h, w) float16, cached next to it."""
    with PartialState().main_process_first():
        return _cache(base, out, corpus, "latents", lambda c, i: c.frames[i])


def _index(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=generator))


def _cache(
    base: Base, out: Path, corpus: Corpus, what: str, frames: Callable[[Corpus, int], np.ndarray]
) -> np.ndarray:
    """Latents (N, F, C, h, w) of pictures of a corpus, cached next to it under the VAE's hash."""
    key = sha256(next((out / "vae").glob("*.safetensors")))[:12]
    path = corpus.folder / f"{what}.{key}.npy"
    name = f"{what} of {corpus.folder.name}"

    def encode(start: int, stop: int) -> np.ndarray:
        pixels = np.stack([frames(corpus, index) for index in range(start, stop)])
        latents = encode_frames(base.vae, pixels.reshape(-1, *pixels.shape[2:]))
        return latents.unflatten(0, pixels.shape[:2]).cpu().numpy()

    rows = max(1, ENCODE_FRAMES // corpus.frames.shape[1])
    return cached_array(path, len(corpus.frames), encode, name, rows)
