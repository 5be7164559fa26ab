"""`aa`, and `python -m animateanywhere`."""

import atexit
import signal
import sys
from types import FrameType

from animateanywhere.core.errors import Terminated


def run() -> int:
    """Run `aa` and return its exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    atexit.register(_ignore_signals)
    try:  # loading takes a moment, in which Ctrl-C can come too
        from animateanywhere.cli.main import main
    except KeyboardInterrupt as error:
        print("aa: stopped; to go on, run the same command again", file=sys.stderr)
        return 143 if isinstance(error, Terminated) else 130
    return main()


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _ignore_signals() -> None:
    """All is written: a signal while Python ends must not make a failure of it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(run())
