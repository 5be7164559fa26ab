"""Latents of a corpus, cached as shards before training, which then reads nothing else.

A sample of them is of a picture or clip at the base's frame rate, in the frame size that is nearest
to its own: latents.npy and pose_latents.npy (F, C, h, w) float16, keypoints.npy (F, 18, 3) in
pixels of the frame size, and caption.txt. There is one shard for each of the corpus; those that are
there are kept, and processes that train together share the work. A shard names the samples that it
leaves out; once one of them can be read, the shard is made again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object
from rich.markup import escape

from animateanywhere.backbones.base import DECISIVE, Base
from animateanywhere.backbones.vae import ENCODED, at_once, encode_frames
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import sha256
from animateanywhere.core.frame_size import Size, bucket, nearest_size, trained_aspects
from animateanywhere.core.messages import progress, say, warn
from animateanywhere.datasets.ahead import Ahead
from animateanywhere.datasets.arrays import array_files
from animateanywhere.datasets.samples import Samples
from animateanywhere.datasets.shard_corpus import ShardCorpus, open_shards, write_corpus
from animateanywhere.datasets.shards import (
    Sample,
    finished_shard,
    read_shard,
    shard_path,
    write_shard,
)
from animateanywhere.datasets.views import View, view

VERSION = 2  # of what is computed; a change makes all latents anew
ARRAYS = ("latents.npy", "pose_latents.npy", "keypoints.npy")
SMALL = 0.75  # of the side of the base's frames, below which a sample is too small for it
MOST_BYTES = 2**31  # of the frames of one clip
LEFT_OUT = "left out"  # in what a shard says of itself: key and reason of each sample
UNREADABLE, NOT_FINITE = "unreadable", "not finite"  # the reasons; the first can be repaired
NAMED = 5  # samples that a message names


def frame_sizes(aspects: Iterable[str], side: int, stride: int) -> list[Size]:
    """The frame sizes of a base that is trained on these aspect ratios; without any, on the usual
    ones. side, stride: as in `frame_size.bucket`."""
    return list(dict.fromkeys(bucket(one, side, stride) for one in trained_aspects(aspects)))


@dataclass(frozen=True)
class Layout:
    """What latents depend on except for the samples."""

    vae: str  # hash of its weights and scales
    sizes: tuple[Size, ...]
    fps: float

    @property
    def key(self) -> str:
        """A short hash of all of it."""
        text = json.dumps([VERSION, self.vae, self.sizes, self.fps])
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def layout_of(base: Base, aspects: Iterable[str]) -> Layout:
    """The layout for a base that is trained on these aspect ratios; () for the usual ones."""
    weights = sha256(next((base.folder / "vae").glob("*.safetensors")))
    config = {key: base.vae.config.get(key) for key in DECISIVE}
    digest = hashlib.sha256(json.dumps([weights, config], sort_keys=True).encode()).hexdigest()
    side, stride = int(base.config["size"]), base.family.stride(base)
    return Layout(digest, tuple(frame_sizes(aspects, side, stride)), float(base.config["fps"]))


def encoded_samples(
    base: Base, samples: Samples, layout: Layout, folders: list[Path], workers: int
) -> ShardCorpus:
    """The latents of samples: of the first folder that has all of them; otherwise those missing
    from the last one are computed there. Samples that cannot be read are left out, with a warning
    that names each.

    workers: threads that decode ahead. Raises UsageError if no sample can be read.
    """
    groups = range(len(samples.groups()))
    state = PartialState()
    # Decided once: others may look when one shard more is written, and would not wait for the first
    found = _complete(samples, layout, folders) if state.is_main_process else None
    (complete,) = broadcast_object_list([found])
    if complete is not None:
        return _opened(complete, samples)
    if state.is_main_process:
        _warn_of_small(base, samples, layout)
    total, left_out = len(samples), list[str]()
    with progress("latents of the corpus", total=total) as bar:
        for number in groups:
            if number % state.num_processes == state.process_index:
                left_out += encode_group(base, samples, layout, folders[-1], number, workers)
            bar.advance(len(samples.groups()[number]))
    everywhere = gather_object(left_out)  # waits for all
    if state.is_main_process:
        for reason in everywhere[len(left_out) :]:  # the others cannot be heard
            warn(escape(reason))
        write_corpus(folders[-1], [read_shard(shard_path(folders[-1], n)) for n in groups])
    state.wait_for_everyone()
    return _opened(folders[-1], samples)


def _warn_of_small(base: Base, samples: Samples, layout: Layout) -> None:
    """Warn where most samples would be enlarged: the corpus was built for a smaller base."""
    wanted = min(size.side for size in layout.sizes)
    sides = np.sqrt(samples.sizes.prod(1, dtype=np.float64))
    if (sides < SMALL * wanted).mean() > 0.5:
        warn(escape(
            f"most samples of the corpus have about {np.median(sides):.0f} x {np.median(sides):.0f}"
            f" pixels, and base {base.config['name']} learns {wanted:.0f} x {wanted:.0f}: build "
            "the corpus again with --recipe of this base, or give a smaller base"
        ))  # fmt: skip


def _complete(samples: Samples, layout: Layout, folders: list[Path]) -> Path | None:
    """The first folder that has the latents of all samples, and their index."""
    groups = range(len(samples.groups()))
    for folder in folders:
        if all(_has_latents(samples, layout, folder, number) for number in groups):
            with suppress(UsageError):  # an index is written again, from the shards
                open_shards(folder)
                return folder
    return None


def _has_latents(samples: Samples, layout: Layout, folder: Path, number: int) -> bool:
    """Whether a folder has the latents of all samples of a group that can be read."""
    shard = finished_shard(folder, number, _about(samples, layout, number))
    left_out = shard.about.get(LEFT_OUT) if shard is not None else None
    if not isinstance(left_out, dict):
        return False
    unread = {key for key, why in left_out.items() if why == UNREADABLE}
    rows = [row for row in samples.groups()[number] if unread and samples.key(row) in unread]
    return all(isinstance(_decoded(samples, row, layout), _Unread) for row in rows)


def encode_group(
    base: Base, samples: Samples, layout: Layout, folder: Path, number: int, workers: int
) -> list[str]:
    """Compute the latents of a group of samples unless `folder` has them. Returns a warning, which
    was said, for each sample that is left out."""
    if _has_latents(samples, layout, folder, number):
        return []
    # By size, since pictures of one size are encoded together
    rows = sorted(samples.groups()[number], key=lambda row: _nearest(samples, row, layout))
    read = Ahead(lambda at: _decoded(samples, rows[at], layout), workers)
    left_out = _LeftOut({}, [])
    made = _encoded(base, (read(at) for at in range(len(rows))), left_out)
    samples_of = (_sample(f"{number:06d}-{at:06d}", one, layout.fps) for at, one in enumerate(made))
    about = {**_about(samples, layout, number), LEFT_OUT: left_out.keys}  # as it is at the end
    write_shard(folder, number, samples_of, about)
    return left_out.said


def _about(samples: Samples, layout: Layout, number: int) -> dict[str, Any]:
    return {"latents": layout.key, "of": samples.fingerprint(number)}


def _opened(folder: Path, samples: Samples) -> ShardCorpus:
    found, total = open_shards(folder), len(samples)
    if not len(found):
        raise UsageError(f"{folder}: no sample of the corpus could be read; see the warnings")
    if len(found) < total:
        keys = [key for path in found.shards for key in read_shard(path).about[LEFT_OUT]]
        names = ", ".join(keys[:NAMED]) + (", ..." if len(keys) > NAMED else "")
        say(escape(f"{len(keys)} of {total} samples of the corpus are left out: {names}"))
    return found


@dataclass(frozen=True)
class _Decoded:
    """A sample in pixels."""

    key: str
    view: View
    frames: list[np.ndarray]  # F of (H, W, 3) uint8


class _LeftOut(NamedTuple):
    """Samples that are left out: the reason of each by its key, and what was said of them."""

    keys: dict[str, str]
    said: list[str]

    def add(self, key: str, why: str, text: str) -> None:
        self.keys[key] = why
        self.said.append(f"{text}; it is left out")
        warn(escape(self.said[-1]))


class _Unread(NamedTuple):
    """A sample that cannot be read."""

    key: str
    text: str


def _decoded(samples: Samples, row: int, layout: Layout) -> _Decoded | _Unread:
    """A sample in the frame size that is nearest to its own, or why it cannot be read."""
    size = layout.sizes[_nearest(samples, row, layout)]
    try:
        found = view(samples, row, size, layout.fps)
        if len(found.keypoints) * size.width * size.height * 3 > MOST_BYTES:
            raise UsageError(
                f"{samples.name(row, 'clip.mp4')}: {len(found.keypoints)} frames are too many for "
                "one sample; cut it into parts"
            )
        return _Decoded(samples.key(row), found, list(found.frames))
    except UsageError as error:
        return _Unread(samples.key(row), str(error))


def _nearest(samples: Samples, row: int, layout: Layout) -> int:
    return nearest_size(Size(*samples.sizes[row].tolist()), layout.sizes)


class _Encoded(NamedTuple):
    """A sample in latents."""

    one: _Decoded
    latents: np.ndarray  # (F, C, h, w) float16
    pose_latents: np.ndarray


def _encoded(
    base: Base, found: Iterable[_Decoded | _Unread], left_out: _LeftOut
) -> Iterator[_Encoded]:
    """Samples in latents; pictures of one size that follow each other are encoded together."""
    together: list[_Decoded] = []
    for one in found:
        if isinstance(one, _Unread):
            left_out.add(one.key, UNREADABLE, one.text)
            continue
        if together and not _fits(one, together):
            yield from _encode(base, together, left_out)
            together = []
        together.append(one)
    if together:
        yield from _encode(base, together, left_out)


def _fits(one: _Decoded, together: list[_Decoded]) -> bool:
    """Whether a sample can be encoded in the same pass of the VAE."""
    shape = one.frames[0].shape
    frames = len(one.frames) + sum(len(other.frames) for other in together)
    return shape == together[0].frames[0].shape and frames <= at_once(shape[0] * shape[1], ENCODED)


def _encode(base: Base, together: list[_Decoded], left_out: _LeftOut) -> Iterator[_Encoded]:
    frames = np.stack([frame for one in together for frame in one.frames])
    points = np.concatenate([one.view.keypoints for one in together])
    drawn = base.family.draw(points, *frames.shape[1:3])
    latents, poses = (
        encode_frames(base.vae, pixels).cpu().numpy().astype(np.float16)
        for pixels in (frames, drawn)
    )
    start = 0
    for one in together:
        cut = slice(start, start + len(one.frames))
        start = cut.stop
        if np.isfinite(latents[cut]).all() and np.isfinite(poses[cut]).all():
            yield _Encoded(one, latents[cut], poses[cut])
        else:
            left_out.add(one.key, NOT_FINITE, f"{one.key}: its latents are not finite")


def _sample(key: str, encoded: _Encoded, fps: float) -> Sample:
    one = encoded.one
    height, width = one.frames[0].shape[:2]
    frames = len(one.frames)
    meta = {"width": width, "height": height, "frames": frames, "fps": fps if frames > 1 else 0.0,
            "license": "", "source": one.key}  # fmt: skip
    arrays = dict(zip(ARRAYS, (encoded.latents, encoded.pose_latents, one.view.keypoints),
                      strict=True))  # fmt: skip
    return Sample(key, {
        **array_files(arrays),
        "caption.txt": "".join(f"{text}\n" for text in one.view.captions).encode(),
        "meta.json": json.dumps(meta).encode(),
    })  # fmt: skip
