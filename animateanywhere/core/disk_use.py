"""Disk use of files and folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from stat import S_ISDIR


def disk_use(path: Path) -> tuple[int, float]:
    """Bytes on the disk of a file, or a folder and all below, and the time of its newest file;
    links are not followed."""
    seen: dict[tuple[int, int], int] = {}
    newest = 0.0
    for about in _everything(path):
        seen[about.st_dev, about.st_ino] = about.st_blocks * 512
        if not S_ISDIR(about.st_mode):
            newest = max(newest, about.st_mtime)
    return sum(seen.values()), newest or changed_at(path)


def _everything(path: Path) -> Iterator[os.stat_result]:
    """A file or folder and all below, without what is removed meanwhile or cannot be read."""
    with suppress(OSError):
        yield path.lstat()
    left = [str(path)] if path.is_dir() and not path.is_symlink() else []
    while left:
        with suppress(OSError), os.scandir(left.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    yield entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        left.append(entry.path)


def changed_at(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0


def size_in_words(count: int) -> str:
    """Such as "3.4 GB"."""
    for unit, name in ((10**9, "GB"), (10**6, "MB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count / 1000:.0f} kB"
