"""Locks on files that their last owner may remove at any moment."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

TRIES = 100  # to lock a file that others remove


def lock_there(file: IO[str], path: Path, lock: Callable[[IO[str]], object]) -> bool:
    """Lock an open file; False if it is not the one at `path` any more: a lock on a removed file
    would keep nobody out. It is closed then, and where `lock` raises."""
    try:
        lock(file)
        if os.path.samestat(os.fstat(file.fileno()), path.stat()):
            return True
    except FileNotFoundError:
        pass
    except BaseException:
        file.close()
        raise
    file.close()
    return False
