"""Arrays on the disk that grow row by row."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.core.frame_size import square
from animateanywhere.core.messages import reporting_to
from animateanywhere.core.reporter import Events
from animateanywhere.datasets.clips import ClipRow, Corpus, _open_array, cached_array, open_corpus

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

    def clips(numbers: range) -> Iterator[ClipRow]:
        for number in numbers:
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


def flip(path: Path, place: int) -> None:
    """Change one bit of a file; `place` is counted from its end."""
    data = bytearray(path.read_bytes())
    data[-place] ^= 1
    path.write_bytes(data)


def test_flipped_bits_are_found_when_they_are_read(tmp_path: Path) -> None:
    def clips(numbers: range) -> Iterator[ClipRow]:
        for number in numbers:
            frames = np.full((2, 8, 8, 3), number, np.uint8)
            regions = np.full((2, 1, 1, 2), number, np.uint8)
            yield ClipRow(frames, np.zeros((2, 18, 3)), [f"{number}"], regions)

    def opened() -> Corpus:
        return open_corpus(tmp_path, clips, 4, 2, square(8), regions=True)

    opened()
    latents = tmp_path / "latents.0a.npy"
    cached_array(latents, 4, lambda i, j: np.ones((j - i, 2, 3)), "latents", 3)
    for name in ("frames", "keypoints", "regions"):
        flip(tmp_path / f"{name}.npy", 1)  # of the last frame
    flip(latents, 1)
    corpus = opened()
    again = cached_array(latents, 4, lambda i, j: np.zeros(0), "latents", 3)
    for rows in (corpus.frames, corpus.keypoints, corpus.regions, again):
        assert rows is not None
        assert len(rows[:3]) == 3 and len(rows[3, :1]) == 1 and rows[[0, 3], 0].shape[0] == 2
        for index in (3, (3, 1), (3, slice(2)), ([0, 3], 1), slice(None)):
            with pytest.raises(UsageError, match=f"{rows.path}: damaged: .* frame 1 of row 3"):
                rows[index]
    (tmp_path / "frames.npy").unlink()  # as the message says
    assert opened().frames[3].max() == 3

    for place in tmp_path.glob("*.crc32.npy"):  # as in folders of earlier versions
        place.unlink()
    flip(tmp_path / "frames.npy", 1)
    assert opened().frames[3].max() == 3 and not list(tmp_path.glob("*.crc32.npy"))
    (tmp_path / "frames.crc32.npy").write_bytes(b"?")
    reported = Events()
    with reporting_to(reported):
        assert len(opened().frames[3]) == 2
    assert "frames.crc32.npy: damaged" in str(vars(reported))


def test_a_corpus_that_goes_on_keeps_its_checksums(tmp_path: Path) -> None:
    def clips(numbers: range) -> Iterator[ClipRow]:
        for number in numbers:
            yield ClipRow(np.full((1, 8, 8, 3), number, np.uint8), np.zeros((1, 18, 3)), [""])

    with pytest.raises(UsageError):
        open_corpus(tmp_path, lambda numbers: clips(numbers[:2]), 4, 1, square(8))
    assert open_corpus(tmp_path, clips, 4, 1, square(8)).frames[:].max() == 3
    flip(tmp_path / "frames.npy", 3 * 8 * 8 * 3 + 1)  # of the first clip
    with pytest.raises(UsageError, match="row 0"):
        open_corpus(tmp_path, clips, 4, 1, square(8)).frames[0]


def test_a_damaged_cache_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "latents.npy"
    wanted = np.asarray(cached_array(path, len(SHAPE), make, "latents", 2)).copy()
    for data in (path.read_bytes()[:-3], b"not an array"):
        path.write_bytes(data)
        np.testing.assert_array_equal(cached_array(path, len(SHAPE), make, "latents", 2), wanted)
    np.save(path, wanted[:3])  # whole, but of fewer rows
    np.testing.assert_array_equal(cached_array(path, len(SHAPE), make, "latents", 2), wanted)
