"""`aa`, and `python -m animateanywhere`."""

# Nothing else is loaded before `run` handles signals: Ctrl-C would be a traceback until then
import _thread
import atexit
import gc
import signal
import sys
from types import FrameType


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
        import threading

        number = signal.SIGTERM if terminated else signal.SIGINT
        later = threading.Timer(0.05, _thread.interrupt_main, [number])
        later.daemon = True
        later.start()

    try:  # loading takes a moment, in which Ctrl-C can come too
        signal.signal(signal.SIGTERM, terminate)
        sys.unraisablehook = again
        atexit.register(_end)
        from animateanywhere.cli.main import main

        code = main()
    except KeyboardInterrupt:
        from animateanywhere.core.errors import STOPPED

        code = _say(f"aa: {STOPPED}", 130)
    except Exception as error:  # `main` gives a code for its own
        from animateanywhere.core.errors import out_of_memory

        if (why := out_of_memory(error)) is None:
            raise
        code = _say(f"aa: {why}", 1)
    # Python notes a Ctrl-C within an `exec` of text, as dataclasses and namedtuples are made by, as
    # unhandled whoever handles it later, and would end with signal 2; the next `eval` clears that
    eval("None")
    return 143 if terminated and code == 130 else code


def _say(text: str, code: int) -> int:
    """Print how the program ends; returns its exit code."""
    from animateanywhere.core.launcher import reports_error

    if reports_error(text, code):
        print(text, file=sys.stderr)
    return code


def _end() -> None:
    """All is written: a signal while Python ends must not make a failure of it; and to look for
    garbage in all that PyTorch and transformers loaded would take two seconds."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    gc.freeze()


if __name__ == "__main__":
    sys.exit(run())
