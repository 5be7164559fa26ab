"""The data of training: people, rendered and encoded once, as shards of latents.

A sample is one person (`pairs.Person`) in a video of F frames, T latents, with K pictures:

latents.npy, poses.npy   latents (T, C, h, w) of the frames and of their skeletons, float16
keypoints.npy            (F, 18, 3) float32, in pixels
pictures.npy             latents (K, C, h, w) of the reference pictures, float16
caption.txt              the appearance alone, then captions: half of them tell it, half do not

For a network of full size, which learns from footage, the captions are those of a clip, and there
are tokens.npy (K, M, D) of the pictures (with a second encoder), and states.npy (N, D), the states
of all captions one after another, of which lengths.npy says how many each has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from animateanywhere.backbones.base import Base, encode_text
from animateanywhere.backbones.borrowing import part_hashes
from animateanywhere.backbones.vae import encode_frames
from animateanywhere.datasets.footage import Footage, footage_hash
from animateanywhere.datasets.rendered import (
    PER_SHARD,
    array_sample,
    cached_shards,
    rendered_shards,
)
from animateanywhere.datasets.samples import parse_captions
from animateanywhere.datasets.shard_corpus import ShardCorpus
from animateanywhere.datasets.shards import Sample
from animateanywhere.methods.context_anyone.footage import Clip, Taken, draws, open_footage
from animateanywhere.methods.context_anyone.full_size import image_tokens
from animateanywhere.methods.context_anyone.pairs import Person, people
from animateanywhere.methods.context_anyone.settings import Recipe, still_frames

VERSION = 2  # of what is computed; a change makes all anew


def encoded_people(base: Base, settings: Recipe, folder: Path, video: bool) -> ShardCorpus:
    """The people of a recipe as latents, in stills or in clips: those missing in `folder` are
    rendered and encoded. base: of the run, which gives the VAE."""
    corpus = settings.corpus
    count = corpus.clips if video else corpus.images
    frames = int(base.config["frames"]) if video else still_frames(settings)
    size, fps = int(base.config["size"]), float(base.config["fps"])
    rule = asdict(replace(corpus, images=0, clips=0))
    del rule["source"]  # a corpus may be moved
    if not corpus.same_clip:
        del rule["same_clip"]  # earlier versions did not know it
    about: dict[str, Any] = {
        "version": VERSION, "people": rule, "frames": frames,
        "size": size, "fps": fps, "seed": settings.seed, "vae": part_hashes(base, "vae"),
    }  # fmt: skip
    if settings.full_size:
        return _encoded_footage(base, settings, folder / "clips", about)
    # Stills and clips are of different people
    render = partial(
        _people, corpus.images if video else 0,
        corpus=corpus, frames=frames, size=size, fps=fps, seed=settings.seed,
    )  # fmt: skip

    def encode(number: int, one: Person) -> Sample:
        text = "\n".join([one.words, *one.captions])
        return array_sample(f"{number:07d}", encoded(base, one), text)

    name = "clips" if video else "images"
    each = max(PER_SHARD // frames, 1)
    label = f"people in {name}"
    return rendered_shards(folder / name, count, each, about, render, encode, label)


def _people(first: int, numbers: range, **named: Any) -> Iterator[Person]:
    """Render the people of some numbers, counted from the `first`."""
    return people(numbers=range(first + numbers.start, first + numbers.stop), **named)


def _encoded_footage(
    base: Base, settings: Recipe, folder: Path, about: dict[str, Any]
) -> ShardCorpus:
    """Draws of clips from footage as latents."""
    corpus, frames = settings.corpus, int(base.config["frames"])
    source, encoder = Path(corpus.source), base.parts.get("image_encoder")
    about |= {"footage": footage_hash(source), "count": corpus.clips}
    about["readers"] = part_hashes(base, "text_encoder", "image_encoder")

    @cache
    def footage() -> Footage[Clip]:
        return open_footage(source, frames, base.frame, float(base.config["fps"]))

    def make(numbers: range) -> Iterator[Sample]:
        found = draws(footage(), corpus, numbers, frames, base.frame, settings.seed)
        for number, one in zip(numbers, found, strict=True):
            arrays = encoded(base, one) | _states(base, one.captions)
            if encoder is not None:
                arrays["tokens"] = image_tokens(encoder, one.pictures).half().cpu().numpy()
            yield array_sample(f"{number:07d}", arrays, "\n".join(one.captions))

    each = max(PER_SHARD // frames, 1)
    return cached_shards(folder, corpus.clips, each, about, make, "clips of people")


def _states(base: Base, captions: list[str]) -> dict[str, np.ndarray]:
    """States of captions, without those of the padding; they are not kept in main memory."""
    encode_text(base, captions)
    found = [base.text_cache.pop(caption).numpy() for caption in dict.fromkeys(captions)]
    lengths = np.array([len(states) for states in found], np.float32)
    return {"states": np.concatenate(found).astype(np.float16), "lengths": lengths}


def encoded(base: Base, one: Person | Taken) -> dict[str, np.ndarray]:
    """The arrays of a person."""
    height, width = one.frames.shape[1:3]
    drawn = base.family.draw(one.keypoints, height, width)
    return {
        "latents": latents_of(base, one.frames), "poses": latents_of(base, drawn),
        "keypoints": one.keypoints.astype(np.float32),
        "pictures": latents_of(base, one.pictures, clip=False),
    }  # fmt: skip


def latents_of(base: Base, frames: np.ndarray, clip: bool = True) -> np.ndarray:
    """Latents (T, C, h, w) float16 of frames (F, H, W, 3)."""
    found = encode_frames(base.vae, frames, clip=clip).cpu().numpy()
    half: np.ndarray = found.astype(np.float16)
    return half


def captions(corpus: ShardCorpus, row: int) -> tuple[str, list[str], list[str]]:
    """Of a row: the appearance alone, captions that tell it, and captions that do not."""
    name = corpus.name(row, "caption.txt")
    words, *rest = parse_captions(corpus.read(row, ["caption.txt"]), name)
    half = len(rest) // 2
    return words, rest[:half], rest[half:]
