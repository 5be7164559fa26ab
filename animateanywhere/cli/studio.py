"""The command that opens the studio in the browser."""

from pathlib import Path
from typing import Annotated

import typer

from animateanywhere.core.errors import UsageError
from animateanywhere.core.paths import RUNS, install_command


def studio(
    port: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, max=65535, help="Port to listen on; 0 takes any that is free."
        ),
    ] = 8720,
    runs: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="Folder of the runs, to which all of it is written."),
    ] = RUNS,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Address to listen on. Any other than this machine's own lets others in, and "
            "needs --password.",
        ),
    ] = "127.0.0.1",
    password: Annotated[
        str | None,
        typer.Option(
            metavar="WORD",
            envvar="AA_STUDIO_PASSWORD",
            show_default="none: a token in the address",
            help="Password that the page asks for. In AA_STUDIO_PASSWORD, other users of this "
            "machine cannot see it.",
        ),
    ] = None,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address, and open no browser.")
    ] = False,
) -> None:
    """Open the studio: a page in the browser that does what the commands do.

    Upload a clip, look at it and correct it, learn the person, generate videos, and see all that
    was made, also by the command line. It runs on this machine only, needs no network and sends
    nothing anywhere. Work goes on in processes of its own, one at a time; Ctrl-C ends the studio,
    and what was at work goes on at the next start.

    Example: aa studio
    """
    try:
        from animateanywhere.studio.server import StudioOptions, serve
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn"):
            raise
        raise UsageError(f"the studio needs {error.name}: {install_command('studio')}") from None
    serve(StudioOptions(port, runs, host, password, not no_browser))
