"""Arrays on the disk that grow row by row."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from animateanywhere.core.errors import Failure
from animateanywhere.core.frame_size import square
from animateanywhere.datasets.clips import ClipRow, _open_array, cached_array, open_corpus

SHAPE = (8, 64, 1024)


def make(start: int, stop: int) -> np.ndarray:
    return np.full((stop - start, *SHAPE[1:]), 0.5, np.float32)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="macOS has no such call")
def test_the_place_on_the_disk_is_taken_before_the_first_row(tmp_path: Path) -> None:
    """Otherwise a full disk kills the process at a write to memory."""
    path = tmp_path / "frames.npy"
    array, new = _open_array(path, SHAPE, np.float16)
    assert new and path.stat().st_blocks * 512 >= array.nbytes and not array.any()
    array[3] = 1
    array.flush()
    array, new = _open_array(path, SHAPE, np.float16)
    assert not new and array[:, 0, 0].tolist() == [0, 0, 0, 1, 0, 0, 0, 0]


def test_a_full_disk_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(Failure, match="disk full"):
        _open_array(tmp_path / "frames.npy", SHAPE, np.float16)
    with pytest.raises(Failure, match="disk full"):
        cached_array(tmp_path / "latents.npy", len(SHAPE), make, "latents", 2)
    assert list(tmp_path.iterdir()) == []


def test_damaged_files_of_a_corpus_are_made_again(tmp_path: Path) -> None:
    made: list[int] = []

    def clips(start: int) -> Iterator[ClipRow]:
        for number in range(start, 4):
            made.append(number)
            frames, keypoints = np.full((1, 8, 8, 3), number, np.uint8), np.zeros((1, 18, 3))
            yield ClipRow(frames, keypoints, [f"number {number}"])

    def opened() -> list[tuple[int, str]]:
        made.clear()
        corpus = open_corpus(tmp_path, clips, 4, 1, square(8))
        return [(int(f.max()), c[0]) for f, c in zip(corpus.frames, corpus.captions, strict=True)]

    wanted = [(number, f"number {number}") for number in range(4)]
    assert opened() == wanted and made == [0, 1, 2, 3]
    captions, frames = tmp_path / "captions.jsonl", tmp_path / "frames.npy"
    captions.write_bytes(captions.read_bytes().replace(b'["number 2"]', b'["num\xff\n2"]'))
    assert opened() == wanted and made == [2, 3]
    for data in (frames.read_bytes()[:-5], b"", bytes(200)):
        frames.write_bytes(data)
        assert opened() == wanted and made == [0, 1, 2, 3]
    frames.unlink()  # captions alone would stand for black frames
    assert opened() == wanted and made == [0, 1, 2, 3]
    assert opened() == wanted and made == []


def test_a_damaged_cache_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "latents.npy"
    wanted = cached_array(path, len(SHAPE), make, "latents", 2).copy()
    for data in (path.read_bytes()[:-3], b"not an array"):
        path.write_bytes(data)
        np.testing.assert_array_equal(cached_array(path, len(SHAPE), make, "latents", 2), wanted)
    np.save(path, wanted[:3])  # whole, but of fewer rows
    np.testing.assert_array_equal(cached_array(path, len(SHAPE), make, "latents", 2), wanted)
