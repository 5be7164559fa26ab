"""Processes that a launcher (`accelerate launch`, `torchrun`) started together, and which of them
prints.

Messages and progress are those of the first process. An error is printed by one process of a
machine: by the first that fails by itself, or, if none does (one was killed), by one that lost
another.
"""

import json
import os
import time
from contextlib import suppress
from pathlib import Path

PATIENCE = 5.0  # seconds, more than the launcher takes to end the others when one has ended
STOPS = (130, 143)  # exit codes
# By which PyTorch's launcher, which accelerate uses as well, asks each process for its error
ERROR_FILE = "TORCHELASTIC_ERROR_FILE"


def is_first() -> bool:
    """Whether this is the only process, or the first of several."""
    return os.environ.get("RANK", "0") == "0"


def on_this_machine() -> int:
    """How many of the processes that work together run on this machine, as their launcher says."""
    return int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("WORLD_SIZE") or 1)


def reports_error(message: str, code: int, follows: bool = False) -> bool:
    """Whether this process is the one to print how it ends, so that a user reads it once.

    follows: it ends because another one did, and leaves the report to that for `PATIENCE`. An error
    of its own also goes into the launcher's table, which names the first that failed. Under another
    launcher than PyTorch's, processes do not know of each other: each prints its errors.
    """
    file = os.environ.get(ERROR_FILE)
    if code in STOPS and not is_first():
        return False
    if not file:
        return True
    # In the folder of all processes of this machine
    reported = Path(file).parent.parent / "aa-reported"
    if follows:
        with suppress(KeyboardInterrupt):  # the launcher ends this one
            end = time.monotonic() + PATIENCE
            while not reported.exists() and time.monotonic() < end:
                time.sleep(0.05)
    elif code not in STOPS:
        _record(Path(file), message, code)
    try:
        reported.touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError:
        pass
    return True


def _record(file: Path, message: str, code: int) -> None:
    """Write an error as PyTorch's launcher reads it."""
    about = {"timestamp": str(int(time.time()))}
    table = {"message": {"message": message, "extraInfo": about, "errorCode": code}}
    with suppress(OSError):
        file.write_text(json.dumps(table), encoding="utf-8")
