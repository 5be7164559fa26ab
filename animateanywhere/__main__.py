"""`aa`, and `python -m animateanywhere`."""

import _thread
import atexit
import signal
import sys
import threading
from types import FrameType

from animateanywhere.core.errors import STOPPED, out_of_memory


def run() -> int:
    """Run `aa` and return its exit code: that of `main`, or 143 where SIGTERM ended it."""
    terminated = []

    def terminate(number: int, frame: FrameType | None) -> None:
        terminated.append(number)
        raise KeyboardInterrupt  # what Ctrl-C saves is saved

    def again(ignored: "sys.UnraisableHookArgs") -> None:
        # Python ignores what is raised in a finalizer or a callback of C, a signal's stop as well
        if not issubclass(ignored.exc_type, KeyboardInterrupt):
            sys.__unraisablehook__(ignored)
            return
        number = signal.SIGTERM if terminated else signal.SIGINT
        later = threading.Timer(0.05, _thread.interrupt_main, [number])
        later.daemon = True
        later.start()

    signal.signal(signal.SIGTERM, terminate)
    sys.unraisablehook = again
    atexit.register(_ignore_signals)
    try:  # loading takes a moment, in which Ctrl-C can come too
        from animateanywhere.cli.main import main

        code = main()
    except KeyboardInterrupt:
        print(f"aa: {STOPPED}", file=sys.stderr)
        code = 130
    except Exception as error:  # `main` gives a code for its own
        if (why := out_of_memory(error)) is None:
            raise
        print(f"aa: {why}", file=sys.stderr)
        code = 1
    # Python notes a Ctrl-C within an `exec` of text, as dataclasses and namedtuples are made by, as
    # unhandled whoever handles it later, and would end with signal 2; the next `eval` clears that
    eval("None")
    return 143 if terminated and code == 130 else code


def _ignore_signals() -> None:
    """All is written: a signal while Python ends must not make a failure of it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(run())
