"""A run folder: the mark by which the program knows it as its own, and the lock of its owner.

The mark is one small file. It names the command, and the process that works in the folder, which
holds the kernel's lock on that file (flock) until it ends, also by kill -9.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.core.file_lock import TRIES, lock_there
from animateanywhere.core.files import clear_aside, disk_is_full, full_disk, nearest_existing
from animateanywhere.core.json_file import read_table

MARK = ".animateanywhere"
GLANCES, GLANCE = 5, 0.05  # times to wait, and seconds: more than `is_running` takes
VIDEOS = "generate"  # a folder with nothing but videos, which every command may take over


class Mark(NamedTuple):
    """What a run folder's mark says of the command that works or worked there."""

    command: str
    process: int | None  # that began last
    ended: bool | None  # whether it came to its end; None: an earlier version, which did not tell


def mark(folder: Path, command: str) -> None:
    """Create a folder with a mark; nothing if the folder already contains files."""
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.iterdir()):
        _write(folder / MARK, command)


def set_mark(folder: Path, command: str) -> None:
    """Mark a folder of this program as one of another command."""
    _write(folder / MARK, command)


@contextmanager
def owned(
    folder: Path, command: str, known: Callable[[Path], bool] = lambda folder: False,
    *, ends: bool = True,
) -> Iterator[None]:  # fmt: skip
    """Own a run folder, created if it is missing, for the duration of the block.

    known: recognizes folders of the command that have no mark, as earlier versions wrote them.
    ends: whether the command has come to its end with the block; if not, files are only changed,
    or the folder deleted, and a run that was stopped is left as one that was. So is a run where
    UsageError comes out of the block: unusable input changes nothing of it. A folder in which
    nothing is written is removed again. Where the file system has no locks, the user is warned.
    Raises UsageError for a folder that contains other files, Failure if another process owns it or
    the disk is full.
    """
    path = folder / MARK
    with _locked(folder, command, known):
        before, restored = read_mark(folder), not ends
        try:
            _write(path, command, os.getpid())
            clear_aside(folder)
            yield
            if ends and path.is_file():
                _write(path, command, os.getpid(), ended=True)
        except UsageError:
            restored = restored or before is not None
            raise
        finally:
            if restored and path.is_file():
                _write(path, *(before or Mark(command, os.getpid(), False)))
            if folder.is_dir() and [entry.name for entry in folder.iterdir()] == [MARK]:
                path.unlink()
                with suppress(OSError):  # another process has put its mark there
                    folder.rmdir()


def _locked(folder: Path, command: str, known: Callable[[Path], bool]) -> IO[str]:
    """Open and lock the mark of a folder, which is created if it is missing. The folder's last
    owner may remove both at any moment."""
    path = folder / MARK
    for left in reversed(range(TRIES)):
        try:
            require_own(folder, command, known)
            folder.mkdir(parents=True, exist_ok=True)
            file = path.open("a", encoding="utf-8")
        except (FileNotFoundError, FileExistsError):
            if not left:
                raise
            continue
        if lock_there(file, path, lambda one: _lock(one, folder)):
            try:
                require_own(folder, command, known)  # now that nobody else changes it
            except BaseException:
                file.close()
                raise
            return file
    raise Failure(f"{folder} is created and removed again and again by other processes")


def require_own(
    folder: Path, command: str, known: Callable[[Path], bool] = lambda folder: False
) -> None:
    """Check that a folder is new, empty, or one of a command; arguments as for `owned`.

    Raises UsageError with what is in it.
    """
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return
    except NotADirectoryError:
        file = folder if folder.exists() else nearest_existing(folder)
        raise UsageError(f"{file} is a file: give the name of a folder to write") from None
    # Nothing but a mark: the process was killed at its start
    if set(names) <= {MARK} or read_table(folder / MARK).get("command") in (command, VIDEOS):
        return
    if known(folder):
        return
    found = next((name for name in names if name != MARK), MARK)
    raise UsageError(
        f"{folder} is not a folder of `aa {command}` and contains other files, such as {found}: "
        "choose a new or empty folder"
    )


def read_mark(folder: Path) -> Mark | None:
    """The mark of a folder; None if it has none, or a damaged one."""
    path = folder / MARK
    # A device file such as /dev/zero would never end
    found = read_table(path) if path.is_file() else {}
    command, process = found.get("command"), found.get("process")
    if not isinstance(command, str):
        return None
    number = process if type(process) is int and process > 0 else None
    ended = found.get("ended")
    return Mark(command, number, ended if isinstance(ended, bool) else None)


def is_running(folder: Path) -> bool:
    """Whether a process owns a folder: it holds the lock or, where the file system has no locks,
    the process that the mark names is alive."""
    try:
        import fcntl

        with (folder / MARK).open(encoding="utf-8") as file:
            # Shared, and given back at once: it keeps nobody else from looking
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.flock(file, fcntl.LOCK_UN)
        return False
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    except (OSError, ImportError):
        import psutil

        found = read_mark(folder)
        return found is not None and psutil.pid_exists(found.process or 0) and not found.ended


def require_idle(folder: Path) -> None:
    """Raise Failure where another process owns a folder, as `owned` does."""
    if is_running(folder):
        raise _in_use(folder)


def _in_use(folder: Path) -> Failure:
    process = read_table(folder / MARK).get("process")
    who = f"process {process}" if process else "another process"
    return Failure(
        f"{folder} is in use by {who} of aa: wait until it has ended, or choose another folder"
    )


def _lock(file: IO[str], folder: Path) -> None:
    try:
        import fcntl

        for _ in range(GLANCES):  # somebody may only look whether it is locked
            with suppress(BlockingIOError):
                return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            time.sleep(GLANCE)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _in_use(folder) from None
    except (OSError, ImportError):  # network file systems without locks, Windows
        from rich.markup import escape

        from animateanywhere.core.messages import warn

        warn(escape(f"{folder}: no locks on this file system: start no second aa in this folder"))


def _write(
    path: Path, command: str, process: int | None = None, ended: bool | None = False
) -> None:
    # In place, since the lock is on this very file; never empty in between, nor on a full disk
    about = {"command": command, "process": process, "ended": ended}
    text = json.dumps(about) + "\n"
    try:
        path.touch()
        with path.open("r+b") as file:
            file.write(text.encode())
            file.truncate()
    except OSError as error:
        if disk_is_full(error, folder := path.parent):
            raise full_disk(folder) from error
        raise
