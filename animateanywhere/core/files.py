"""Atomic writing of files and folders: write a temporary sibling, flush it to disk, rename it."""

from __future__ import annotations

import errno
import hashlib
import math
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.core.paths import cache_folder

Then = Callable[[], object]

# What stands beside a file or folder while it is written; kill -9 leaves it
ASIDE = re.compile(r"\.(?P<name>.*)\.[0-9a-f]{8}\.(?P<kind>part|old)(\.[^.]*)?", re.DOTALL)


@contextmanager
def write_aside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary sibling of `path` (same suffix) to write; it becomes `path` at the end.

    On any exception, including Ctrl-C, the temporary file is removed and an existing `path` is left
    unchanged. Parent folders are created. The file's mode follows the umask, whoever wrote it.

    Raises:
        Failure: the disk is full.
        UsageError: `path` is a folder.
    """
    path = _file_to_write(path)
    # Encoders choose their format by the suffix, so it stays last
    part = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.part{path.suffix}")
    with _becoming(part, path):
        yield part


@contextmanager
def write_alone(path: str | os.PathLike[str], whole: Then = lambda: None) -> Iterator[Path]:
    """As `write_aside`, for a file that takes long to write: what is yielded lies in a temporary
    folder, where more may be put, and what a killed process left of such folders for this `path`
    is removed first. whole: is called when all of the file is on the disk, right before it gets its
    name."""
    path = _file_to_write(path)
    with _folder_in_use(path) as folder, _becoming(folder / path.name, path, whole):
        yield folder / path.name


def _file_to_write(path: str | os.PathLike[str]) -> Path:
    """The path of a file, whose parent folders are created. Raises UsageError for a folder."""
    path = Path(path)
    if path.is_dir():
        raise UsageError(f"{path} is a folder: give the name of a file to write")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def _becoming(part: Path, path: Path, whole: Then = lambda: None) -> Iterator[None]:
    """Rename `part` to `path` at the end of the block, remove it on any exception; as
    `write_alone`."""
    try:
        yield
        _set_modes(path.parent, [part])
        flush(part)
        whole()
        os.replace(part, path)
        flush(path.parent)
    except BaseException as error:
        full = disk_is_full(error, path.parent)  # tested before the partial file is removed
        part.unlink(missing_ok=True)
        if full:
            raise full_disk(path) from error
        if isinstance(error, OSError) and error.errno in (errno.EFBIG, errno.EIO):
            error.filename = error.filename or os.fspath(path)  # which errors of a write lack
        raise


@contextmanager
def _folder_in_use(path: Path) -> Iterator[Path]:
    """A new temporary folder beside `path`, which is locked as long as this process lives; at the
    end it is removed if it is still there, and those of processes that were killed before it
    begins."""
    for left in _left_aside(path.parent):
        with suppress(BlockingIOError):
            if _is_part_of(path, left) and (lock := _locked(left)) is not None:
                shutil.rmtree(left, ignore_errors=True)
                os.close(lock)
    while True:
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        part.mkdir()
        with suppress(BlockingIOError):  # another process has taken it for one that was left
            lock = _locked(part)
            break
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _locked(folder: Path) -> int | None:
    """Lock a folder until the descriptor that is returned is closed, or this process ends; None
    where there are no locks. Raises BlockingIOError where another process has the lock, or has
    removed the folder."""
    try:
        import fcntl

        file = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        raise BlockingIOError(f"{folder} is gone") from None
    except (OSError, ImportError):
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        if isinstance(error, BlockingIOError):
            raise
        return None
    if not folder.is_dir():
        os.close(file)
        raise BlockingIOError(f"{folder} is gone")
    return file


@contextmanager
def folder_aside(
    path: str | os.PathLike[str], own: Collection[str] | None = None, whole: Then = lambda: None
) -> Iterator[Path]:
    """Yield a new temporary sibling folder to fill; at the end it replaces the folder `path`.

    own: names of what the program writes into such a folder; all else in an existing folder is
    kept. With None an existing folder is deleted with its contents, so use that only for folders
    within a run folder. Cleans up as `write_alone` does, and with `own`, for which the caller must
    own the folder (`run_folder.owned`), also where a replacement was interrupted. whole: as of
    `write_alone`.

    Raises:
        Failure: the disk is full.
        UsageError: `path` is a file.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file: give the name of a folder to write")
    path.parent.mkdir(parents=True, exist_ok=True)
    if own is not None:
        for left in _left_aside(path.parent):
            if left.name.startswith(f".{path.name}."):
                _clear(left, own)
    with _folder_in_use(path) as part:
        try:
            yield part
            _set_modes(part, list(part.rglob("*")))
            for file in part.rglob("*"):
                flush(file)
            flush(part)
            whole()
            _swap(part, path, own)
        except BaseException as error:
            if disk_is_full(error, path.parent):  # tested before the partial folder is removed
                raise full_disk(path) from error
            raise


def sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's bytes, 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_free(path: Path, overwrite: bool | None, own: bool = False) -> None:
    """Check that a file may be written: it is new, `own` (a former result of the same kind), or the
    user said `--overwrite`.

    overwrite: None for a command without this option.

    Raises:
        UsageError: the file is somebody else's.
    """
    if not (own or overwrite) and path.exists():
        instead = "choose another --out" if overwrite is None else (
            "choose another name, or add --overwrite"
        )  # fmt: skip
        raise UsageError(f"{path} exists and was not written by this command: {instead}")


def require_no_input(written: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Raise UsageError where a file to write is an input."""
    given = {path.resolve(): path for path in inputs}
    for path in written:
        if (one := given.get(path.resolve())) is not None:
            raise UsageError(f"{path} would overwrite the input {one}: give another name")


def require_writable(folder: str | os.PathLike[str], option: str = "--out") -> None:
    """Check that files can be written to `folder`, or that it could be created. Creates nothing.

    option: which names the folder.

    Raises:
        UsageError: with the reason.
    """
    folder = Path(folder)
    try:
        ancestor = nearest_existing(folder)
        if not ancestor.is_dir():
            raise UsageError(
                f"cannot write to {folder}: {ancestor} is not a folder; choose another {option}"
            )
        with tempfile.TemporaryFile(dir=ancestor):
            pass
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"cannot write to {folder}: {reason}; choose another {option}") from error


def has_sign(path: Path, sign: str) -> bool:
    """Whether a file has a line near its beginning by which its writer is known."""
    try:
        with path.open("rb") as file:
            return sign.encode() in file.read(200)
    except OSError:
        return False


def nearest_existing(path: Path) -> Path:
    """The path itself or, if it does not exist, the nearest folder above it that does."""
    place = path.absolute()
    while not place.exists():
        place = place.parent
    return place


def cache_place(folder: Path) -> Path:
    """Where to cache results: `folder`, of runs/, if there is a runs/, else the user's cache, so
    that runs/ appears only where results were asked for. Nothing is created.

    Raises:
        UsageError: neither can be written.
    """
    aside = cache_folder() / folder.name
    for place in (folder, aside) if folder.parent.is_dir() else (aside, folder):
        with suppress(UsageError):
            require_writable(place)
            return place
    raise UsageError(f"cannot write to {aside}: set AA_CACHE to a folder for caches")


def flush(path: Path) -> None:
    """Write a file, or the names in a folder, to the disk (fsync)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _set_modes(folder: Path, files: Iterable[Path]) -> None:
    """Give files the mode of a new file: safetensors makes them unreadable for others (0600)."""
    probe = folder / f".mode.{secrets.token_hex(4)}.part"
    try:
        probe.touch()
        mode = stat.S_IMODE(probe.stat().st_mode)
    finally:
        probe.unlink(missing_ok=True)
    for file in files:
        if file.is_file() and not file.is_symlink():
            file.chmod(mode)


def _swap(new: Path, path: Path, own: Collection[str] | None) -> None:
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
    _drop(old, path, own)


def _drop(old: Path, path: Path, own: Collection[str] | None) -> None:
    """Delete the former folder `old` of `path`; what is not `own` is moved to `path` first."""
    for entry in old.iterdir():
        if own is not None and entry.name not in own and not (path / entry.name).exists():
            os.replace(entry, path / entry.name)
    shutil.rmtree(old, ignore_errors=True)


def clear_aside(folder: Path) -> None:
    """Remove, in a folder and those below it, what killed processes left beside their files. No
    other process may be writing there. A folder whose replacement was interrupted is put back."""
    for place, _, _ in os.walk(folder):
        for left in _left_aside(Path(place)):
            _clear(left, ())


def _left_aside(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if ASIDE.fullmatch(path.name)]


def _is_part_of(path: Path, left: Path) -> bool:
    """Whether `left`, beside `path`, is a folder in which that was being written."""
    found = ASIDE.fullmatch(left.name)
    own = found is not None and (found["name"], found["kind"]) == (path.name, "part")
    return own and left.is_dir() and not left.is_symlink()


def _clear(left: Path, own: Collection[str]) -> None:
    found = ASIDE.fullmatch(left.name)
    assert found is not None
    path = left.with_name(found["name"])
    if left.is_symlink() or not left.is_dir():
        left.unlink()
    elif found["kind"] == "part":
        shutil.rmtree(left, ignore_errors=True)
    elif path.exists():
        _drop(left, path, own)
    else:
        os.replace(left, path)


def disk_is_full(error: BaseException, folder: Path) -> bool:
    """Whether an error came of a full disk, on which `folder` is."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    if not isinstance(error, Exception) or isinstance(error, (UsageError, Failure)):
        return False
    # Libraries raise their own types: safetensors with the system's message, torch without it
    return "No space left" in str(error) or shutil.disk_usage(folder).free < 64 * 1024


def full_disk(path: Path | str) -> Failure:
    """What to raise where the disk was full while `path` was written."""
    return Failure(f"disk full while writing {path}: free some space and run the command again")


def finite(record: Any) -> Any:
    """Replace numbers that are not finite by None, for JSON: the PSNR of equal videos is one."""
    if isinstance(record, Mapping):
        return {key: finite(value) for key, value in record.items()}
    if isinstance(record, list | tuple):
        return [finite(value) for value in record]
    return None if isinstance(record, float) and not math.isfinite(record) else record
