"""Arrays on the disk that grow row by row."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from animateanywhere.core.errors import Failure
from animateanywhere.datasets.clips import _open_array, cached_array

SHAPE = (8, 64, 1024)


def make(start: int, stop: int) -> np.ndarray:
    return np.full((stop - start, *SHAPE[1:]), 0.5, np.float32)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="macOS has no such call")
def test_the_place_on_the_disk_is_taken_before_the_first_row(tmp_path: Path) -> None:
    """Otherwise a full disk kills the process at a write to memory."""
    path = tmp_path / "frames.npy"
    array = _open_array(path, SHAPE, np.float16)
    assert path.stat().st_blocks * 512 >= array.nbytes and not array.any()
    array[3] = 1
    array.flush()
    assert _open_array(path, SHAPE, np.float16)[:, 0, 0].tolist() == [0, 0, 0, 1, 0, 0, 0, 0]


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
