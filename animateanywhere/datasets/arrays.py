"""Arrays of a sample of which training reads some rows: .npy files, and a checksum of each row.

The index of a shard has one checksum for each file. To compare that, a whole clip would be read for
one of its frames.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping
from typing import IO

import numpy as np

# Of arrays that are sorted by their names, uint32: the rows of each, then for each the checksums of
# its header and of its rows
CHECKS = "rows.crc32"


def array_files(arrays: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    """The files of arrays (R, ...) by their names, such as "latents.npy", and of their
    checksums."""
    files: dict[str, bytes] = {}
    checks = [len(arrays[name]) for name in sorted(arrays)]
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        file = io.BytesIO()
        np.lib.format.write_array(file, array, (1, 0))
        files[name] = file.getvalue()
        head = files[name][: len(files[name]) - array.nbytes]
        checks += [zlib.crc32(head), *row_checks(array)]
    files[CHECKS] = np.array(checks, "<u4").tobytes()
    return files


def row_checks(array: np.ndarray) -> np.ndarray:
    """The checksums (R,) uint32 of the rows of an array (R, ...)."""
    return np.array([zlib.crc32(row) for row in np.ascontiguousarray(array)], np.uint32)


def parse_checks(data: bytes, arrays: int) -> list[np.ndarray]:
    """The checksums (1 + R,) of each of so many arrays. Raises ValueError if there are not as
    many."""
    table = np.frombuffer(data, "<u4")
    ends = np.cumsum(table[:arrays].astype(np.int64) + 1)
    if len(ends) < arrays or len(table) != arrays + ends[-1]:
        raise ValueError("not the checksums of its arrays")
    return np.split(table[arrays:], ends[:-1])


def read_rows(
    file: IO[bytes], offset: int, size: int, checks: np.ndarray, start: int, stop: int
) -> np.ndarray:
    """Rows `start` to `stop` of an array that lies at `offset` of a file; no others are read.

    size: bytes of its .npy file. checks: its own, (1 + R,). Raises ValueError if it is damaged.
    """
    file.seek(offset)
    head = file.read(10)  # magic, version and the length of the rest
    head += file.read(min(int.from_bytes(head[8:], "little"), size))
    _compare(head, checks[0])  # before NumPy reads it, which raises whatever it meets
    with io.BytesIO(head) as header:
        np.lib.format.read_magic(header)
        shape, _, dtype = np.lib.format.read_array_header_1_0(header)
    row = dtype.itemsize * int(np.prod(shape[1:]))
    if shape[0] != len(checks) - 1 or row * shape[0] + len(head) != size:
        raise ValueError(f"of the shape {shape}, with checksums of {len(checks) - 1} rows")
    if not 0 <= start < stop <= shape[0]:
        raise ValueError(f"it has {shape[0]} rows")
    file.seek(start * row, io.SEEK_CUR)
    data = memoryview(file.read((stop - start) * row))
    for place, check in enumerate(checks[1 + start : 1 + stop]):
        _compare(data[place * row : (place + 1) * row], check)
    return np.frombuffer(data, dtype).reshape(stop - start, *shape[1:])


def _compare(data: bytes | memoryview, check: int) -> None:
    if zlib.crc32(data) != check:
        raise ValueError("its bytes are not those that were written")
