"""Pieces of a long scene on disk."""

from pathlib import Path

import numpy as np
import torch

from animateanywhere.collage.views import Views
from animateanywhere.methods.anycharv.long_scene import Piece, read_piece, write_piece
from animateanywhere.methods.anycharv.stitch import Patches


def piece() -> Piece:
    rng, shape = np.random.default_rng(0), (2, 8, 8)
    matte, gone = (rng.random(shape).astype(np.float32) for _ in range(2))
    views = Views(np.zeros(2), np.zeros(2, bool), np.ones(2))
    patches = Patches(
        matte, matte > 0.5, matte > 0.2, gone, np.zeros((*shape, 3), np.uint8), "changed",
        np.zeros((2, 18, 3)), views, np.ones(3), np.zeros(3),
    )  # fmt: skip
    squares, tail = np.zeros((2, 3), int), np.zeros((1, 8, 8, 3), np.uint8)
    return Piece(5, 1, torch.zeros(2, 4, 2, 2), squares, patches, tail, np.zeros(2))


def test_a_piece_with_any_bit_flipped_is_read_or_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    write_piece(path, piece())
    whole = path.read_bytes()
    again = read_piece(path)
    assert again is not None and again.first == 5
    np.testing.assert_allclose(again.patches.matte, piece().patches.matte, atol=1 / 255)
    for name in ("region", "free"):
        np.testing.assert_array_equal(getattr(again.patches, name), getattr(piece().patches, name))
    damaged = 0
    directory = whole.index(b"PK\1\2")
    places = [*range(0, directory, 41), *range(directory, len(whole), 3)]
    for place in places:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        damaged += read_piece(path) is None
    assert damaged > len(places) / 3
    np.save(tmp_path / "one.npy", np.zeros(3))
    path.write_bytes((tmp_path / "one.npy").read_bytes())
    assert read_piece(path) is None and read_piece(tmp_path / "none") is None
