"""Commands about what is there: the runs and their state, and whether all works."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from animateanywhere.cli.app import result
from animateanywhere.cli.ask import confirm, is_interactive
from animateanywhere.cli.options import Json
from animateanywhere.core.errors import UsageError
from animateanywhere.core.paths import RUNS


def runs(
    action: Annotated[
        Literal["list", "show", "delete"],
        typer.Argument(
            metavar="list|show|delete",
            help="What to do: list all runs with their total size, show one as a page, or delete "
            "some.",
        ),
    ] = "list",
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUNS",
            show_default="none, for list",
            help="Runs or videos by the names that the list shows, or by their paths.",
        ),
    ] = None,
    folder: Annotated[
        Path, typer.Option("--runs", metavar="FOLDER", help="Folder that contains the runs.")
    ] = RUNS,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default="run.html in the run, or beside the video",
            help="HTML file that show writes.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking.")] = False,
    as_json: Json = False,
) -> None:
    """List runs, generated videos and swaps, show how one went, or delete some.

    The list gives command, state (running, finished, or stopped at which step), age and disk use.
    It is read from locks, marks and the ends of logs; damaged files are named.

    The page of show has curves of loss, learning rate, scores and throughput, and samples, of base
    training and of personalization. It is one file and needs no network.

    Only folders with the mark of aa are deleted, never one that a process works in. Files in them
    that are not of the run stay and are named, and what links point to stays.

    Example: aa runs

    Example: aa runs show sks

    Example: aa runs delete sks --yes
    """
    names = names or []
    if action != "list" and not names:
        raise UsageError(f"aa runs {action}: say which run; `aa runs list` shows their names")
    if action == "list":
        if names:
            raise UsageError(f"aa runs list {names[0]}: list shows all; for one, use show")
        _list(folder, as_json)
    elif action == "show":
        if len(names) > 1:
            raise UsageError("aa runs show: give one run")
        from animateanywhere.commands.run_page import show

        result(show(names[0], folder, out))
    else:
        from animateanywhere.commands.run_delete import delete

        delete(names, folder, None if yes else _confirm)


def _list(folder: Path, as_json: bool) -> None:
    from animateanywhere.commands import runs as command

    listing = command.list_runs(folder)
    if as_json:
        typer.echo(command.to_json(listing))
        return
    command.show(listing)
    if not sys.stdout.isatty():
        for run in listing.runs:
            typer.echo(run.name.encode(errors="replace").decode())


def _confirm(question: str) -> bool:
    """Ask at the terminal. Raises UsageError where nobody can answer."""
    if not is_interactive():
        raise UsageError(f"{question} Nobody can be asked here: add --yes")
    return confirm(question)


def doctor(as_json: Json = False) -> None:
    """Check whether the commands work on this machine, in a few seconds.

    Looks at Python, torch, GPU, memory, disk, the packages of each extra (imported), their versions
    against the tested ones, video codecs (tried on a few frames), the files of the bundled base and
    of the detectors (by checksums), and whether the hub of models answers. Each problem comes with
    what to do.

    Exit code 1 if something is broken that the commands need.

    Example: aa doctor
    """
    from animateanywhere.commands import doctor as command

    checks = command.doctor()
    if as_json:
        typer.echo(command.to_json(checks))
    else:
        command.show(checks)
    if not command.works(checks):
        raise typer.Exit(1)
