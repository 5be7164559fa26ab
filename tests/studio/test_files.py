"""Uploads, prepared clips, orders and the history: what the page asks of the server."""

import asyncio
import io
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image
from starlette.testclient import TestClient

from animateanywhere.backbones.personal_weights import METADATA, save_personal
from animateanywhere.commands.run_curves import make_curve
from animateanywhere.core.errors import UsageError
from animateanywhere.core.paths import EXAMPLES
from animateanywhere.core.run_folder import mark, owned, set_mark
from animateanywhere.datasets.corrections import (
    KINDS,
    find_corrections,
    frame_digests,
    write_digests,
)
from animateanywhere.datasets.subject import Subject, read_subject, write_subject
from animateanywhere.evaluation import report
from animateanywhere.evaluation.sidecar import write_sidecar
from animateanywhere.media import output
from animateanywhere.media.provenance import GENERATED, Made, read
from animateanywhere.pose.skeleton import read_poses, write_poses
from animateanywhere.studio import clips, exports, motions, orders, subjects
from animateanywhere.studio.clips import clean
from animateanywhere.studio.job import Job
from animateanywhere.studio.place import Place, Unknown, new_id

VIDEO = (EXAMPLES / "reference.mp4").read_bytes()


@pytest.fixture
def subject(studio_place: Place) -> Path:
    """A prepared clip of three frames of 16 x 12 pixels, with its digests."""
    folder = studio_place.file("subjects", "ab" * 8)
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (3, 12, 16, 3), np.uint8)
    keypoints = np.zeros((3, 18, 3), np.float32)
    keypoints[..., :2], keypoints[..., 2] = 4, 1
    made = Subject(folder, frames, np.zeros((3, 12, 16), np.float32), keypoints,
                   ["a <token> man"] * 3, 8.0, "man", "in a room")  # fmt: skip
    filled = np.zeros((3, 18), bool)
    filled[1, 2:4] = True
    write_subject(made, folder, {"key": "k"}, filled)
    write_digests(
        folder, frame_digests(made), {kind: [] for kind in ("frame", "mask", "pose", "caption")}
    )
    return folder


def png(pixels: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


def save_mask(client: TestClient, path: str, frame: int, mask: np.ndarray) -> Any:
    """Save a mask of a subject as a page does that has just loaded it."""
    loaded = client.get(f"{path}/masks/{frame}").headers["etag"]
    return client.put(f"{path}/masks/{frame}", content=png(mask), headers={"if-match": loaded})


def save_pose(client: TestClient, path: str, frame: int, form: dict[str, Any]) -> Any:
    """The same with a pose."""
    version = client.get(path).json()["versions"]["pose"][frame]
    return client.put(f"{path}/poses/{frame}", json=form | {"version": version})


def save_caption(client: TestClient, path: str, form: dict[str, Any]) -> Any:
    """The same with the caption of some frames."""
    known = client.get(path).json()["versions"]["caption"]
    versions = [known[frame] for frame in form["frames"]]
    return client.put(f"{path}/captions", json=form | {"versions": versions})


# Uploads


def test_an_upload_gets_a_name_of_the_servers_and_is_known_by_its_content(
    client: TestClient, studio_place: Place
) -> None:
    name = "../../evil\n<b>.exe"
    facts = client.post("/api/clips", params={"name": name}, content=VIDEO)
    assert facts.status_code == 201
    one = facts.json()
    assert one["name"] == "evil <b>.exe" and one["kind"] == "video"
    assert (one["width"], one["height"], one["fps"]) == (128, 128, 8.0)
    assert (studio_place.own / "clips" / f"{one['id']}.mp4").read_bytes() == VIDEO
    assert list(studio_place.runs.parent.rglob("*evil*")) == []
    strip = client.get(f"/api/clips/{one['id']}/strip")
    assert strip.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(strip.content)).size == (144 * one["strip"], 144)
    assert one["id"] in [each["id"] for each in client.get("/api/clips").json()]
    assert client.delete(f"/api/clips/{one['id']}").status_code == 204
    assert not list((studio_place.own / "clips").glob(f"{one['id']}*"))


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "empty"), (b"#!/bin/sh\nrm", "text file"), (b"\0" * 5000, "cannot be read"),
     (b"{}", "poses.json"), (VIDEO[600:12000], "damaged"), (b"<svg onload='x'/>", "SVG drawing"),
     (b"\x89PNG\r\n\x1a\n" + b"x" * 99, "")],
)  # fmt: skip
def test_what_is_no_video_is_refused_and_nothing_is_left(
    client: TestClient, studio_place: Place, content: bytes, words: str
) -> None:
    answer = client.post("/api/clips", params={"name": "a.mp4"}, content=content)
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error.startswith("a.mp4: ") and words in error and "\n" not in error
    assert str(studio_place.runs) not in error
    left = {path.name[:16] for path in (studio_place.own / "clips").iterdir()}
    assert left <= {clips.EXAMPLE}


def test_uploads_have_a_limit_also_where_no_length_was_announced(
    client: TestClient, studio_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clips, "LARGEST", 1000)
    assert client.post("/api/clips", content=b"x" * 1001).status_code == 413
    pieces = (b"x" * 400 for _ in range(10))
    assert client.post("/api/clips", content=pieces).status_code == 413
    assert {path.name[:16] for path in (studio_place.own / "clips").glob("*")} <= {clips.EXAMPLE}


async def slow(first: bytes, go: asyncio.Event) -> AsyncIterator[bytes]:
    yield first
    await go.wait()


def test_uploads_at_the_same_time_have_limits(
    studio_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [10**12]
    usage = shutil.disk_usage(studio_place.runs.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=free[0]))
    uploads = clips.Uploads()

    def take(length: int | None, go: asyncio.Event) -> Coroutine[Any, Any, Any]:
        return clips.take(studio_place, uploads, "a.mp4", length, slow(b"x", go))

    async def all_at_once(*lengths: int | None) -> list[str]:
        """What is said to the last upload, with the others under way; and then to these."""
        go = asyncio.Event()
        others = [asyncio.create_task(take(length, go)) for length in lengths[:-1]]
        while len(uploads.sizes) < len(others):
            await asyncio.sleep(0)
        said = await asyncio.gather(take(lengths[-1], go), return_exceptions=True)
        go.set()
        said += await asyncio.gather(*others, return_exceptions=True)
        return [str(error) for error in said]

    def first(*lengths: int | None) -> str:
        return asyncio.run(all_at_once(*lengths))[0]

    monkeypatch.setattr(clips, "look", refuse)
    assert first(1, 1, 1, 1, 1) == "4 uploads are under way: send this one when one has ended"
    assert "uploads of 1.8 GB are under way" in first(9 * 10**8, 9 * 10**8, 3 * 10**8)
    assert "uploads of 2.0 GB are under way" in first(None, None, 1)  # may become that large
    free[0] = 10**9
    assert "disk is full" in first(5 * 10**8, 5 * 10**8)  # each alone has room
    with uploads.begin("a", 9 * 10**8, studio_place.runs.parent):
        uploads.written["a"] = 8 * 10**8  # which the disk has already
        with uploads.begin("b", 5 * 10**8, studio_place.runs.parent):
            pass
    assert asyncio.run(all_at_once(5 * 10**8, 5 * 10**8))[1:] == ["no video"]
    assert uploads.sizes == uploads.written == {}
    assert not list((studio_place.own / "clips").iterdir())


async def refuse(*_: object) -> None:
    raise UsageError("no video")


def test_one_upload_too_many_is_a_line(client: Any) -> None:
    client.app.state.uploads.sizes = dict.fromkeys("abcd", 1)
    answer = client.post("/api/clips", params={"name": "a.mp4"}, content=VIDEO)
    assert answer.status_code == 429 and "4 uploads are under way" in answer.json()["error"]


@pytest.mark.parametrize("when", ["before", "while"])
def test_a_full_disk_is_said_and_nothing_is_left(
    client: TestClient, studio_place: Place, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    if when == "before":
        usage = shutil.disk_usage(studio_place.runs.parent)._replace(free=1000)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    else:

        def flush(path: Path) -> None:
            raise OSError(28, "No space left on device", str(path))

        monkeypatch.setattr("animateanywhere.core.files.flush", flush)
    answer = client.post("/api/clips", params={"name": "a.mp4"}, content=VIDEO)
    assert answer.status_code == 507 and "disk is full" in answer.json()["error"]
    assert {path.name[:16] for path in (studio_place.own / "clips").glob("*")} <= {clips.EXAMPLE}


def test_a_recording_that_does_not_say_how_long_it_is_is_read_to_its_end(
    client: TestClient, tmp_path: Path
) -> None:
    path = tmp_path / "recording.webm"
    with av.open(str(path), "w", format="webm", options={"live": "1"}) as file:
        stream = file.add_stream("libvpx", rate=10, width=64, height=64)
        for number in range(20):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 10 * number, np.uint8))
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    with av.open(str(path)) as file:
        assert file.duration is None and file.streams.video[0].duration is None
    facts = client.post("/api/clips", params={"name": path.name}, content=path.read_bytes()).json()
    assert facts["seconds"] == pytest.approx(2, abs=0.11) and facts["strip"] == 16


def test_names_are_shown_as_one_short_line() -> None:
    assert clean("C:\\Users\\me\\my dance.mov") == "my dance.mov"
    assert clean("a\u202eb\x00c") == "a b c" and clean("/") == "clip"
    assert len(clean("é" * 500)) == clips.LONGEST_NAME


# Prepared clips and their corrections


def test_a_subject_is_shown_and_corrected_in_the_files_of_the_commands(
    client: TestClient, subject: Path
) -> None:
    path = f"/api/subjects/{subject.name}"
    about = client.get(path).json()
    assert (about["count"], about["width"], about["height"]) == (3, 16, 12)
    assert about["filled"] == [[1, 2], [1, 3]] and about["corrected"]["mask"] == []
    assert client.get(f"{path}/frames/2").headers["content-type"] == "image/png"
    assert client.get(f"{path}/frames/3").status_code == 404
    assert client.get(f"{path}/poses.json/0").status_code == 404

    mask = np.zeros((12, 16), np.uint8)
    mask[2:5, 3:7] = 255
    assert save_mask(client, path, 1, mask).json()["corrected"] is True
    pose = about["keypoints"][1]
    pose[2] = [9.5, 3.25, 1]
    assert save_pose(client, path, 1, {"pose": pose}).json()["corrected"] is True
    words = {"frames": [0, 2], "caption": "a  <token> man\nnear a tree"}
    assert save_caption(client, path, words).status_code == 200

    read = read_subject(subject)
    assert (read.masks[1] * 255 == mask).all() and not read.masks[0].any()
    assert read.keypoints[1, 2].tolist() == [9.5, 3.25, 1]
    assert read.captions == ["a <token> man near a tree", "a <token> man"] * 1 + [read.captions[0]]
    found = find_corrections(subject)
    assert {kind: len(values) for kind, values in found.values.items()} == {
        "frame": 0, "mask": 1, "pose": 1, "caption": 2
    }  # fmt: skip
    after = client.get(path).json()
    assert after["filled"] == [[1, 3]]  # what was placed is no longer interpolated
    assert after["corrected"] == {"frame": [], "mask": [1], "pose": [1], "caption": [0, 2]}


def test_what_is_put_back_is_as_it_was_found(client: TestClient, subject: Path) -> None:
    path, files = f"/api/subjects/{subject.name}", ("poses.json", "masks/0001.png")
    poses = read_poses(subject / "poses.json")
    poses.keypoints[1] += np.float32(0.123)  # as they are found: not in whole pixels
    poses.keypoints[1, :, 2] = 0.457
    write_poses(subject / "poses.json", poses)
    write_digests(subject, frame_digests(read_subject(subject)), {kind: [] for kind in KINDS})
    before = [(subject / file).read_bytes() for file in files]
    about = client.get(path).json()
    found, moved = about["keypoints"][1], [[9.5, 3.25, 1], *about["keypoints"][1][1:]]
    for pose, filled, corrected in ((moved, [3], True), (found, [2, 3], False)):
        form = {"pose": pose, "filled": filled}
        assert save_pose(client, path, 1, form).json()["corrected"] is corrected
    for value in (255, 0):
        answer = save_mask(client, path, 1, np.full((12, 16), value, np.uint8))
        assert answer.json()["corrected"] is bool(value)
    assert [(subject / file).read_bytes() for file in files] == before
    assert not any(find_corrections(subject).values.values())
    for wrong in (7, [18], ["a"], [[]]):
        answer = save_pose(client, path, 1, {"pose": found, "filled": wrong})
        assert answer.status_code == 422


@pytest.mark.parametrize(
    ("path", "sent", "words"),
    [
        ("masks/0", {"content": b"no picture"}, "not a PNG"),
        ("masks/0", {"content": png(np.zeros((16, 12), np.uint8))}, "12 x 16"),
        ("masks/9", {"content": png(np.zeros((12, 16), np.uint8))}, "not there"),
        ("poses/0", {"json": {"pose": [[0, 0, 1]] * 17}}, "18 keypoints"),
        ("poses/0", {"json": {"pose": [["a", 0, 1]] * 18}}, "18 keypoints"),
        ("poses/0", {"json": {"pose": [[1e9, 0, 1]] * 18}}, "far outside"),
        ("poses/0", {"content": b'{"pose": [' + b"[NaN,0,1]," * 17 + b"[0,0,1]]}"}, "finite"),
        ("poses/9", {"json": {"pose": [[0, 0, 1]] * 18}}, "not there"),
        ("captions", {"json": {"frames": [0], "caption": "a man"}}, "<token>"),
        ("captions", {"json": {"frames": [-1], "caption": "a <token> man"}}, "not there"),
        ("captions", {"json": {"frames": "all", "caption": "a <token> man"}}, "numbers"),
        ("captions", {"content": rb'{"frames": [0], "caption": "<token> \ud800"}'}, "not a form"),
        ("masks/0", {"content": b"GIF89a"}, "not a PNG file of a mask"),
    ],
)
def test_wrong_corrections_change_nothing(
    client: TestClient, subject: Path, path: str, sent: dict[str, Any], words: str
) -> None:
    before = {file: file.read_bytes() for file in subject.rglob("*") if file.is_file()}
    address = f"/api/subjects/{subject.name}"
    versions = client.get(address).json()["versions"]
    if isinstance(form := sent.get("json"), dict):  # as a page sends it
        form |= {"version": versions["pose"][0], "versions": versions["caption"][:1]}
    elif path != "captions":
        sent |= {"headers": {"if-match": client.get(f"{address}/masks/0").headers["etag"]}}
        version = b'{"version": "%s", ' % versions["pose"][0].encode()
        sent["content"] = sent["content"].replace(b"{", version, 1)
    answer = client.put(f"{address}/{path}", **sent)
    assert answer.status_code in (404, 422) and words in answer.json()["error"]
    kept = {file: file.read_bytes() for file in subject.rglob("*") if file.is_file()}
    assert {file: kept.get(file) for file in before} == before


def test_numbers_of_any_length_and_halves_of_letters_are_one_line(client: TestClient) -> None:
    for path in (f"/api/subjects/{'ab' * 8}/frames/", "/api/jobs/x/pictures/"):
        assert client.get(path + "1" * 5000).status_code == 404
    sent = rb'{"job": "generate", "prompt": "a man", "motion": "bundled-walk", "more": "\ud800"}'
    answer = client.post("/api/jobs", content=sent)
    assert answer.status_code == 422 and answer.json() == {"error": "not a form"}
    large = client.post("/api/jobs", content=b"x" * (2**20 + 1))
    assert large.status_code == 413 and large.json() == {"error": "too large: at most 1 MB"}


def test_what_a_job_works_with_is_not_deleted(client: Any, studio_place: Place) -> None:
    clip = client.post("/api/clips", params={"name": "a.mp4"}, content=VIDEO).json()["id"]
    job = Job("check", "Look at a.mp4", ["check", "--", str(clips.file_of(studio_place, clip))], {})
    client.app.state.queue.jobs[job.id] = job  # not begun: its record is not on the disk
    client.app.state.queue.closed = True
    answer = client.delete(f"/api/clips/{clip}")
    assert answer.status_code == 409 and "Look at a.mp4" in answer.json()["error"]
    assert clips.file_of(studio_place, clip).is_file()
    assert client.get(f"/api/jobs/{job.id}/pictures/0").status_code == 404
    job.state = "stopped"
    found = [studio_place.file("motions", clip, ".json"), studio_place.file("subjects", clip)]
    found[0].parent.mkdir()
    found[0].write_text("{}")
    found += [studio_place.own / "looks" / f"{'0' * 16}-{clip}"]
    found += [studio_place.runs / "check" / "scene" / clip]
    for folder in found[1:]:
        folder.mkdir(parents=True)
    found += [studio_place.own / "subjects" / f"{clip}-people.png"]
    found[-1].write_bytes(b"")
    assert client.delete(f"/api/clips/{clip}").status_code == 204
    assert not any(map(Path.exists, found))


def test_what_a_waiting_job_uses_is_not_deleted_and_what_is_named_alike_is(
    client: Any, studio_place: Place
) -> None:
    person, alike, video = (studio_place.runs / name for name in ("anna-2", "anna", "anna-2/x.mp4"))
    for folder in (person, alike):
        with owned(folder, "personalize"):
            (folder / "run.json").write_text("{}")
    shutil.copyfile(EXAMPLES / "driving.mp4", video)
    write_sidecar(video, {"prompt": "a man", "pose": {}, "fit": "none"})
    ids = {one["name"]: one["id"] for one in client.get("/api/history").json()["items"]}
    job = Job("generate", "a man", ["generate", f"--weights={person}/personal.safetensors"], {})
    client.app.state.queue.jobs[job.id] = job
    client.app.state.queue.closed = True
    answer = client.delete(f"/api/history/{ids['anna-2']}")
    assert answer.status_code == 409 and answer.json()["error"].startswith("a man: works with it")
    assert (person / "run.json").is_file()
    assert client.delete(f"/api/history/{ids['anna']}").status_code == 200
    assert client.delete(f"/api/history/{ids['anna-2/x.mp4']}").status_code == 200


def test_tabs_that_correct_at_the_same_time_wait_for_each_other(
    client: TestClient, subject: Path
) -> None:
    path = f"/api/subjects/{subject.name}"
    about = client.get(path).json()
    pose, versions = about["keypoints"][0], about["versions"]["pose"]

    def correct(number: int) -> int:
        sent = {"pose": [[number, number, 1], *pose[1:]], "version": versions[number % 3]}
        return client.put(f"{path}/poses/{number % 3}", json=sent).status_code

    with ThreadPoolExecutor(6) as pool:  # one of the tabs for each frame, which was the first
        assert sorted(pool.map(correct, range(12))) == [200] * 3 + [409] * 9
    found = client.get(path).json()["keypoints"]
    assert [found[frame][0][0] % 3 for frame in range(3)] == [0, 1, 2]


def test_nothing_is_saved_over_what_another_tab_has_saved_meanwhile(
    client: TestClient, subject: Path
) -> None:
    path = f"/api/subjects/{subject.name}"
    about, mask = client.get(path).json(), client.get(f"{path}/masks/1").headers["etag"]
    poses, captions = about["versions"]["pose"], about["versions"]["caption"]
    white = {"content": png(np.full((12, 16), 255, np.uint8)), "headers": {"if-match": mask}}
    moved = [[9.5, 3.2501, 1], *about["keypoints"][1][1:]]
    words = {"frames": [0, 1], "versions": captions[:2], "caption": "a <token> man near a tree"}
    sent: dict[str, dict[str, Any]] = {
        "masks/1": white,
        "poses/1": {"json": {"pose": moved, "version": poses[1]}},
        "captions": {"json": words},
    }
    new = {}
    for name, one in sent.items():
        answer = client.put(f"{path}/{name}", **one)
        assert answer.status_code == 200
        new[name] = answer.json()["version"]
    kept = {file: file.read_bytes() for file in subject.rglob("*") if file.is_file()}
    for name, one in sent.items():  # another tab, which has loaded what was before
        answer = client.put(f"{path}/{name}", **one)
        assert answer.status_code == 409 and answer.json()["newer"] is True, name
        assert "load the newer one" in answer.json()["error"]
    one_of_two = {"frames": [2, 1], "versions": captions[1:], "caption": "a <token> woman"}
    assert client.put(f"{path}/captions", json=one_of_two).status_code == 409
    assert kept == {file: file.read_bytes() for file in subject.rglob("*") if file.is_file()}

    # The tab that saved goes on, and so does the other one with what is there now
    about = client.get(path).json()
    assert about["versions"]["pose"] == [poses[0], new["poses/1"], poses[2]]
    assert about["versions"]["caption"] == [new["captions"]] * 2 + [captions[2]]
    assert client.get(f"{path}/masks/1").headers["etag"] == f'"{new["masks/1"]}"'
    white["headers"]["if-match"] = f'"{new["masks/1"]}"'
    sent["poses/1"]["json"]["version"] = new["poses/1"]
    words["versions"] = [new["captions"]] * 2
    for name, one in sent.items():
        assert client.put(f"{path}/{name}", **one).status_code == 200, name
    # What tells of nothing that was loaded is refused as well
    for name in ("masks/1", "poses/1"):
        bare = {"content": white["content"]} if name == "masks/1" else {"json": {"pose": moved}}
        assert client.put(f"{path}/{name}", **bare).status_code == 409
    assert client.put(f"{path}/captions", json=words | {"versions": None}).status_code == 422


def test_nobody_corrects_what_a_command_works_in(client: TestClient, subject: Path) -> None:
    with owned(subject, "prepare", subjects.is_subject):
        answer = client.put(f"/api/subjects/{subject.name}/masks/0",
                            content=png(np.zeros((12, 16), np.uint8)))  # fmt: skip
    assert answer.status_code == 409 and "in use" in answer.json()["error"]


def test_what_was_found_is_dropped_with_its_corrections(client: Any, subject: Path) -> None:
    assert client.delete(f"/api/subjects/{subject.name}").status_code == 204
    assert not subject.exists()
    assert client.get(f"/api/subjects/{subject.name}").status_code == 404


def test_a_person_whose_learning_was_stopped_has_its_settings(
    client: Any, studio_place: Place, subject: Path
) -> None:
    run = studio_place.runs / "anna"
    record = {"token": "anna", "class_word": "woman", "base": "mini", "seed": "3"}
    with owned(run, "personalize"):
        shutil.copytree(subject, run / "subject")
        (run / "run.json").write_text(json.dumps(record))
    (item,) = (one for one in client.get("/api/history").json()["items"] if one["name"] == "anna")
    assert item["state"] == "stopped" and item["person"] is None
    assert item["learning"] == record | {"clip": "", "filmed": "in a room"}


def test_a_person_of_any_run_is_corrected_and_learned_again(
    client: Any, studio_place: Place, subject: Path
) -> None:
    run = studio_place.runs / "anna"
    with owned(run, "personalize"):
        shutil.copytree(subject, run / "subject")
        about = dict.fromkeys(METADATA, "x") | {"token": "anna", "base": "mini"}
        save_personal(run / "personal.safetensors", {"unet.x": torch.ones(3)}, about)
    item = next(one for one in client.get("/api/history").json()["items"] if one["name"] == "anna")
    assert item["person"]["again"] is True
    path = f"/api/subjects/{item['id']}"
    pose = client.get(path).json()["keypoints"][1]
    pose[0] = [2, 3, 1]
    assert save_pose(client, path, 1, {"pose": pose}).status_code == 200
    assert read_subject(run / "subject").keypoints[1, 0].tolist() == [2, 3, 1]
    with owned(run, "personalize", lambda _: True):
        answer = save_pose(client, path, 1, {"pose": pose})
    assert answer.status_code == 409 and "in use" in answer.json()["error"]
    client.app.state.queue.closed = True
    form = {"job": "learn", "subject": item["id"], "token": "anna2", "seed": 7}
    job = client.app.state.queue.find(client.post("/api/jobs", json=form).json()["id"])
    assert job.arguments == ["personalize", "--token=anna2", "--base=mini", "--seed=7", "--",
                             str(run / "subject")]  # fmt: skip
    shutil.rmtree(run / "subject")
    assert client.get(path).status_code == 404


# Orders


def test_orders_are_command_lines_in_which_no_word_becomes_an_option(studio_place: Place) -> None:
    form = {"prompt": "--out=/etc/passwd", "motion": "bundled-walk", "seed": 3, "negative": "-x"}
    job = orders.order(studio_place, "generate", form)
    at = job.arguments.index("--")
    assert job.arguments[at + 1 :] == ["--out=/etc/passwd"]
    assert "--negative=-x" in job.arguments[:at] and "--seed=3" in job.arguments[:at]
    assert job.title == "--out=/etc/passwd" and job.about == form


@pytest.mark.parametrize(
    ("kind", "form", "words"),
    [
        ("rm", {}, "not a job"),
        ("generate", {"prompt": " ", "motion": "bundled-walk"}, "no words"),
        ("generate", {"prompt": "a man", "motion": "bundled-walk", "seed": -1}, "seed"),
        ("generate", {"prompt": "a man", "motion": "bundled-walk", "seed": "1; rm"}, "seed"),
        ("generate", {"prompt": "a man", "motion": "bundled-walk", "steps": True}, "steps"),
        ("generate", {"prompt": "a man", "motion": "bundled-walk", "aspect": "x"}, "--aspect"),
        ("generate", {"prompt": "a man", "motion": "bundled-walk", "fit": "x"}, "fit"),
        ("generate", {"prompt": "a man", "motion": "bundled-walk", "base": "../x"}, "not ready"),
        ("generate", {"prompt": ["a"], "motion": "bundled-walk"}, "text"),
        ("generate", {"prompt": "x" * 3000, "motion": "bundled-walk"}, "at most"),
        ("generate", {"prompt": "a", "motion": "bundled-walk", "seed": 10**400}, "from 0"),
        ("generate", {"prompt": "a", "motion": "bundled-walk", "guidance": float("nan")}, "from 0"),
        ("learn", {"subject": "ab" * 8, "token": "../x"}, "token"),
        ("learn", {"subject": "ab" * 8, "token": "studio"}, "common word"),
    ],
)
def test_wrong_orders_are_refused_before_they_are_queued(
    studio_place: Place, subject: Path, kind: str, form: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        orders.order(studio_place, kind, form)


@pytest.mark.parametrize("name", ["", "../../x", "bundled-../../x", "ff" * 8, "/etc/passwd"])
def test_ids_of_nothing_are_unknown(studio_place: Place, name: str) -> None:
    forms = {
        "generate": {"prompt": "a man", "motion": name}, "check": {"clip": name},
        "learn": {"subject": name, "token": "sks"}, "motion": {"clip": name},
    }  # fmt: skip
    for kind, form in forms.items():
        with pytest.raises(Unknown):
            orders.order(studio_place, kind, form)


def test_the_bundled_motions_can_be_drawn(studio_place: Place) -> None:
    found = {one["id"]: one for one in motions.motions(studio_place)}
    assert {"bundled-walk", "bundled-dance", "bundled-driving"} <= found.keys()
    for name in found:
        points = np.array(motions.keypoints(studio_place, name)["keypoints"])
        assert points.shape[1:] == (18, 3) and np.ptp(points[..., :2], axis=0).max() > 5


def test_it_is_asked_once_whether_the_person_agreed(
    studio_place: Place, subject: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    monkeypatch.delenv("AA_CONSENT")
    (studio_place.runs / "bases").mkdir()
    form = {"subject": "ab" * 8, "token": "sks"}
    for said in ({}, {"agreed": False}, {"agreed": "yes"}):
        with pytest.raises(UsageError, match="ask the people shown"):
            orders.order(studio_place, "learn", {**form, **said})
    assert orders.order(studio_place, "learn", {**form, "agreed": True}).kind == "learn"
    assert orders.order(studio_place, "learn", form).kind == "learn"
    monkeypatch.setenv("AA_CONSENT", "no")
    with pytest.raises(UsageError, match="ask the people shown"):
        orders.order(studio_place, "learn", {**form, "agreed": True})


# The history


@pytest.fixture
def video(studio_place: Place) -> Path:
    """A video as `aa generate` of the command line writes it."""
    folder = studio_place.runs / "sks"
    mark(folder, "generate")
    path = folder / "sks-man-on-a-beach-0.mp4"
    shutil.copyfile(EXAMPLES / "driving.mp4", path)
    write_sidecar(path, {
        "prompt": "sks man on a beach", "pose": {"file": "walk.poses.json"}, "fit": "bones",
        "seed": 7, "frames": 32, "fps": 8.0, "size": [128, 128], "base": {"name": "mini"},
        "output": {"format": ".mp4", "fps": 8.0},
    })  # fmt: skip
    return path


def test_what_the_command_line_made_is_shown_downloaded_deleted_and_brought_back(
    client: TestClient, studio_place: Place, video: Path
) -> None:
    item = next(one for one in client.get("/api/history").json()["items"] if "settings" in one)
    assert item["settings"]["prompt"] == "sks man on a beach" and item["settings"]["seed"] == 7
    assert item["motion_id"] == "bundled-walk" and item["shown"] == "video"
    assert client.get(f"/api/files/{item['id']}").content == video.read_bytes()
    some = client.get(f"/api/files/{item['id']}", headers={"range": "bytes=0-3"})
    assert some.status_code == 206 and some.content == VIDEO[:4]
    gif = client.get(f"/api/results/{item['id']}/gif")
    assert (
        gif.content[:4] == b"GIF8"
        and "sks-man-on-a-beach-0.gif" in gif.headers["content-disposition"]
    )
    sheet = client.get(f"/api/results/{item['id']}/sheet")
    for made in (gif, sheet):
        assert GENERATED.term.encode() in made.content
    assert client.get(f"/api/results/{item['id']}/settings").json()["seed"] == 7
    assert client.get(f"/api/results/{item['id']}/exe").status_code == 404

    before = video.read_bytes()
    gone = client.delete(f"/api/history/{item['id']}").json()["id"]
    assert not video.exists() and not video.with_suffix(".json").exists()
    assert client.get(f"/api/files/{item['id']}").status_code == 404
    shown = client.get("/api/history").json()
    assert [one["name"] for one in shown["deleted"]] == ["sks/sks-man-on-a-beach-0.mp4"]
    video.write_bytes(b"another")
    assert client.post(f"/api/deleted/{gone}").status_code == 422
    assert video.read_bytes() == b"another"
    video.unlink()
    assert client.post(f"/api/deleted/{gone}").status_code == 204
    assert video.read_bytes() == before and video.with_suffix(".json").exists()
    assert client.get("/api/history").json()["deleted"] == []

    gone = client.delete(f"/api/history/{item['id']}").json()["id"]
    assert client.delete(f"/api/deleted/{gone}").status_code == 204
    assert client.post(f"/api/deleted/{gone}").status_code == 404


@pytest.mark.parametrize("made", [GENERATED, GENERATED.composite()])
@pytest.mark.parametrize("name", ["a.gif", "a.png"])
def test_what_is_exported_says_of_its_origin_what_the_video_says(
    video: Path, tmp_path: Path, name: str, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    output.write(video, iter(np.zeros((4, 32, 32, 3), np.uint8)), 4, 8.0, made=made)
    monkeypatch.setattr(sys, "argv", ["exports", str(video), str(tmp_path / name)])
    assert exports.main() == 0
    assert read(tmp_path / name).source == made.source  # type: ignore[union-attr]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_video_and_then_its_run_come_back_in_any_order(
    client: TestClient, studio_place: Place, video: Path, order: tuple[int, int]
) -> None:
    run = video.parent
    set_mark(run, "personalize")
    (run / "subject").mkdir()
    (run / "subject" / "subject.toml").write_text("x")
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    ids = {one["name"]: one["id"] for one in client.get("/api/history").json()["items"]}
    names = (f"sks/{video.name}", "sks")
    gone = [client.delete(f"/api/history/{ids[name]}").json()["id"] for name in names]
    assert not run.exists()
    for number in order:
        assert client.post(f"/api/deleted/{gone[number]}").status_code == 204
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == before
    assert client.get("/api/history").json()["deleted"] == []


def test_what_was_measured_is_shown_as_the_commands_wrote_it(
    client: TestClient, studio_place: Place
) -> None:
    rows = {"00": {"pck": 0.5, "leak": 0.1}, "01": {"pck": 0.9, "leak": 0.1}}
    bench, person = studio_place.runs / "bench", studio_place.runs / "anna"
    with owned(bench, "benchmark"):
        for name, scores in rows.items():
            file = bench / "easy" / "ours" / name / "scores.json"
            file.parent.mkdir(parents=True)
            file.write_text(json.dumps({"key": {"base": "b"}, "scores": scores}))
        report.write_report(bench, "easy", {"ours": "ours"}, "b")
    with owned(person, "personalize"):
        (person / "training" / "motion").mkdir(parents=True)
        log = [{"step": step, "loss": 1 / step} for step in (1, 2, 4)]
        lines = "".join(json.dumps(row) + "\n" for row in log)
        (person / "training" / "motion" / "log.jsonl").write_text(lines)
    items = {one["name"]: one for one in client.get("/api/history").json()["items"]}
    found = client.get(f"/api/runs/{items['bench']['id']}/measured").json()
    (one,) = found["reports"]
    table = one["tables"][0]
    assert one["name"] == "easy" and one["sheet"] is None
    assert table["head"] == ["", report.COLUMNS["pck"], report.COLUMNS["leak"], "people"]
    assert table["rows"] == [["ours", "0.70 (0.50–0.90)", "0.10", "2"]]
    assert table["intervals"] == [[None, [0.7, 0.5, 0.9], [0.1, 0.1, 0.1], [2, 2, 2]]]
    (stage,) = client.get(f"/api/runs/{items['anna']['id']}/measured").json()["stages"]
    loss = make_curve("loss", [(row["step"], row["loss"]) for row in log])
    assert stage["main"] == [{**loss._asdict(), "points": []}]
    (bench / "table-easy.md").write_bytes(b"| a \xff\n|---|\n| 1 | 2 | 3\n\n- n")
    (one,) = client.get(f"/api/runs/{items['bench']['id']}/measured").json()["reports"]
    assert one["tables"][0]["rows"] == [["1"]] and one["notes"] == ["n"]
    assert client.get(f"/api/runs/{new_id()}/measured").status_code == 404


def test_what_was_swapped_is_shown_too(client: TestClient, studio_place: Place) -> None:
    folder = studio_place.runs / "street"
    mark(folder, "swap")
    shutil.copyfile(EXAMPLES / "driving.mp4", folder / "hero.mp4")
    write_sidecar(folder / "hero.mp4", {
        "command": "swap", "scene": {"file": "street.mp4"}, "base": {"name": "mini-swap"},
        "format": ".mp4", "fps": 8.0, "seed": 3, "size": [128, 128], "pose": ["damaged"],
    })  # fmt: skip
    items = client.get("/api/history").json()["items"]
    item = next(one for one in items if one["name"] == "street/hero.mp4")
    assert (item["kind"], item["shown"], item["fps"]) == ("swap", "video", 8.0)
    assert item["settings"]["scene"] == "street.mp4" and item["settings"]["seed"] == 3


def test_numbers_and_letters_that_json_does_not_have_hide_nothing(
    client: TestClient, video: Path
) -> None:
    about = video.with_suffix(".json")
    text = about.read_text()
    assert '"seed": 7' in text and "on a beach" in text
    about.write_text(text.replace('"seed": 7', '"steps": NaN').replace("beach", r"\ud800"))
    items = client.get("/api/history").json()["items"]
    (settings,) = (one["settings"] for one in items if "settings" in one)
    assert settings["steps"] is None and settings["prompt"] == "sks man on a \ud800"


def test_a_run_in_which_a_command_works_is_not_deleted(
    client: TestClient, studio_place: Place
) -> None:
    folder = studio_place.runs / "abc"
    with owned(folder, "personalize"):
        (folder / "run.json").write_text("{}")
        found = client.get("/api/history").json()["items"]
        item = next(one for one in found if one["name"] == "abc")
        answer = client.delete(f"/api/history/{item['id']}")
        assert answer.status_code == 409 and "stop that first" in answer.json()["error"]
    assert (folder / "run.json").is_file()
    assert client.delete(f"/api/history/{item['id']}").status_code == 200
    assert not folder.exists()


def test_a_record_of_something_deleted_leads_nowhere_else(
    client: TestClient, studio_place: Place
) -> None:
    ident = new_id()
    folder = studio_place.file("deleted", ident)
    folder.mkdir(parents=True)
    (folder / "0").write_text("x")
    table = {"name": "n", "kind": "k", "at": 0, "files": ["../outside.mp4"]}
    (folder / "deleted.json").write_text(json.dumps(table))
    assert client.post(f"/api/deleted/{ident}").status_code == 404
    assert not (studio_place.runs.parent / "outside.mp4").exists() and os.listdir(folder)


def test_the_machine_is_checked_with_the_disk_of_the_studios_runs(
    client: TestClient, studio_place: Place
) -> None:
    checks = client.get("/api/doctor").json()["checks"]
    assert any(f"{studio_place.runs}," in check["text"] for check in checks)
