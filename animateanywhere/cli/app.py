"""What all commands belong to."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from animateanywhere import __version__
from animateanywhere.cli.help import Group

app = typer.Typer(
    cls=Group,
    help="One video of a person in; that person anywhere, doing anything, out.\n\n"
    "`aa COMMAND --help` explains a command and its options.\n\n"
    "Example: aa demo --fast",
    rich_markup_mode=None,  # see `cli.help`
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 160},
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"aa {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            is_eager=True,
            callback=_print_version,
            help="Print the version and exit.",
        ),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def result(path: Path | str) -> None:
    """Give a script the place of what was made; at a terminal the command has printed it."""
    from animateanywhere.core.launcher import is_first

    if not sys.stdout.isatty() and is_first():
        typer.echo(path)
