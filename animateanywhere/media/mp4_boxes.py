"""Boxes of an MP4 file (ISO 14496-12), and those that FFmpeg takes memory for before it has read
them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

PARENTS = {b"moof", b"traf"}
# Fields of a sample in a trun that its flags announce: 4 bytes each
FIELDS = (0x100, 0x200, 0x400, 0x800)
MOST = 2**20  # samples of a fragment without any field, nine hours at 30 frames per second


def impossible_count(path: Path) -> int | None:
    """The number of samples of a fragment that announces more than its box can hold; None if there
    is none. FFmpeg takes about 40 bytes for each, up to all memory."""
    with path.open("rb") as file:
        for start, stop in _runs(file, 0, file.seek(0, 2)):
            file.seek(start)
            head = file.read(8)
            flags, count = int.from_bytes(head[1:4], "big"), int.from_bytes(head[4:], "big")
            size = 4 * sum(bool(flags & field) for field in FIELDS)
            if (len(head) == 8 and count * size > stop - start) or (count > MOST and not size):
                return count
    return None


def boxes(
    file: BinaryIO, start: int = 0, stop: int | None = None
) -> Iterator[tuple[bytes, int, int]]:
    """Kind, begin and end of the contents of each box from `start` to `stop`, by default all outer
    ones of a file, as far as they are valid."""
    stop = file.seek(0, 2) if stop is None else stop
    while start + 8 <= stop:
        file.seek(start)
        head = file.read(16)
        size, kind, inside = int.from_bytes(head[:4], "big"), head[4:8], start + 8
        if size == 1:
            size, inside = int.from_bytes(head[8:16], "big"), start + 16
        end = stop if size == 0 else min(start + size, stop)
        if end < inside:
            return
        yield kind, inside, end
        start = end


def _runs(file: BinaryIO, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Where the contents of the boxes `trun` begin and end, as FFmpeg finds them."""
    for kind, inside, end in boxes(file, start, stop):
        if kind == b"trun":
            yield inside, end
        elif kind in PARENTS:
            yield from _runs(file, inside, end)
