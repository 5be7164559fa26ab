"""The application: its pages, the queue that works while it lives, and what is said of errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.core.files import disk_is_full
from animateanywhere.core.messages import say, warn
from animateanywhere.studio import clips, history, job_replies, replies, scenes
from animateanywhere.studio.access import Access, Keys, hosts_of
from animateanywhere.studio.answer import Answer
from animateanywhere.studio.form import TooLarge
from animateanywhere.studio.job import file_of_check
from animateanywhere.studio.jobs import TICK, Queue
from animateanywhere.studio.place import Place, Unknown
from animateanywhere.studio.subjects import Newer

PAGES = Path(__file__).with_name("pages")
KINDS = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


def create_app(place: Place, keys: Keys, host: str = "127.0.0.1") -> Starlette:
    """The application: pages, requests, and the queue that works while it lives."""
    queue = Queue(place.own / "jobs", place.runs.absolute())

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        queue.load()
        with suppress(OSError):
            clips.sweep(place)
        with suppress(UsageError, Failure, OSError):  # it is there to try, no more
            await clips.add_example(place)
        await run_in_threadpool(_remember, place, queue)
        work = asyncio.create_task(_work(queue))
        yield
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        await run_in_threadpool(_close, queue)

    routes = [
        Route("/", _static("index.html")),
        *(Route(f"/static/{file.name}", _static(file.name)) for file in sorted(PAGES.iterdir())
          if file.suffix in KINDS),
        *replies.ROUTES,
        *job_replies.ROUTES,
    ]  # fmt: skip
    known: dict[Any, Callable[..., Any]] = {
        Unknown: _missing, UsageError: _wrong, Failure: _failed, OSError: _failed,
        TooLarge: _too_large, clips.TooMany: _too_many, ClientDisconnect: _broken_off,
        Newer: _newer,
    }  # fmt: skip
    guards = [
        Middleware(TrustedHostMiddleware, allowed_hosts=hosts_of(host), www_redirect=False),
        Middleware(Access, keys=keys),
    ]
    app = Starlette(routes=routes, middleware=guards, exception_handlers=known, lifespan=lifespan)
    app.state.place, app.state.queue, app.state.uploads = place, queue, clips.Uploads()
    app.state.ending = lambda: False
    return app


def _remember(place: Place, queue: Queue) -> None:
    """Know again what pages that are still open have shown, to which they go on by its id."""
    with suppress(UsageError, Failure, OSError):  # the pages say it when they ask
        history.history(place)
    for job in queue.jobs.values():
        folder = file_of_check(job, "scene")
        if folder is not None and place.holds(folder):
            with suppress(UsageError, Unknown, OSError):
                scenes.show(place, folder)


async def _work(queue: Queue) -> None:
    while True:
        # On a full disk, the next look may find room
        with suppress(OSError, Failure, UsageError):
            await run_in_threadpool(queue.step)
        await asyncio.sleep(TICK)


def _close(queue: Queue) -> None:
    if queue.current is not None:
        say("the job at work is stopped where it can go on at the next start; this takes a moment")
    job = queue.close()
    if job is not None and queue.current is not None:
        warn(f"it still works, as process {job.process}, and the next start will find it")


def _static(name: str) -> Callable[[Request], Awaitable[Response]]:
    """A page of the package: a fixed file, so no address names another one."""
    path = PAGES / name

    async def answer(request: Request) -> Response:
        return FileResponse(path, media_type=f"{KINDS[path.suffix]}; charset=utf-8",
                            headers={"cache-control": "no-cache"})  # fmt: skip

    return answer


def _line(text: str, status: int) -> Response:
    """What went wrong, in one line."""
    return Answer({"error": text}, status)


async def _missing(request: Request, error: Exception) -> Response:
    return _line("this is not there (any more)", 404)


async def _wrong(request: Request, error: Exception) -> Response:
    return _line(str(error), 422)


async def _too_large(request: Request, error: Exception) -> Response:
    return _line(f"too large: at most {int(str(error)) // 10**6} MB", 413)


async def _too_many(request: Request, error: Exception) -> Response:
    return _line(str(error), 429)


async def _broken_off(request: Request, error: Exception) -> Response:
    return _line("the upload broke off", 400)  # to nobody: a page was closed


async def _newer(request: Request, error: Exception) -> Response:
    text = "this was changed since the page loaded it: load the newer one, then correct that"
    return Answer({"error": text, "newer": True}, 409)


async def _failed(request: Request, error: Exception) -> Response:
    text = str(error)
    if ("disk" in text and "full" in text) or disk_is_full(error, request.app.state.place.runs):
        return _line("the disk is full: free some space and try again; nothing was changed", 507)
    if isinstance(error, OSError):
        return _line((error.strerror or text).lower(), 500)
    return _line(text, 409)
