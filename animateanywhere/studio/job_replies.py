"""The answers to requests about jobs: their stream of events, and what is done with one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from animateanywhere.studio import orders, scenes
from animateanywhere.studio.answer import Answer, as_json, media
from animateanywhere.studio.form import read_form
from animateanywhere.studio.job import Job, file_of_check, result_of
from animateanywhere.studio.jobs import TICK, Queue
from animateanywhere.studio.place import Place, Unknown

PULSE = 15.0  # seconds after which a silent stream says that it lives


async def _events(request: Request) -> Response:
    """Server-sent events: how all jobs stand, again with each change."""
    queue, ending = request.app.state.queue, request.app.state.ending

    async def stream() -> AsyncIterator[str]:
        seen, spoke = -1, 0.0
        while not ending() and not await request.is_disconnected():
            if queue.changes != seen:
                seen, spoke = queue.changes, time.monotonic()
                yield f"data: {as_json(_snapshot(queue))}\n\n"
            elif time.monotonic() - spoke > PULSE:
                spoke = time.monotonic()
                yield ": \n\n"
            await asyncio.sleep(TICK)

    return StreamingResponse(stream(), media_type="text/event-stream")


def _snapshot(queue: Queue) -> dict[str, Any]:
    jobs, waiting = sorted(queue.jobs.values(), key=lambda job: job.queued), queue.waiting()
    return {"jobs": [_shown(queue, job, waiting) for job in jobs], "runs": str(queue.runs)}


def _shown(queue: Queue, job: Job, waiting: list[Job], whole: bool = False) -> dict[str, Any]:
    """A job as pages see it; waiting: `queue.waiting()`; whole: with its curves and messages, which
    else only that at work has."""
    table = {key: value for key, value in asdict(job).items() if key not in ("arguments", "result")}
    seen = queue.progress.get(job.id)
    if seen is not None and (whole or job.state in ("running", "stopping")):
        table["progress"] = {
            "stage": seen.stage, "step": seen.step, "total": seen.total, "eta": seen.eta,
            "losses": seen.losses, "messages": seen.messages[-40:], "pictures": len(seen.pictures),
        }  # fmt: skip
    if job in waiting:
        table["turn"] = waiting.index(job)  # 0: the next one
    if whole:
        table |= {"arguments": job.arguments, "result": result_of(job) or job.result}
    return table


async def _add_job(request: Request) -> Response:
    place: Place = request.app.state.place
    queue: Queue = request.app.state.queue
    form = await read_form(request)
    job = await run_in_threadpool(orders.order, place, str(form.pop("job", "")), form)
    return Answer(_shown(queue, queue.add(job), queue.waiting()), 201)


async def _job(request: Request) -> Response:
    queue = request.app.state.queue
    job = queue.find(request.path_params["id"])
    return Answer(_shown(queue, job, queue.waiting(), whole=True))


async def _move_job(request: Request) -> Response:
    queue: Queue = request.app.state.queue
    job, action = queue.find(request.path_params["id"]), request.path_params["action"]
    if action not in ("stop", "resume"):
        raise Unknown(action)
    await run_in_threadpool(queue.stop if action == "stop" else queue.resume, job)
    return Answer(_shown(queue, job, queue.waiting()))


async def _job_picture(request: Request) -> Response:
    """A picture that a command said it wrote."""
    place: Place = request.app.state.place
    queue: Queue = request.app.state.queue
    job, number = queue.find(request.path_params["id"]), request.path_params["number"]
    seen = queue.progress.get(job.id)  # None before its command has begun
    shown = seen.pictures if seen is not None else []
    path = Path(shown[number]) if number < len(shown) else None
    if path is None or not place.holds(path):
        raise Unknown(str(number))
    return media(path)


async def _check_file(request: Request) -> Response:
    """A picture that a check wrote."""
    path = _of_check(request, request.path_params["what"])
    return media(path)


async def _check_scene(request: Request) -> Response:
    """The parts of the scene that a check prepared."""
    place: Place = request.app.state.place
    return Answer(await run_in_threadpool(scenes.show, place, _of_check(request, "scene")))


def _of_check(request: Request, what: str) -> Path:
    """What a check says it wrote. Raises Unknown where that is not there, or not in the runs."""
    place: Place = request.app.state.place
    path = file_of_check(request.app.state.queue.find(request.path_params["id"]), what)
    if path is None or not place.holds(path):
        raise Unknown(what)
    return path


async def _forget_job(request: Request) -> Response:
    queue: Queue = request.app.state.queue
    queue.forget(queue.find(request.path_params["id"]))
    return Response(status_code=204)


ROUTES = [
    Route("/api/events", _events),
    Route("/api/jobs", _add_job, methods=["POST"]),
    Route("/api/jobs/{id}", _job),
    Route("/api/jobs/{id}", _forget_job, methods=["DELETE"]),
    Route("/api/jobs/{id}/scene", _check_scene),
    Route("/api/jobs/{id}/files/{what}", _check_file),
    Route("/api/jobs/{id}/{action}", _move_job, methods=["POST"]),
    Route("/api/jobs/{id}/pictures/{number:number}", _job_picture),
]
