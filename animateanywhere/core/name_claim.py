"""Claims of the name of a file to write, so that two processes do not write one file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from animateanywhere.core.errors import Failure
from animateanywhere.core.file_lock import TRIES, lock_there
from animateanywhere.core.paths import cache_folder


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Claim the name of a file for this process and the duration of the block; yields False if
    another process of this machine has it.

    The claim is the kernel's lock on a file in the cache, so it also ends with kill -9. Where
    there are no locks, or no cache can be written, every claim succeeds.
    """
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()
    place = cache_folder() / "claims" / name
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        file = _locked(place)
    except BlockingIOError:
        yield False
        return
    except (OSError, ImportError):
        yield True
        return
    with file:
        try:
            yield True
        finally:
            with suppress(OSError):
                place.unlink()


@contextmanager
def claim(path: Path) -> Iterator[None]:
    """As `claimed`; raises Failure where another process has the name."""
    with claimed(path) as own:
        if not own:
            raise Failure(
                f"{path} is being written by another process of aa: wait until it has ended, or "
                "choose another --out"
            )
        yield


def _locked(place: Path) -> IO[str]:
    """Open and lock a file, which its last owner may remove at any moment."""
    import fcntl

    for _ in range(TRIES):
        file = place.open("a", encoding="utf-8")
        if lock_there(file, place, lambda one: fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)):
            return file
    raise BlockingIOError
