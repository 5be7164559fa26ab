"""Footage as training data: clips of one person each, as `aa corpus build` writes them.

The references of a clip are the pictures that come with it (`reference*.png`; transparent ones are
cut-outs, others are taken whole). Without any, another moment of the clip is cut out by its mask,
at least `APART` frames before or after what is drawn, or as far from it as the clip goes: much of
such a picture can be copied, which pictures of another scene prevent.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from animateanywhere.core.errors import UsageError
from animateanywhere.core.frame_size import Size
from animateanywhere.datasets.footage import MASKS, Footage, apart, shows_somebody
from animateanywhere.datasets.samples import parse_sample_poses
from animateanywhere.datasets.shard_corpus import ShardCorpus, open_shards
from animateanywhere.datasets.views import frame_counts, middle_of, view
from animateanywhere.media.memory import cover, decode_clip
from animateanywhere.methods.context_anyone.reference_picture import reference_picture
from animateanywhere.methods.context_anyone.settings import Corpus


class Clip(NamedTuple):
    """A clip, filled to a frame size: frames uint8 (F, H, W, 3), masks uint8 (F, H, W) or None,
    keypoints (F, 18, 3) in pixels, reference pictures uint8 (H, W, 3) and captions."""

    frames: np.ndarray
    masks: np.ndarray | None
    keypoints: np.ndarray
    references: list[np.ndarray]
    captions: list[str]


class Taken(NamedTuple):
    """What is drawn of a clip: as `pairs.Person`, with the captions of footage."""

    frames: np.ndarray  # (F, H, W, 3) uint8
    keypoints: np.ndarray  # (F, 18, 3) float32
    pictures: np.ndarray  # (K, H, W, 3) uint8
    captions: list[str]


def open_footage(folder: Path, frames: int, size: Size, fps: float) -> Footage[Clip]:
    """The clips of at least `frames` frames at a frame rate, in a frame size. Raises UsageError if
    there are none."""
    corpus = open_shards(folder)
    known = np.array(
        [bool(corpus.has(n, MASKS) or references(corpus, n)) for n in range(len(corpus))], bool
    )
    rows = np.flatnonzero(known & (corpus.frames > 1) & (frame_counts(corpus, fps) >= frames))
    if not len(rows):
        raise UsageError(
            f"{folder}: contains no clip of at least {frames} frames at {fps:g} frames per second "
            "with a mask or reference pictures; `aa corpus build` makes a corpus of clips with "
            "masks"
        )
    return Footage(corpus, rows, lambda number: _read(corpus, number, size, fps))


def _read(corpus: ShardCorpus, number: int, size: Size, fps: float) -> Clip:
    shown = view(corpus, number, size, fps)
    frames = np.stack(list(shown.frames))
    names = references(corpus, number)
    files = [*names] if names else [MASKS]
    sample = corpus.read(number, [*files, "pose.json"])
    pictures = [_cut_out(sample.files[name], corpus.name(number, name), size) for name in names]
    if names:
        return Clip(frames, None, shown.keypoints, pictures, shown.captions)
    middle = middle_of(parse_sample_poses(sample, corpus.name(number, "pose.json")))
    where = corpus.name(number, MASKS)
    masks = np.stack(list(decode_clip(
        sample.files[MASKS], where, fps, lambda source: cover(source, size, middle)
    )))[..., 0]  # fmt: skip
    if abs(len(masks) - len(frames)) > 1:
        raise UsageError(f"{where}: {len(masks)} frames, where the clip has {len(frames)}")
    masks = masks[np.minimum(np.arange(len(frames)), len(masks) - 1)]
    return Clip(frames, masks, shown.keypoints, [], shown.captions)


def references(corpus: ShardCorpus, number: int) -> list[str]:
    """The names of a sample's reference pictures."""
    found = sorted(corpus.files(number))
    return [name for name in found if name.startswith("reference") and name.endswith(".png")]


def draws(
    footage: Footage[Clip], rule: Corpus, numbers: range, frames: int, size: Size, seed: int
) -> Iterator[Taken]:
    """The draws of some numbers (`Footage.draws`), of `frames` frames of `size`."""
    return footage.draws(
        rule.clips, numbers, seed,
        lambda clip, rng: _drawn(clip, frames, size, rule.pictures, rng),
    )  # fmt: skip


def _drawn(clip: Clip, frames: int, size: Size, count: int, rng: np.random.Generator) -> Taken:
    """Frames and references of a clip. Raises UsageError if its mask shows nobody."""
    first = int(rng.integers(len(clip.frames) - frames + 1))
    shown = slice(first, first + frames)
    if clip.masks is None:
        chosen = rng.choice(len(clip.references), count, replace=len(clip.references) < count)
        pictures = [clip.references[n] for n in chosen]
    else:
        moments = _apart(clip.masks, first, frames, count, rng)
        pictures = [reference_picture(clip.frames[n], clip.masks[n] / 255, size) for n in moments]
    return Taken(clip.frames[shown], clip.keypoints[shown], np.stack(pictures), clip.captions)


def _apart(
    masks: np.ndarray, first: int, frames: int, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Frames for references: at least `APART` from those that are shown, or the farthest."""
    seen = np.flatnonzero(shows_somebody(masks))
    if not len(seen):
        raise UsageError("the mask shows nobody")
    distance = np.maximum(np.maximum(first - seen, seen - (first + frames - 1)), 0)
    return apart(seen, distance, count, rng)


def _cut_out(data: bytes, where: str, size: Size) -> np.ndarray:
    """A reference picture from a file. Raises UsageError if it cannot be read or shows nothing."""
    try:
        with Image.open(BytesIO(data)) as opened:
            picture = np.asarray(opened.convert("RGBA"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UsageError(f"{where}: cannot be read ({error})") from None
    if not (picture[..., 3] > 127).any():
        raise UsageError(f"{where}: is transparent everywhere")
    return reference_picture(picture[..., :3], picture[..., 3] / 255, size)
