"""What all commands belong to."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from animateanywhere import __version__

app = typer.Typer(
    help="One video of a person in; that person anywhere, doing anything, out.\n\n"
    "Example: aa demo --fast",
    rich_markup_mode=None,  # rich would double the time that --help takes
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(f"aa {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def result(path: Path | str) -> None:
    """Give a script the place of what was made; a person at a terminal was told by the command."""
    from animateanywhere.core.console import is_first

    if not sys.stdout.isatty() and is_first():
        typer.echo(path)
