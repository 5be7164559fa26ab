"""The command line: the list of commands, errors as one line, and the exit code.

What the commands call is imported inside of them, so that `aa --help` loads no torch.
"""

import difflib
import errno
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import typer

from animateanywhere.cli import (
    cast,
    corpus,
    evaluate,
    generate,
    info,
    prepare,
    runs,
    share,
    studio,
    swap,
    train,
)
from animateanywhere.cli.app import app
from animateanywhere.cli.help import Command
from animateanywhere.core.errors import (
    STOPPED,
    Failure,
    OtherEnded,
    UsageError,
    out_of_memory,
    stopped,
)
from animateanywhere.core.files import full_disk
from animateanywhere.core.launcher import is_first, reports_error
from animateanywhere.core.reporter import Lines, write_line

# In the order in which people need them, as `aa --help` shows it
COMMANDS: dict[str, dict[str, Callable[..., Any]]] = {
    "Put a person into videos": {
        "demo": info.demo,
        "personalize": train.personalize,
        "generate": generate.generate,
        "swap": swap.swap,
        "cast": cast.cast,
        "studio": studio.studio,
    },
    "Prepare and check": {
        "prepare": prepare.prepare,
        "check": prepare.check,
        "pose": prepare.pose,
        "models": info.models,
    },
    "Measure": {"evaluate": evaluate.evaluate},
    "Runs and this machine": {"runs": runs.runs, "doctor": runs.doctor},
    "Share": {"export": share.export, "push": share.push},
    "Base models": {
        "base-train": train.base_train,
        "corpus": corpus.corpus,
        "bases": info.bases,
        "puppets": info.puppets,
    },
}
# What Typer passes on from the library that reads numbers and choices
OF_PYDANTIC = {
    "Value error, ": "",
    "Input should be greater than or equal to": "it must be at least",
    "Input should be less than or equal to": "it must be at most",
}
for panel, commands in COMMANDS.items():
    for name, function in commands.items():
        app.command(name, cls=Command, rich_help_panel=panel)(function)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `aa` and return its exit code: 0 done, 1 failed, 2 wrong use, 130 interrupted."""
    code = _run(sys.argv[1:] if arguments is None else list(arguments))
    if _for_programs() and is_first():
        write_line({"kind": "exit", "code": code})
    return code


def _run(arguments: list[str]) -> int:
    _set_environment()
    debug = os.environ.get("AA_DEBUG", "0") not in ("", "0")
    try:
        _check_encoding(arguments)
        with _reporting():
            code = app(arguments, prog_name="aa", standalone_mode=False)
    except typer.TyperException as error:
        return _fail(_wrong_use(error), 2)
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        if debug:
            traceback.print_exc()
        if stopped(error):
            return _fail(STOPPED, 130)
        if why := out_of_memory(error):
            return _fail(why, 1)
        if isinstance(error, OtherEnded):
            return _fail(str(error), 1, follows=True)
        if isinstance(error, UsageError | Failure):
            return _fail(str(error), 2 if isinstance(error, UsageError) else 1)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            where = error.filename or "a file of this command or of its cache"
            return _fail(str(full_disk(where)), 1)
        if isinstance(error, OSError) and error.strerror and error.filename:
            return _fail(f"{error.filename}: {error.strerror}", 1)
        if isinstance(error, ImportError | RuntimeError):
            from animateanywhere.preprocessing.pose.openpose import torchvision_fault

            if why := torchvision_fault():
                return _fail(why, 2)
        hint = "" if debug else "; set AA_DEBUG=1 for the traceback"
        return _fail(f"unexpected {type(error).__name__}: {error}{hint}", 1)
    if code == 130:
        return _fail(STOPPED, 130)
    return code if isinstance(code, int) else 0


def _check_encoding(arguments: Sequence[str]) -> None:
    for word in arguments:
        try:
            word.encode()
        except UnicodeEncodeError:
            shown = word.encode(errors="replace").decode()
            raise UsageError(
                f"{shown}: not UTF-8 text; rename the file, or type the text anew"
            ) from None


def _for_programs() -> bool:
    """Whether messages and progress are wanted as lines of JSON."""
    return os.environ.get("AA_PROGRESS") == "json"


def _reporting() -> AbstractContextManager[None]:
    if not _for_programs():
        return nullcontext()
    from animateanywhere.core.messages import reporting_to  # with rich

    return reporting_to(Lines())


def _fail(message: str, code: int, follows: bool = False) -> int:
    text = f"aa: {' '.join(message.split())}"
    if not reports_error(text, code, follows):
        return code
    if _for_programs():
        write_line({"kind": "error", "text": text.removeprefix("aa: "), "code": code})
    else:
        typer.secho(text, fg="red", err=True)
    return code


def _wrong_use(error: typer.TyperException) -> str:
    """What Typer says of wrong flags, with what was probably meant or where to read on."""
    message = error.format_message()
    for theirs, ours in OF_PYDANTIC.items():
        message = message.replace(theirs, ours)
    context = getattr(error, "ctx", None)
    wrong = getattr(error, "option_name", None)
    if context is None or "Did you mean" in message:
        return message
    if wrong is not None and hasattr(error, "possibilities"):
        shown = [param for param in context.command.get_params(context)
                 if not getattr(param, "hidden", False)]  # fmt: skip
        names = [name for param in shown for name in param.opts if name.startswith("--")]
        message = f"No such option {wrong!r}."
        if near := difflib.get_close_matches(wrong, names, 1, 0.7):
            return f"{message} Did you mean {near[0]!r}?"
    return f"{message.rstrip('.')}. See {context.command_path} --help."


def _set_environment() -> None:
    """What libraries read when they are loaded, where the user has not set it."""
    for name, value in {
        # Waiting threads of OpenMP that spin slow torch down twentyfold beside other work.
        "OMP_WAIT_POLICY": "PASSIVE",
        # Chatter that is not for the user's terminal.
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "GLOG_minloglevel": "2",
        "TRANSFORMERS_VERBOSITY": "error",
        "DIFFUSERS_VERBOSITY": "error",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }.items():
        os.environ.setdefault(name, value)
    # diffusers loads it wherever it is installed; then it warns of kernels that nothing here uses.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
