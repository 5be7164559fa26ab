"""The command line: one of `commands`, errors as one line, and the exit code.

Command functions are imported inside, so that `aa --help` loads no torch.
"""

import logging
import os
import sys
import traceback
from collections.abc import Sequence

import typer

from animateanywhere.cli import making, seeing  # noqa: F401 - they add themselves to the app
from animateanywhere.cli.app import app
from animateanywhere.core.errors import Failure, UsageError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `aa` and return its exit code: 0 done, 1 failed, 2 wrong use, 130 interrupted."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    _quiet()
    debug = os.environ.get("AA_DEBUG", "0") not in ("", "0")
    try:
        code = app(arguments, prog_name="aa", standalone_mode=False)
    except typer.TyperException as error:  # Typer's own words on wrong flags
        return _fail(error.format_message(), 2)
    except (UsageError, Failure) as error:
        if debug:
            traceback.print_exc()
        return _fail(str(error), 2 if isinstance(error, UsageError) else 1)
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        if debug:
            traceback.print_exc()
        if isinstance(error, ImportError | RuntimeError):
            from animateanywhere.preprocessing.pose.openpose import torchvision_fault

            if why := torchvision_fault():
                return _fail(why, 2)
        hint = "" if debug else "; set AA_DEBUG=1 for the traceback"
        return _fail(f"unexpected {type(error).__name__}: {error}{hint}", 1)
    if code == 130:
        return _fail("stopped; to go on, run the same command again", 130)
    return code if isinstance(code, int) else 0


def _fail(message: str, code: int) -> int:
    typer.secho(f"aa: {' '.join(message.split())}", fg="red", err=True)
    return code


def _quiet() -> None:
    """Keep the libraries' own chatter out of the user's terminal, unless asked for."""
    for name, value in {
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "GLOG_minloglevel": "2",
        "TRANSFORMERS_VERBOSITY": "error",
        "DIFFUSERS_VERBOSITY": "error",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }.items():
        os.environ.setdefault(name, value)
    # diffusers loads it wherever it is installed; then it warns of kernels that nothing here uses.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
