"""The answers to requests for clips, subjects, motions and results (of jobs: `job_replies`)."""

from __future__ import annotations

from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from animateanywhere import __version__
from animateanywhere.core import consent
from animateanywhere.core.errors import UsageError
from animateanywhere.studio import clips, exports, history, measured, motions, subjects
from animateanywhere.studio.answer import Answer, media
from animateanywhere.studio.form import read_body, read_form
from animateanywhere.studio.jobs import Queue
from animateanywhere.studio.place import Place
from animateanywhere.studio.ready import bases

# What is here


async def _about(request: Request) -> Response:
    place: Place = request.app.state.place
    return Answer({
        "version": __version__, "runs": str(place.runs.absolute()),
        "bases": bases(place), "bases_for": {name: bases(place, name) for name in ("swap", "cast")},
        "largest": clips.LARGEST,
        "agreed": consent.answer(), "question": consent.QUESTION,
    })  # fmt: skip


# Clips


async def _clips(request: Request) -> Response:
    return Answer(await run_in_threadpool(clips.clips, request.app.state.place))


async def _upload(request: Request) -> Response:
    length = request.headers.get("content-length", "")
    name = request.query_params.get("name", "")
    try:
        facts = await clips.take(
            request.app.state.place,
            request.app.state.uploads,
            name,
            int(length) if length.isdigit() else None,
            request.stream(),
        )
    except UsageError as error:
        raise UsageError(f"{clips.clean(name)}: {error}") from None
    return Answer(facts, 201)


async def _delete_clip(request: Request) -> Response:
    place: Place = request.app.state.place
    queue: Queue = request.app.state.queue
    queue.require_unused(request.path_params["id"])
    clips.delete(place, request.path_params["id"])
    return Response(status_code=204)


async def _strip(request: Request) -> Response:
    path = request.app.state.place.file("clips", request.path_params["id"], ".jpg")
    return media(path)


async def _clip_video(request: Request) -> Response:
    return media(clips.file_of(request.app.state.place, request.path_params["id"]))


# Subjects and their corrections


def _subject_folder(request: Request) -> Path:
    return subjects.subject_of(request.app.state.place, request.path_params["id"])


async def _subject(request: Request) -> Response:
    return Answer(await run_in_threadpool(subjects.show, _subject_folder(request)))


async def _start_over(request: Request) -> Response:
    """Forget what was found in an upload, and its corrections."""
    place: Place = request.app.state.place
    queue: Queue = request.app.state.queue
    queue.require_unused(request.path_params["id"])
    await run_in_threadpool(subjects.forget, place, request.path_params["id"])
    return Response(status_code=204)


async def _picture(request: Request) -> Response:
    kind, frame = request.path_params["kind"], request.path_params["frame"]
    folder = _subject_folder(request)
    if kind == "masks":
        png, version = await run_in_threadpool(subjects.mask, folder, frame)
        return Response(png, media_type="image/png", headers={"etag": f'"{version}"'})
    return media(subjects.picture(folder, kind, frame))


async def _set_mask(request: Request) -> Response:
    body = await read_body(request, subjects.LARGEST_MASK)
    folder, frame = _subject_folder(request), request.path_params["frame"]
    loaded = request.headers.get("if-match", "").strip('"')
    return Answer(await run_in_threadpool(subjects.set_mask, folder, frame, body, loaded))


async def _set_pose(request: Request) -> Response:
    form, frame = await read_form(request), request.path_params["frame"]
    given = (frame, form.get("version"), form.get("pose"), form.get("filled"))
    return Answer(await run_in_threadpool(subjects.set_pose, _subject_folder(request), *given))


async def _set_caption(request: Request) -> Response:
    form = await read_form(request)
    frames, versions, caption = form.get("frames"), form.get("versions"), form.get("caption")
    if not isinstance(frames, list) or not all(isinstance(one, int) for one in frames):
        raise UsageError("frames: give their numbers")
    if not isinstance(versions, list) or len(versions) != len(frames):
        raise UsageError("versions: give one for each of the frames")
    if not isinstance(caption, str):
        raise UsageError("caption: give text")
    given = (_subject_folder(request), frames, versions, caption)
    return Answer({"version": await run_in_threadpool(subjects.set_caption, *given)})


# Motions and results


async def _motions(request: Request) -> Response:
    return Answer(await run_in_threadpool(motions.motions, request.app.state.place))


async def _motion(request: Request) -> Response:
    name = request.path_params["id"]
    found = await run_in_threadpool(motions.keypoints, request.app.state.place, name)
    return Answer(found)


async def _history(request: Request) -> Response:
    return Answer(await run_in_threadpool(history.history, request.app.state.place))


async def _delete(request: Request) -> Response:
    place: Place = request.app.state.place
    queue: Queue = request.app.state.queue
    for name in history.names_of(place, request.path_params["id"]):
        queue.require_unused(name)
    ident = await run_in_threadpool(history.delete, place, request.path_params["id"])
    return Answer({"id": ident})


async def _restore(request: Request) -> Response:
    await run_in_threadpool(history.restore, request.app.state.place, request.path_params["id"])
    return Response(status_code=204)


async def _forget(request: Request) -> Response:
    await run_in_threadpool(history.forget, request.app.state.place, request.path_params["id"])
    return Response(status_code=204)


async def _file(request: Request) -> Response:
    return media(request.app.state.place.path_of(request.path_params["id"]))


async def _export(request: Request) -> Response:
    video, form = (
        request.app.state.place.path_of(request.path_params["id"]),
        request.path_params["form"],
    )
    path = await exports.export(request.app.state.place, video, form)
    name = f"{video.stem}{exports.SUFFIXES[form] or video.suffix}"
    name = name.encode(errors="replace").decode()  # it may be no text
    return FileResponse(path, filename=name, media_type="application/octet-stream")


async def _run_page(request: Request) -> Response:
    place: Place = request.app.state.place
    run = place.path_of(request.path_params["id"])
    page = await exports.run_page(place, run)
    # It is whole in itself, and may do nothing here
    policy = (
        "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"
    )
    return FileResponse(page, media_type="text/html; charset=utf-8",
                        headers={"content-security-policy": policy})  # fmt: skip


async def _measured(request: Request) -> Response:
    place: Place = request.app.state.place
    return Answer(await run_in_threadpool(measured.measured, place, request.path_params["id"]))


async def _doctor(request: Request) -> Response:
    return Answer(await exports.doctor(request.app.state.place.runs))


ROUTES = [
    Route("/api/about", _about),
    Route("/api/clips", _clips),
    Route("/api/clips", _upload, methods=["POST"]),
    Route("/api/clips/{id}", _delete_clip, methods=["DELETE"]),
    Route("/api/clips/{id}/strip", _strip),
    Route("/api/clips/{id}/video", _clip_video),
    Route("/api/subjects/{id}", _subject),
    Route("/api/subjects/{id}", _start_over, methods=["DELETE"]),
    Route("/api/subjects/{id}/{kind}/{frame:number}", _picture),
    Route("/api/subjects/{id}/masks/{frame:number}", _set_mask, methods=["PUT"]),
    Route("/api/subjects/{id}/poses/{frame:number}", _set_pose, methods=["PUT"]),
    Route("/api/subjects/{id}/captions", _set_caption, methods=["PUT"]),
    Route("/api/motions", _motions),
    Route("/api/motions/{id}", _motion),
    Route("/api/history", _history),
    Route("/api/history/{id}", _delete, methods=["DELETE"]),
    Route("/api/deleted/{id}", _restore, methods=["POST"]),
    Route("/api/deleted/{id}", _forget, methods=["DELETE"]),
    Route("/api/files/{id}", _file),
    Route("/api/results/{id}/{form}", _export),
    Route("/api/runs/{id}/page", _run_page),
    Route("/api/runs/{id}/measured", _measured),
    Route("/api/doctor", _doctor),
]
