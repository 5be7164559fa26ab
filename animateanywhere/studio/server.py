"""The server of the studio: it listens, says where, and ends by Ctrl-C."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import socket
import sys
import webbrowser
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from rich.markup import escape

from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.core.files import require_writable
from animateanywhere.core.messages import say, warn
from animateanywhere.core.paths import RUNS
from animateanywhere.core.run_folder import VIDEOS, owned, read_mark, require_own
from animateanywhere.studio.access import Keys, is_local
from animateanywhere.studio.app import create_app
from animateanywhere.studio.place import FOLDER, Place

PORT = 8720
PATIENCE = 3  # seconds for open connections at the end


@dataclass(frozen=True)
class StudioOptions:
    """Options of `serve`."""

    port: int = PORT  # 0: any free one
    runs: Path = RUNS
    host: str = "127.0.0.1"
    password: str | None = None  # asked for in place of the token
    browser: bool = True  # open the page


def serve(options: StudioOptions = StudioOptions()) -> None:
    """Serve the studio until Ctrl-C.

    Raises UsageError for another address than this machine's without a password, a port that is in
    use, and a folder that cannot be written; Failure if a studio with this folder runs already.
    """
    if not is_local(options.host) and not options.password:
        raise UsageError(
            f"--host {options.host}: whoever reaches this machine could use the studio; give a "
            "--password too, or leave out --host"
        )
    _require_runs(options.runs)
    with owned(options.runs / FOLDER, "studio"), _listen(options.host, options.port) as listener:
        port = listener.getsockname()[1]
        keys = Keys(f"aa-studio-{port}", password=options.password)
        if options.password:
            keys.token = None
        app = create_app(Place(options.runs), keys, options.host)
        config = uvicorn.Config(
            app, log_level="error", access_log=False, server_header=False, ws="none",
            timeout_graceful_shutdown=PATIENCE,
        )  # fmt: skip
        server = uvicorn.Server(config)
        app.state.ending = lambda: server.should_exit
        # A request that the end cuts off is no error
        logging.getLogger("uvicorn.error").addFilter(lambda _: not server.should_exit)
        _announce(options, port, keys)
        with suppress(KeyboardInterrupt):  # the usual end of a server
            server.run(sockets=[listener])
    if not server.started:
        raise Failure("the studio could not start; set AA_DEBUG=1 for more")
    say("the studio has ended")


def _require_runs(folder: Path) -> None:
    """Raise UsageError for a folder that cannot be one of runs with a studio's own in it."""
    require_writable(folder, "--runs")
    mark = read_mark(folder)
    if mark is not None and mark.command != VIDEOS:
        raise UsageError(
            f"--runs {folder}: one run, of `aa {mark.command}`: give the folder that it is in"
        )
    try:
        require_own(folder / FOLDER, "studio")
    except UsageError:
        raise UsageError(
            f"--runs {folder}: the studio keeps its files in {folder / FOLDER}, and there are "
            "others already: choose another folder, or rename that one"
        ) from None


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises UsageError where it cannot."""
    listener = socket.socket(socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise UsageError(
                f"--port {port}: in use by another program, perhaps another studio: give another "
                "one, or 0 for any that is free"
            ) from None
        if error.errno == errno.EACCES:
            raise UsageError(f"--port {port}: needs other rights: give one above 1024") from None
        reason = error.strerror or str(error)
        raise UsageError(f"--host {host}: cannot listen there ({reason.lower()})") from None
    return listener


def _announce(options: StudioOptions, port: int, keys: Keys) -> None:
    local = is_local(options.host)
    name = "127.0.0.1" if options.host == "0.0.0.0" else options.host
    address = f"http://{name}:{port}/" + (f"?token={keys.token}" if keys.token else "")
    if not local:
        warn(
            escape(
                f"--host {options.host}: everybody who reaches this machine and knows the password "
                "can see and learn people here; the connection is not encrypted"
            )
        )
    say(f"the studio is open: [bold]{escape(address)}[/bold]")
    say("Ctrl-C ends it. What it makes is in " + escape(str(options.runs)))
    if not sys.stdout.isatty():
        print(address, flush=True)
    if options.browser and local and _has_screen():
        webbrowser.open(address)


def _has_screen() -> bool:
    """Whether a browser could open a window, and not take the terminal."""
    if sys.platform != "linux":
        return sys.stdout.isatty()
    shown = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(shown and sys.stdout.isatty() and shutil.which("xdg-open"))
