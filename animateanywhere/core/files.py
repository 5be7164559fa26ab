"""Files that are either whole or not there: write beside, flush to disk, then rename."""

import errno
import hashlib
import math
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from animateanywhere.core.errors import Failure, UsageError


@contextmanager
def write_aside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary sibling of `path` (same suffix) to write; it becomes `path` at the end.

    On any exception, Ctrl-C included, the temporary file is removed and an old `path` is left as
    it was. Parent folders are made.

    Raises:
        Failure: the disk is full.
        UsageError: `path` is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise UsageError(f"{path} is a folder: give the name of a file to write")
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last because encoders choose their format by it.
    part = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.part{path.suffix}")
    try:
        yield part
        _flush(part)
        os.replace(part, path)
        _flush(path.parent)
    except BaseException as error:
        full = _disk_is_full(error, path.parent)  # asked while the partial file still fills it
        part.unlink(missing_ok=True)
        if full:
            raise _full(path) from error
        raise


@contextmanager
def folder_aside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a new temporary sibling folder to fill; at the end it replaces the folder `path`.

    An old folder goes away with all that is in it, so use this only for folders that the program
    itself makes. Cleans up as `write_aside` does.

    Raises:
        Failure: the disk is full.
        UsageError: `path` is a file.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file: give the name of a folder to write")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    part.mkdir()
    try:
        yield part
        for file in part.rglob("*"):
            _flush(file)
        _flush(part)
        _swap(part, path)
    except BaseException as error:
        full = _disk_is_full(error, path.parent)
        shutil.rmtree(part, ignore_errors=True)
        if full:
            raise _full(path) from error
        raise


def sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's bytes, 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_writable(folder: str | os.PathLike[str]) -> None:
    """Check that files can be written into `folder`, or that it could be made. Makes nothing.

    Raises:
        UsageError: it cannot, with the reason.
    """
    folder = Path(folder)
    try:
        ancestor = folder.absolute()
        while not ancestor.exists():
            ancestor = ancestor.parent
        if not ancestor.is_dir():
            raise UsageError(f"cannot write to {folder}: {ancestor} is not a folder")
        with tempfile.TemporaryFile(dir=ancestor):
            pass
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"cannot write to {folder}: {reason}; choose another --out") from error


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _swap(new: Path, path: Path) -> None:
    if not path.exists():
        os.replace(new, path)
        return
    old = path.with_name(f".{path.name}.{secrets.token_hex(4)}.old")
    os.replace(path, old)
    try:
        os.replace(new, path)
    except BaseException:
        os.replace(old, path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _disk_is_full(error: BaseException, folder: Path) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    if not isinstance(error, Exception) or isinstance(error, (UsageError, Failure)):
        return False
    # Error types of their own: safetensors with the system's words, torch without.
    return "No space left" in str(error) or shutil.disk_usage(folder).free < 64 * 1024


def _full(path: Path) -> Failure:
    return Failure(f"disk full while writing {path}: free some space and run the command again")


def finite(record: Any) -> Any:
    """A record for JSON: null for numbers that are not finite, as the PSNR of a copy."""
    if isinstance(record, Mapping):
        return {key: finite(value) for key, value in record.items()}
    if isinstance(record, list | tuple):
        return [finite(value) for value in record]
    return None if isinstance(record, float) and not math.isfinite(record) else record
