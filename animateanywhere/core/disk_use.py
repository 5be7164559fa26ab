"""Disk use of files and folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def disk_use(path: Path) -> tuple[int, float]:
    """Bytes on the disk of a file, or a folder and all below, and the time of its newest file;
    links are not followed."""
    seen: dict[tuple[int, int], int] = {}
    newest = 0.0
    for entry in _everything(path):
        try:
            about = entry.lstat()
        except OSError:  # removed meanwhile
            continue
        seen[about.st_dev, about.st_ino] = about.st_blocks * 512
        if not entry.is_dir() or entry.is_symlink():
            newest = max(newest, about.st_mtime)
    return sum(seen.values()), newest or changed_at(path)


def _everything(path: Path) -> Iterator[Path]:
    yield path
    if path.is_dir() and not path.is_symlink():
        for place, folders, files in os.walk(path):
            yield from (Path(place) / name for name in (*folders, *files))


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
