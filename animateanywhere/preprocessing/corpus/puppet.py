"""Samples of rendered people: exact poses, masks and captions, and a reference picture of the same
person in another scene."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from animateanywhere import puppets
from animateanywhere.core.frame_size import Size, square
from animateanywhere.datasets.shards import Sample
from animateanywhere.preprocessing.corpus.row import Row, to_sample
from animateanywhere.preprocessing.corpus.source import Frames, Piece, Source
from animateanywhere.preprocessing.crop import crop_boxes, crop_frames, crop_keypoints

CAPTIONS = 4  # of each clip, in other words
PER_SEED = 10_000_000  # numbers of each seed


def puppet_sources(count: int, license: str) -> list[Source]:
    """So many puppets as sources."""
    return [Source(f"puppet {number}", license=license, puppet=number) for number in range(count)]


def puppet_sample(piece: Piece, frames: Frames, seed: int) -> Sample:
    """Render the sample of a puppet, of the bucket that is nearest to a square."""
    number, size = piece.source.puppet, frames.nearest(square(1))
    assert number is not None
    spec = puppets.sample_spec(seed * PER_SEED + number)
    clip = puppets.render(spec, frames=piece.frames, size=max(size), fps=frames.fps)
    boxes = _middle(clip.keypoints, Size(max(size), max(size)), size)
    masks = crop_frames(clip.masks, boxes, size) / np.float32(255)
    keypoints = crop_keypoints(clip.keypoints, boxes, size)
    pictures = crop_frames(clip.frames, boxes, size)
    captions = [puppets.caption(spec, seed=spec.seed + k) for k in range(CAPTIONS)]
    nothing = np.zeros(keypoints.shape[:2], dtype=bool)
    row = Row(piece.key, pictures, keypoints, nothing, masks, captions,
              [_in_another_scene(spec, max(size))], frames.fps)  # fmt: skip
    about = {"license": piece.source.license, "source": piece.source.name, "pose": "exact",
             "mask": "exact", "caption": "exact", "notes": []}  # fmt: skip
    return to_sample(row, about)


def _middle(keypoints: np.ndarray, whole: Size, size: Size) -> np.ndarray:
    """Boxes (F, 3): all of a square frame's height, or of its width, around the person."""
    height = min(whole.height, whole.width / size.aspect)
    x = float(np.median(crop_boxes(keypoints, *whole, size.aspect)[:, 0])) if size.aspect < 1 else (
        whole.width / 2
    )  # fmt: skip
    half = height * size.aspect / 2
    return np.tile([min(max(x, half), whole.width - half), whole.height / 2, height],
                   (len(keypoints), 1))  # fmt: skip


def _in_another_scene(spec: puppets.Spec, size: int) -> np.ndarray:
    """The same person in the scene and motion of another clip, uint8 (size, size, 3)."""
    other = replace(puppets.sample_spec(spec.seed + PER_SEED // 2), identity=spec.identity)
    return puppets.render_batch([other], [1.0], size=size)[0].frames[0]
