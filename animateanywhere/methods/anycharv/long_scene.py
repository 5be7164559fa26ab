"""A scene of any length, chunk by chunk: each is sampled with the end of the one before it, into
which it is blended, and kept on disk until the video is whole.

Memory does not grow with length. What a chunk depends on is in the name of its file, so that a
command that was killed goes on where it was.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from animateanywhere.backbones.base import Base, window_length
from animateanywhere.core.files import write_aside
from animateanywhere.diffusion.sampling import windows
from animateanywhere.methods.anycharv import generation
from animateanywhere.methods.anycharv.method import Character
from animateanywhere.methods.anycharv.stitch import Keep, Patches, changed_share, patches

FRAMES = 32  # that are decoded at once


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
    """Finished frames from `first` on: latents (n, C, h, w) and how they are laid over `squares`;
    tail: latents of the frames that the next chunk shares; share (n,): how much of the region
    changed."""

    first: int
    latents: Tensor
    squares: np.ndarray
    patches: Patches
    tail: Tensor
    share: np.ndarray


def shared_frames(base: Base) -> int:
    """How many frames neighboring chunks share."""
    return max(window_length(base) // 4, 1)


def windows_of(base: Base, frames: int) -> int:
    """The number of windows of a chunk of so many frames: of passes in each denoising step."""
    length = window_length(base)
    return len(windows(frames, length, length // 4))


def sample_chunk(
    base: Base, character: Character, chunk: Chunk, scene: np.ndarray, before: Piece | None,
    options: generation.Options, keep: Keep, on_step: Callable[[], None],
) -> Piece:  # fmt: skip
    """Swap the person in a chunk, whose squares are `scene`, (n, S, S, 3) uint8. before: the piece
    of the chunk before, of which `carried` frames are blended in."""
    region = chunk.region.astype(np.float32) / 255
    latents = generation.swap_latents(
        base, character, scene, region, chunk.poses, options, on_step
    ).cpu()
    if before is not None and chunk.carried:
        share = torch.linspace(0, 1, chunk.carried + 2)[1:-1, None, None, None]
        latents[: chunk.carried] = torch.lerp(before.tail, latents[: chunk.carried], share)
    device = next(base.vae.parameters()).device
    made = generation.decode(base, latents.to(device))
    plain = generation.through_vae(base, scene)
    old, others = (part.astype(np.float32) / 255 for part in (chunk.old, chunk.others))
    found = patches(made, plain, scene, region, old, others, keep)
    count = len(scene) - chunk.given
    done = slice(0, count)
    return Piece(
        chunk.first, latents[:count], chunk.squares[:count], found.rows(done), latents[count:],
        changed_share(found)[:count],
    )  # fmt: skip


def write_piece(path: Path, piece: Piece) -> None:
    """Write a piece, completely or not at all."""
    found = piece.patches
    with write_aside(path) as aside:
        np.savez_compressed(
            aside, first=piece.first, latents=piece.latents.numpy(), squares=piece.squares,
            matte=(found.matte * 255 + 0.5).astype(np.uint8), region=np.packbits(found.region),
            gain=found.gain, offset=found.offset, tail=piece.tail.numpy(), share=piece.share,
        )  # fmt: skip


def read_piece(path: Path) -> Piece | None:
    """Read a piece; None if there is none, or a damaged one."""
    try:
        with np.load(path, allow_pickle=False) as file:
            rows = dict(file)
        matte = rows["matte"].astype(np.float32) / 255
        region = np.unpackbits(rows["region"], count=matte.size).reshape(matte.shape) > 0
        return Piece(
            int(rows["first"]), torch.from_numpy(rows["latents"]), rows["squares"],
            Patches(matte, region, rows["gain"], rows["offset"]),
            torch.from_numpy(rows["tail"]), rows["share"],
        )  # fmt: skip
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None


def made_frames(
    base: Base, paths: Sequence[Path]
) -> Iterator[tuple[int, np.ndarray, np.ndarray, Patches, int]]:
    """For each swapped frame of the pieces in `paths`, in order: its number in the scene, its
    square (3,), what was made for it, (S, S, 3) uint8, and the patches with its index in them."""
    device = next(base.vae.parameters()).device
    for path in paths:
        piece = read_piece(path)
        assert piece is not None, f"{path} was written by this process"
        for start in range(0, len(piece.latents), FRAMES):
            made = generation.decode(base, piece.latents[start : start + FRAMES].to(device))
            for index, frame in enumerate(made, start=start):
                yield piece.first + index, piece.squares[index], frame, piece.patches, index
