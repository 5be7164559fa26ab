"""What is damaged, nested, doubled or a link does no harm beyond itself."""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from animateanywhere.studio import history
from animateanywhere.studio.job import Job, process_of, read_job
from animateanywhere.studio.jobs import Queue
from animateanywhere.studio.place import Place, Unknown
from animateanywhere.studio.progress import Progress, follow

ID = "1" * 16


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    queue = Queue(tmp_path / "runs" / "studio" / "jobs", tmp_path / "runs")
    yield queue
    if queue.child is not None and queue.child.poll() is None:
        queue.child.kill()


@pytest.fixture
def result(studio_place: Place) -> Path:
    """A video with its settings, as `aa swap` leaves them, under a name that is no text."""
    name = os.fsdecode(b"\xff.mp4") if sys.platform == "linux" else "a.mp4"
    path = studio_place.runs / name
    studio_place.runs.mkdir(exist_ok=True)
    path.write_bytes(b"video")
    settings = {"command": "swap", "format": ".mp4", "prompt": "a man"}
    path.with_suffix(".json").write_text(json.dumps(settings))
    return path


def nested(depth: int) -> Any:
    return json.loads("[" * depth + "]" * depth)


# Jobs


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("id", 5), ("title", None), ("arguments", [1]), ("about", []),
        ("about", {"a": nested(500)}), ("queued", "now"), ("ended", [1]),
        ("process", "1"), ("process", -1), ("process", 2**40),
        ("process", []), ("code", "1"), ("text", {}), ("result", 5), ("state", ["done"]),
    ],
)  # fmt: skip
def test_a_record_of_a_job_with_other_values_is_passed_over(
    queue: Queue, key: str, value: Any
) -> None:
    job = queue.add(Job("check", "List", ["runs", "--json"], {}))
    path = queue.folder / job.id / "job.json"
    assert read_job(path) == job
    path.write_text(json.dumps(json.loads(path.read_text()) | {"state": "running", key: value}))
    after = Queue(queue.folder, queue.runs)
    after.load()
    assert after.jobs == {}


def test_a_command_line_that_none_can_be_fails_and_the_next_job_begins(queue: Queue) -> None:
    bad, good = (queue.add(Job("check", "List", ["runs", one], {})) for one in ("\0", "--json"))
    queue.step()
    queue.step()
    assert bad.state == "failed" and bad.text.startswith("could not start")
    assert good.state == "running"


def test_events_with_other_values_are_read(tmp_path: Path) -> None:
    file, progress = tmp_path / "events.jsonl", Progress()
    values: tuple[Any, ...] = (None, "x", [], {}, float("inf"), float("nan"), True)
    lines = [json.dumps({"kind": "progress", "stage": v, "step": v, "total": v, "eta": v})
             for v in values]  # fmt: skip
    lines += [json.dumps({"kind": "exit", "code": value}) for value in values]
    lines.append(json.dumps({"kind": "progress", "stage": "s", "step": 1, "total": 2}))
    file.write_text("\n".join(lines) + "\n")
    assert follow(progress, file)
    assert (progress.step, progress.total, progress.code) == (1, 2, None)


@pytest.mark.skipif(sys.platform != "linux", reason="how Linux tells when a process began")
def test_a_job_is_known_after_the_clock_was_set(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = queue.add(Job("check", "Wait", ["studio", "--no-browser", "--port=0"], {}))
    queue.step()
    from psutil import _pslinux

    booted = _pslinux.boot_time()
    monkeypatch.setattr(_pslinux, "boot_time", lambda: booted - 3600)
    queue.step()
    assert job.state == "running" and process_of(job) is not None
    job.process = os.getpid()  # its number is another's
    assert process_of(job) is None
    assert queue.child is not None
    queue.child.kill()


def test_all_that_a_job_wrote_is_read_before_it_is_judged(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("animateanywhere.studio.progress.ONCE", 64)
    job = queue.add(Job("check", "List", ["runs", "--json"], {}))
    job.state, job.process = "running", 2**22 - 1  # it ended while no studio was there
    queue._write(job)
    message = json.dumps({"kind": "message", "level": "info", "text": "word"}) + "\n"
    events = message * 50 + '{"kind": "exit", "code": 0}\n'
    (queue.folder / job.id / "events.jsonl").write_text(events)
    after = Queue(queue.folder, queue.runs)
    after.load()
    assert after.find(job.id).state == "done"


def test_a_record_that_cannot_be_written_holds_up_no_job(queue: Queue) -> None:
    job = queue.add(Job("check", "List", ["runs", "--json"], {}))
    record = queue.folder / job.id / "job.json"
    record.unlink()
    record.mkdir()  # a folder, of which no file can be made
    end = time.monotonic() + 60
    while job.state in ("queued", "running") and time.monotonic() < end:
        queue.step()
        time.sleep(0.05)
    assert job.state == "done"


# Requests


def test_deeply_nested_forms_are_refused_and_stop_no_stream(client: Any) -> None:
    for depth in (20, 200, 400, 800):
        form = f'{{"job": "motion", "clip": "{ID}", "x": {"[" * depth + "]" * depth}}}'
        answer = client.post("/api/jobs", content=form)
        assert (answer.status_code, answer.json()) == (422, {"error": "not a form"})
    assert client.app.state.queue.jobs == {}


def test_damaged_facts_of_an_upload_hide_no_other(client: TestClient, studio_place: Place) -> None:
    whole: dict[str, Any] = {"name": "a", "file": f"{ID}.png", "kind": "picture", "seconds": 0.0}
    folder = studio_place.own / "clips"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{ID}.json").write_text(json.dumps(whole | {"id": "../../x"}))
    wrong: list[dict[str, Any]] = [
        {"name": None}, {"name": 5}, {"file": "x" * 300}, {"file": ".."}, {"kind": []},
        {"seconds": "1"}, {"fps": None}, {"width": float("inf")}, {"bundled": True},
    ]  # fmt: skip
    for number, one in enumerate(wrong):
        name = f"{number:016}"
        facts = whole | {"file": f"{name}.png"} | one
        (folder / f"{name}.json").write_text(json.dumps(facts))
    assert [one["id"] for one in client.get("/api/clips").json()] == [ID]
    for address in ("motions", "history"):
        assert client.get(f"/api/{address}").status_code == 200


def test_no_link_in_a_folder_of_the_studio_leads_out(
    client: TestClient, studio_place: Place, result: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (tmp_path / "secret.json").write_text(result.with_suffix(".json").read_text())
    clips = studio_place.own / "clips"
    clips.mkdir(parents=True, exist_ok=True)
    (clips / f"{ID}.jpg").symlink_to(tmp_path / "secret.jpg")
    (clips / f"{'2' * 16}.jpg").symlink_to(clips / f"{'2' * 16}.jpg")  # to itself
    for name in (ID, "2" * 16):
        assert client.get(f"/api/clips/{name}/strip").status_code == 404
    name = client.get("/api/history").json()["items"][0]["id"]
    assert client.get(f"/api/results/{name}/settings").status_code == 200
    result.with_suffix(".json").unlink()
    result.with_suffix(".json").symlink_to(tmp_path / "secret.json")
    assert client.get(f"/api/results/{name}/settings").status_code == 404


def test_a_login_that_breaks_off_is_no_error(start: Any) -> None:
    process, address = start("--password=right")
    host, port = address.split("//")[1].strip("/").split(":")
    head = f"POST /login HTTP/1.1\r\nHost: {host}:{port}\r\nOrigin: http://{host}:{port}\r\n"
    with socket.create_connection((host, int(port))) as opened:
        opened.sendall(f"GET /static/style.css HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        assert opened.recv(8) == b"HTTP/1.1"  # it serves
    with socket.create_connection((host, int(port))) as opened:
        opened.sendall(f"{head}Content-Length: 100\r\n\r\npassword=".encode())
        time.sleep(0.3)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert "Traceback" not in process.communicate(timeout=60)[1]


# Another start


def test_a_page_goes_on_with_what_it_shows(
    studio_place: Place, result: Path, request: pytest.FixtureRequest
) -> None:
    before = Place(studio_place.runs)  # of the studio whose pages are still open
    part = studio_place.runs / "swap" / ID / "frames-0000"
    part.mkdir(parents=True)
    (part.parent / "scene.json").write_text("{}")
    (part / "subject.toml").write_text("first = 0")
    job = Job("check-swap", "Look", ["check", "--", "x"], {}, state="done")
    job.result = json.dumps({"files": {"scene": str(part.parent)}})
    Queue(studio_place.own / "jobs", studio_place.runs).add(job)
    client = request.getfixturevalue("client")
    assert client.app.state.place.path_of(before.id_of(part)) == part
    assert client.delete(f"/api/history/{before.id_of(result)}").status_code == 200


def test_what_is_left_of_an_upload_goes_and_nothing_else(
    studio_place: Place, request: pytest.FixtureRequest
) -> None:
    folder = studio_place.own / "clips"
    folder.mkdir(parents=True)
    kept = [f"{'2' * 16}.json", f"{'2' * 16}.poses.json", "mine.mp4"]
    # Read when the studio was killed, and renamed
    for name in [
        *kept,
        f"{ID}.upload",
        f"{'3' * 16}.mp4",
        f"{'3' * 16}.jpg",
        f"{'4' * 16}.poses.json",
    ]:
        (folder / name).write_text("{}")
    request.getfixturevalue("client")
    assert sorted(path.name for path in folder.iterdir()) == kept


# History


def test_two_clicks_on_delete_move_it_once(
    client: TestClient, studio_place: Place, result: Path
) -> None:
    name = client.get("/api/history").json()["items"][0]["id"]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.delete(f"/api/history/{name}"), range(8)))
    assert sorted(one.status_code for one in answers) == [200] + [404] * 7
    (deleted,) = client.get("/api/history").json()["deleted"]
    with ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(lambda _: client.post(f"/api/deleted/{deleted['id']}"), range(4)))
    assert sorted(one.status_code for one in codes) == [204, 404, 404, 404]
    assert result.read_bytes() == b"video" and result.with_suffix(".json").is_file()


def test_what_cannot_be_moved_stays_whole(
    client: TestClient, studio_place: Place, result: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.get("/api/history")
    move = os.replace

    def second_fails(source: Any, target: Any) -> None:
        if Path(target).name == "1":
            raise OSError(18, "Invalid cross-device link")
        move(source, target)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="cross-device"):
        patch.setattr("os.replace", second_fails)
        history.delete(studio_place, studio_place.id_of(result))
    assert result.is_file() and result.with_suffix(".json").is_file()
    assert list((studio_place.own / "deleted").iterdir()) == []


def test_what_cannot_be_deleted_on_a_full_disk_leaves_nothing(
    client: TestClient, studio_place: Place, result: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("animateanywhere.core.files.flush", full)
    answer = client.delete(f"/api/history/{studio_place.id_of(result)}")
    assert answer.status_code == 507 and result.is_file()
    assert list((studio_place.own / "deleted").iterdir()) == []


@pytest.mark.parametrize(
    "text",
    ["{}", "[", '{"files": ["../x"], "name": "a", "kind": "swap", "at": 1}',
     '{"files": ["a\\u0000"], "name": "a", "kind": "swap", "at": 1}',
     '{"files": ["a"], "name": "a", "kind": "swap", "at": "x"}'],
)  # fmt: skip
def test_a_damaged_record_of_something_deleted_hides_nothing(
    client: TestClient, studio_place: Place, result: Path, text: str
) -> None:
    folder = studio_place.own / "deleted" / ID
    folder.mkdir(parents=True)
    (folder / "deleted.json").write_text(text)
    found = client.get("/api/history").json()
    assert len(found["items"]) == 1 and found["deleted"] == []
    assert client.post(f"/api/deleted/{ID}").status_code == 404


def test_nested_settings_and_names_that_are_no_text_are_shown(
    client: TestClient, result: Path
) -> None:
    sidecar = result.with_suffix(".json")
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"prompt": nested(600)}))
    (one,) = client.get("/api/history").json()["items"]
    assert "prompt" not in one["settings"]
    assert client.get(f"/api/results/{one['id']}/video").content == b"video"
    deleted = client.delete(f"/api/history/{one['id']}").json()["id"]
    result.write_bytes(b"another")
    answer = client.post(f"/api/deleted/{deleted}")
    assert answer.status_code == 422 and "is there again" in answer.json()["error"]


def test_a_base_and_a_scene_that_a_waiting_job_needs_stay(client: Any, studio_place: Place) -> None:
    queue: Queue = client.app.state.queue
    queue.closed = True
    base, scene = studio_place.runs / "bases" / "own", studio_place.runs / "swap" / f"{ID}-1"
    for folder in (base, scene):
        folder.mkdir(parents=True)
        (folder / ".animateanywhere").write_text('{"command": "swap"}')
    clip = studio_place.own / "clips" / f"{ID}.mp4"
    names = [studio_place.id_of(folder) for folder in (base, scene)]
    job = queue.add(Job("swap", "Swap", ["swap", "--base=own", f"--scene={clip}"], {}))
    for name in names:
        answer = client.delete(f"/api/history/{name}")
        assert answer.status_code == 409 and "stop that first" in answer.json()["error"]
    queue.stop(job)
    assert [client.delete(f"/api/history/{name}").status_code for name in names] == [200, 200]
    with pytest.raises(Unknown):
        history.names_of(studio_place, names[0])
