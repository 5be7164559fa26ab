"""Footage as training data: clips of one person each, as `aa corpus build` writes them.

The references of a clip are the pictures that come with it (`reference*.png`; transparent ones are
cut-outs, others are taken whole). Without any, another moment of the clip is cut out by its mask,
at least `APART` frames before or after what is drawn, or as far from it as the clip goes: much of
such a picture can be copied, which pictures of another scene prevent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from rich.markup import escape

from animateanywhere.core.errors import UsageError
from animateanywhere.core.frame_size import Size
from animateanywhere.core.messages import warn
from animateanywhere.datasets.samples import parse_sample_poses
from animateanywhere.datasets.shard_corpus import ShardCorpus, open_shards
from animateanywhere.datasets.views import frame_counts, middle_of, view
from animateanywhere.media.memory import cover, decode_clip
from animateanywhere.methods.context_anyone.reference_picture import WHITE, reference_picture
from animateanywhere.methods.context_anyone.settings import Corpus

MASKS = "mask.mp4"
APART = 30  # frames between a clip and a reference out of the same one
TRIES = 16  # clips in a row that may be of no use
SEEN = 0.002  # share of the frame: a mask that is smaller shows nobody
ROOM = 0.05  # around a person in a reference, as a share of the longer side


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


@dataclass(frozen=True)
class Footage:
    """The clips of a corpus that are long enough, at a frame rate and in a frame size."""

    corpus: ShardCorpus
    rows: np.ndarray
    frames: int
    size: Size
    fps: float

    def read(self, row: int) -> Clip:
        """A clip. Raises UsageError, with file and key, if it cannot be read."""
        corpus, number = self.corpus, int(self.rows[row])
        shown = view(corpus, number, self.size, self.fps)
        frames = np.stack(list(shown.frames))
        names = references(corpus, number)
        files = [*names] if names else [MASKS]
        sample = corpus.read(number, [*files, "pose.json"])
        pictures = [
            _cut_out(sample.files[name], corpus.name(number, name), self.size) for name in names
        ]
        if names:
            return Clip(frames, None, shown.keypoints, pictures, shown.captions)
        middle = middle_of(parse_sample_poses(sample, corpus.name(number, "pose.json")))
        where = corpus.name(number, MASKS)
        masks = np.stack(list(decode_clip(
            sample.files[MASKS], where, self.fps, lambda source: cover(source, self.size, middle)
        )))[..., 0]  # fmt: skip
        if abs(len(masks) - len(frames)) > 1:
            raise UsageError(f"{where}: {len(masks)} frames, where the clip has {len(frames)}")
        masks = masks[np.minimum(np.arange(len(frames)), len(masks) - 1)]
        return Clip(frames, masks, shown.keypoints, [], shown.captions)


def references(corpus: ShardCorpus, number: int) -> list[str]:
    """The names of a sample's reference pictures."""
    found = sorted(corpus.files(number))
    return [name for name in found if name.startswith("reference") and name.endswith(".png")]


def open_footage(folder: Path, frames: int, size: Size, fps: float) -> Footage:
    """The clips of at least `frames` frames in a corpus. Raises UsageError if there are none."""
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
    return Footage(corpus, rows, frames, size, fps)


def draws(footage: Footage, rule: Corpus, numbers: range, seed: int) -> Iterator[Taken]:
    """The draws of some numbers; each depends on its number, the seed, and how many there are.

    Draws of one clip follow each other, so that it is decoded once. In place of a clip that cannot
    be read or used, the next one is taken, with one warning. Raises UsageError if `TRIES` in a row
    are of no use.
    """
    order = np.random.default_rng([seed, 9]).permutation(len(footage.rows))
    each = -(-rule.clips // len(order))  # draws of a clip
    read, tries = lru_cache(maxsize=2)(footage.read), min(TRIES, len(order))
    useless: set[int] = set()
    for number in numbers:
        for attempt in range(tries):
            row = int(order[(number // each + attempt) % len(order)])
            if row in useless:
                continue
            rng = np.random.default_rng([seed, 8, number])
            try:
                taken = _drawn(read(row), footage.frames, footage.size, rule.pictures, rng)
            except UsageError as error:
                useless.add(row)
                key = footage.corpus.key(int(footage.rows[row]))
                warn(escape(f"{key}: {error}; the next clip is taken in its place"))
                continue
            yield taken
            break
        else:
            raise UsageError(
                f"{footage.corpus.folder}: {tries} clips in a row are of no use; see the warnings"
            )


def _drawn(clip: Clip, frames: int, size: Size, count: int, rng: np.random.Generator) -> Taken:
    """Frames and references of a clip. Raises UsageError if its mask shows nobody."""
    first = int(rng.integers(len(clip.frames) - frames + 1))
    shown = slice(first, first + frames)
    if clip.masks is None:
        chosen = rng.choice(len(clip.references), count, replace=len(clip.references) < count)
        pictures = [clip.references[n] for n in chosen]
    else:
        moments = _apart(clip.masks, first, frames, count, rng)
        pictures = [_on_white(clip.frames[n], clip.masks[n] / 255, size) for n in moments]
    return Taken(clip.frames[shown], clip.keypoints[shown], np.stack(pictures), clip.captions)


def _apart(
    masks: np.ndarray, first: int, frames: int, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Frames for references: at least `APART` from those that are shown, or the farthest."""
    seen = np.flatnonzero((masks > 127).mean((1, 2)) > SEEN)
    if not len(seen):
        raise UsageError("the mask shows nobody")
    distance = np.maximum(np.maximum(first - seen, seen - (first + frames - 1)), 0)
    far = seen[distance >= min(APART, int(distance.max()))]
    return rng.choice(far, count, replace=len(far) < count)


def _cut_out(data: bytes, where: str, size: Size) -> np.ndarray:
    """A reference picture from a file. Raises UsageError if it cannot be read or shows nothing."""
    try:
        with Image.open(BytesIO(data)) as opened:
            picture = np.asarray(opened.convert("RGBA"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UsageError(f"{where}: cannot be read ({error})") from None
    if not (picture[..., 3] > 127).any():
        raise UsageError(f"{where}: is transparent everywhere")
    return _on_white(picture[..., :3], picture[..., 3] / 255, size)


def _on_white(picture: np.ndarray, mask: np.ndarray, size: Size) -> np.ndarray:
    """What a mask (H, W) in [0, 1] shows of a picture, on white in a frame of `size`."""
    rows, columns = (np.flatnonzero((mask > 0.5).any(axis)) for axis in (1, 0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    picture, mask = picture[box], mask[box]
    height, width = mask.shape
    side = round(max(height, width) * (1 + 2 * ROOM))
    top, left = (side - height) // 2, (side - width) // 2
    around = (top, side - height - top), (left, side - width - left)
    square = np.pad(picture, (*around, (0, 0)), constant_values=WHITE)
    return reference_picture(square, np.pad(mask, around), size)
