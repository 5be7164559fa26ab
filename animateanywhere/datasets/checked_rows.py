"""Arrays on the disk of which training reads some frames, with a checksum of each, in a small file
beside the array. Damage is found when a frame is read, and nothing else is read for that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape

from animateanywhere.core.errors import UsageError
from animateanywhere.core.messages import warn
from animateanywhere.datasets.arrays import row_checks


def checks_path(path: Path) -> Path:
    """The file of the checksums of an array."""
    return path.with_suffix(".crc32.npy")


class CheckedRows:
    """An array (N, F, ...), memory-mapped, of N rows of F frames, that is read by one or two
    indices. What is read is compared with its checksums; without them, as in folders of earlier
    versions, it is not."""

    def __init__(self, path: Path, array: np.ndarray) -> None:
        self.path, self.array = path, array
        self.checks = _read_checks(path, array.shape[:2])

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: Any) -> np.ndarray:
        """Frames by the number of their row, or by those of row and frame: numbers, slices or
        arrays. Raises UsageError if one of them is damaged."""
        found: np.ndarray = self.array[index]
        if self.checks is None:
            return found
        wanted = self.checks[index]
        frames = found.reshape(wanted.size, *self.array.shape[2:])
        wrong = np.flatnonzero(row_checks(frames) != wanted.reshape(-1))
        if len(wrong):
            every = np.arange(self.checks.size).reshape(self.checks.shape)[index].reshape(-1)
            row, frame = divmod(int(every[wrong[0]]), self.checks.shape[1])
            raise UsageError(
                f"{self.path}: damaged: the bytes of frame {frame} of row {row} are not those that "
                "were written; delete this file, and the same command makes it again"
            )
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)


def _read_checks(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The checksums of an array; None without a file of them, or, with a warning, a whole one."""
    place = checks_path(path)
    if not place.is_file():
        return None
    try:
        checks: np.ndarray = np.load(place)
        if checks.shape != shape or checks.dtype != np.uint32:
            raise ValueError(f"{checks.dtype} {checks.shape}")
    except (OSError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split())
        warn(
            escape(
                f"{place}: damaged ({reason}): damage of {path.name} would not be found; delete "
                "both, and the same command makes them again"
            )
        )
        return None
    return checks
