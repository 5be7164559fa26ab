"""A scene of any length, chunk by chunk: each begins with the last frames of the one before it,
from which it is faded in, and is kept on disk until the video is whole.

Memory does not grow with length. What a chunk depends on is in the name of its file, so that a
command that was killed goes on where it was.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from animateanywhere.backbones.base import Base, window_length
from animateanywhere.backbones.low_memory import room_for_vae
from animateanywhere.backbones.vae import decoded, latent_count
from animateanywhere.collage.views import Views
from animateanywhere.core.files import write_aside
from animateanywhere.core.frame_size import Size
from animateanywhere.diffusion.sampling import shared_by, windows
from animateanywhere.methods.anycharv import generation
from animateanywhere.methods.anycharv.stitch import Keep, Patches, changed_share, patches

# What a damaged file raises
DAMAGED = (OSError, ValueError, EOFError, KeyError, RuntimeError, TypeError, zipfile.BadZipFile,
           zlib.error)  # fmt: skip
SHARES = ("matte", "gone")  # of `Patches`: in 0..1, kept as bytes
# Latents of a clip in which the person is swapped, of its squares uint8 (F, S, S, 3), region
# (F, S, S) in 0..1 and poses (F, 18, 3); the last argument is called after each denoising step
Swap = Callable[[np.ndarray, np.ndarray, np.ndarray, Callable[[], None]], Tensor]


@dataclass(frozen=True)
class Chunk:
    """Frames `first` to `stop` - 1 of a scene, which are swapped together; the first `carried` of
    them are also the last of the chunk before, and the last `given` also the first of the next.

    For all of its n frames, at the base's size: squares int (n, 3) in the scene, region, old and
    others (n, S, S) uint8, 255 is 1, and poses (n, 18, 3) in pixels.
    """

    first: int
    stop: int
    carried: int
    given: int
    squares: np.ndarray
    region: np.ndarray
    old: np.ndarray
    others: np.ndarray
    poses: np.ndarray

    def digest(self, before: str) -> str:
        """Of everything that the result depends on but the frames; before: of all else, with the
        chunk before this one."""
        digest = hashlib.sha256(repr((before, self.first, self.stop, self.carried)).encode())
        for part in (self.squares, self.region, self.old, self.others, self.poses):
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()[:24]


class Piece(NamedTuple):
    """A chunk from frame `first` on, of which the first `carried` frames fade in and the last
    `given` are left to the next chunk: latents of all of its frames, how the others are laid over
    `squares`, and share (n,): how much of their region changed. tail: uint8 (given, S, S, 3)."""

    first: int
    carried: int
    latents: Tensor
    squares: np.ndarray
    patches: Patches
    tail: np.ndarray
    share: np.ndarray


def shared_frames(base: Base) -> int:
    """How many frames neighboring chunks share."""
    return max(shared_by(window_length(base)), 1) * base.packed


def windows_of(base: Base, frames: int) -> int:
    """The number of windows of a chunk of so many frames: of passes in each denoising step."""
    return len(windows(latent_count(frames, base.packed), window_length(base)))


def sample_chunk(
    base: Base, swap: Swap, chunk: Chunk, scene: np.ndarray, frame: Size, before: Piece | None,
    keep: Keep, on_step: Callable[[], None],
) -> Piece:  # fmt: skip
    """Swap the person in a chunk, whose squares are `scene`, (n, S, S, 3) uint8, in frames of
    the size `frame`. before: the piece of the chunk before, of which `carried` frames fade out."""
    region = chunk.region.astype(np.float32) / 255
    latents = swap(scene, region, chunk.poses, on_step).cpu()
    device = next(base.vae.parameters()).device
    with room_for_vae(base):
        made = generation.decode(base, latents.to(device))[: len(scene)]
        plain = generation.through_vae(base, scene)
    if before is not None and chunk.carried:
        made[: chunk.carried] = _faded(before.tail, made[: chunk.carried])
    old, others = (part.astype(np.float32) / 255 for part in (chunk.old, chunk.others))
    found = patches(
        made, plain, scene, chunk.squares, region, old, others, chunk.poses, keep, frame
    )
    count = len(scene) - chunk.given
    done = slice(0, count)
    return Piece(
        chunk.first, chunk.carried, latents, chunk.squares[done], found.rows(done), made[count:],
        changed_share(made, plain, region)[done],
    )  # fmt: skip


def _faded(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """From frames `old` to frames `new`, both uint8 (n, S, S, 3) of the same moments.

    Not latents: where the VAE compresses time, those of two chunks do not stand for the same
    frames.
    """
    share = np.linspace(0, 1, len(new) + 2, dtype=np.float32)[1:-1, None, None, None]
    faded: np.ndarray = ((1 - share) * old + share * new + 0.5).astype(np.uint8)
    return faded


def write_piece(path: Path, piece: Piece) -> None:
    """Write a piece, completely or not at all."""
    found = piece.patches
    with write_aside(path) as aside:
        np.savez_compressed(
            aside, first=piece.first, carried=piece.carried, latents=piece.latents.numpy(),
            squares=piece.squares, behind=found.behind, keep=found.keep,
            **{name: (getattr(found, name) * 255 + 0.5).astype(np.uint8) for name in SHARES},
            region=np.packbits(found.region), free=np.packbits(found.free), poses=found.poses,
            **found.views._asdict(),
            gain=found.gain, offset=found.offset,
            tail=piece.tail, share=piece.share,
        )  # fmt: skip


def read_piece(path: Path) -> Piece | None:
    """Read a piece; None if there is none, or a damaged one."""
    try:
        with np.load(path, allow_pickle=False) as file:
            rows = dict(file)
        matte, gone = (rows[name].astype(np.float32) / 255 for name in SHARES)
        region, free = (
            np.unpackbits(rows[name], count=matte.size).reshape(matte.shape) > 0
            for name in ("region", "free")
        )
        views = Views(rows["turned"], rows["face"], rows["torso"])
        return Piece(
            int(rows["first"]), int(rows["carried"]), torch.from_numpy(rows["latents"]),
            rows["squares"],
            Patches(
                matte, region, free, gone, rows["behind"], cast(Keep, str(rows["keep"])),
                rows["poses"], views, rows["gain"], rows["offset"],
            ),
            rows["tail"], rows["share"],
        )  # fmt: skip
    except DAMAGED:
        return None


def made_frames(
    base: Base, paths: Sequence[Path]
) -> Iterator[tuple[int, np.ndarray, np.ndarray, Patches, int]]:
    """For each swapped frame of the pieces in `paths`, in order: its number in the scene, its
    square (3,), what was made for it, (S, S, 3) uint8, and the patches with its index in them."""
    device = next(base.vae.parameters()).device
    tail = np.empty(0, np.uint8)
    with room_for_vae(base):
        for path in paths:
            piece = read_piece(path)
            assert piece is not None, f"{path} was written by this process"
            decoding = decoded(base.vae, piece.latents.to(device), clip=True)
            frames = chain.from_iterable(decoding)
            if piece.carried:
                head = np.stack([*islice(frames, piece.carried)])
                frames = chain(_faded(tail, head), frames)
            for index, made in enumerate(islice(frames, len(piece.squares))):
                yield piece.first + index, piece.squares[index], made, piece.patches, index
            tail = piece.tail
