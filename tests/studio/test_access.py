"""Who may use the studio, and what they may read."""

import asyncio
import http.client
import itertools
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from starlette.testclient import TestClient

from animateanywhere.core.errors import UsageError
from animateanywhere.core.run_folder import mark
from animateanywhere.studio import access
from animateanywhere.studio.access import Keys, hosts_of, is_local
from animateanywhere.studio.app import create_app
from animateanywhere.studio.attempts import Attempts
from animateanywhere.studio.place import Place, new_id
from animateanywhere.studio.server import StudioOptions, serve


def test_without_the_token_nothing_is_seen(stranger: Any) -> None:
    assert stranger.get("/").status_code == 403
    assert stranger.get("/", params={"token": "wrong"}).status_code == 403
    assert stranger.get("/", params={"token": "wröng"}).status_code == 403
    for path in ("/api/history", "/api/events", "/api/about", "/nothing"):
        assert stranger.get(path).status_code == 403
    assert stranger.get("/api/about", cookies={"aa-studio-8720": "guess"}).status_code == 403


def test_the_token_is_taken_off_the_address_for_a_cookie_that_no_other_site_gets(
    stranger: Any,
) -> None:
    answer = stranger.get("/", params={"token": stranger.app_keys.token})
    assert answer.status_code == 303 and answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    assert stranger.app_keys.token.lower() not in cookie
    assert stranger.get("/").status_code == 200
    assert stranger.get("/api/about").status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "", "localhost.evil:80"]
)
def test_other_names_for_this_machine_are_refused(client: TestClient, host: str) -> None:
    assert client.get("/api/about").status_code == 200
    assert client.get("/api/about", headers={"host": host}).status_code == 400


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "http://[", None]
)
def test_pages_of_other_sites_cannot_order_anything(client: TestClient, origin: str | None) -> None:
    del client.headers["origin"]
    headers = {} if origin is None else {"origin": origin}
    answer = client.post("/api/jobs", json={"job": "generate"}, headers=headers)
    assert answer.status_code == 403
    answer = client.post(
        "/api/jobs", json={"job": "x"}, headers={"origin": "http://127.0.0.1:8720"}
    )
    assert answer.status_code == 422


def test_nothing_is_loaded_from_elsewhere_nor_shown_elsewhere(client: TestClient) -> None:
    for path in ("/", "/static/style.css", "/api/about", "/nothing"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert "http" not in policy and "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
    assert client.get("/api/about").headers["cache-control"] == "no-store"


def test_the_pages_name_no_other_address() -> None:
    pages = Path(access.__file__).with_name("pages")
    for file in pages.iterdir():
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//\w+\.|@import|url\((?!\"\$)", text), file


def enter(address: str) -> tuple[http.client.HTTPConnection, str]:
    """A connection to a studio by its printed address, and the cookie that it gave."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc)
    connection.request("GET", f"/?{urlsplit(address).query}")
    answer = connection.getresponse()
    answer.read()
    return connection, str(answer.headers["set-cookie"]).partition(";")[0]


SECRET = "the secret of another folder"
# Of published cases of Starlette (CVE-2023-29159), Gradio, Jupyter and others
CASES = [
    "../secret.mp4", "..%2fsecret.mp4", "%2e%2e/secret.mp4", "%2e%2e%2fsecret.mp4",
    "..%252fsecret.mp4", "....//secret.mp4", "..\\secret.mp4", "..%5csecret.mp4",
    "%00/secret.mp4", "secret.mp4%00", "/{outside}", "//{outside}", "%2f{outside}",
    "file:{outside}", "file%3a%2f%2f{outside}", "..;/secret.mp4", "%c0%ae%c0%ae/secret.mp4",
    "~/secret.mp4", "C:{outside}",
]  # fmt: skip
PLACES = [
    "/static/{case}", "/static/../{case}", "/{case}", "/api/files/{case}", "/api/motions/{case}",
    "/api/clips/{case}/video", "/api/clips/{case}/strip", "/api/subjects/{case}",
    "/api/subjects/{case}/frames/0", "/api/results/{case}/video", "/api/runs/{case}/page",
    "/api/jobs/{case}/scene", "/api/jobs/{case}/files/scene", "/api/jobs/0/files/{case}",
]  # fmt: skip


def test_no_path_leads_out_of_the_runs(start: Any, tmp_path: Path) -> None:
    secret, runs = tmp_path / "secret.mp4", tmp_path / "runs"
    secret.write_text(SECRET)
    _, address = start()
    (runs / "studio-secret.mp4").write_text(SECRET)  # beside a folder of the same beginning
    connection, cookie = enter(address)

    def ask(path: str) -> tuple[int, str]:
        connection.putrequest("GET", path)  # as it is, not normalized as browsers do
        connection.putheader("Cookie", cookie)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")

    assert ask("/api/about")[0] == 200
    for place, case in itertools.product(PLACES, CASES):
        path = place.format(case=case.format(outside=secret))
        status, text = ask(path)
        assert status in (400, 404, 405), path
        assert SECRET not in text, path


def test_links_lead_out_of_the_runs_for_nobody(client: TestClient, studio_place: Place) -> None:
    secret = studio_place.runs.parent / "secret.mp4"
    secret.write_text(SECRET)
    studio_place.runs.mkdir()
    link = studio_place.runs / "link.mp4"
    link.symlink_to(secret)
    assert client.get(f"/api/files/{studio_place.id_of(link)}").status_code == 404
    real = studio_place.runs / "real.mp4"
    real.write_bytes(b"video")
    assert client.get(f"/api/files/{studio_place.id_of(real)}").content == b"video"
    weights = studio_place.runs / "notes.txt"  # not what pages show
    weights.write_text("mine")
    assert client.get(f"/api/files/{studio_place.id_of(weights)}").status_code == 404
    assert client.get(f"/api/files/{new_id()}").status_code == 404


def test_with_a_password_the_page_asks_for_it(
    studio_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(access, "Attempts", lambda: Attempts(lambda: clock[0]))
    keys = Keys("aa-studio-1", token=None, password="correct horse")
    app = create_app(studio_place, keys, "0.0.0.0")
    with TestClient(app, "http://localhost:1", follow_redirects=False) as client:
        client.headers["origin"] = "http://localhost:1"
        assert "password" in client.get("/").text
        assert client.get("/", params={"token": "None"}).status_code == 403
        wrong = client.post("/login", data={"password": "battery"})
        assert wrong.status_code == 403 and "not the password" in wrong.text
        assert client.post("/login", content=b"x" * 10000).status_code == 413
        assert client.get("/api/about").status_code == 403
        early = client.post("/login", data={"password": "correct horse"})
        assert early.status_code == 429 and early.headers["retry-after"] == "1"
        assert "looked at in 1 s" in early.text and "set-cookie" not in early.headers
        clock[0] += 1
        assert client.post("/login", data={"password": "correct horse"}).status_code == 303
        assert client.get("/api/about").status_code == 200


def test_passwords_sent_at_once_are_one_guess(studio_place: Place) -> None:
    app = create_app(studio_place, Keys("aa-studio-1", token=None, password="w7"), "0.0.0.0")
    words = [f"w{number}" for number in range(20, -1, -1)]  # the right one is among them

    async def send() -> list[int]:
        transport = httpx2.ASGITransport(app, client=("10.0.0.9", 1))
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost:1") as client:
            client.headers["origin"] = "http://localhost:1"
            asked = (client.post("/login", data={"password": word}) for word in words)
            return [answer.status_code for answer in await asyncio.gather(*asked)]

    assert sorted(asyncio.run(send())) == [403] + [429] * 20


def test_guesses_wait_longer_and_longer_and_only_their_own_address_waits() -> None:
    clock = [0.0]
    attempts = Attempts(lambda: clock[0])
    waits = []
    for _ in range(8):
        assert attempts.seconds_left("10.0.0.9") == 0 == attempts.seconds_left("10.0.0.1")
        attempts.failed("10.0.0.9")
        waits.append(attempts.seconds_left("10.0.0.9"))
        clock[0] += waits[-1] - 0.5
        assert attempts.seconds_left("10.0.0.9") == 1
        clock[0] += 0.5
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]
    attempts.failed("10.0.0.9")
    attempts.forget("10.0.0.9")  # the owner was behind the same address
    assert attempts.seconds_left("10.0.0.9") == 0
    for number in range(2000):
        attempts.failed(f"10.1.{number // 256}.{number % 256}")
    assert len(attempts.wrong) == 1000 and attempts.seconds_left("10.1.7.207") == 1
    clock[0] += 600
    attempts.failed("10.0.0.9")
    assert list(attempts.wrong) == ["10.0.0.9"]


def test_only_this_machine_is_let_in_without_a_password(tmp_path: Path) -> None:
    assert is_local("127.0.0.1") and is_local("localhost") and is_local("127.8.0.1")
    assert not is_local("0.0.0.0") and not is_local("192.168.0.4") and not is_local("example.org")
    assert hosts_of("127.0.0.1") == ["127.0.0.1", "localhost"]
    assert "127.8.0.1" in hosts_of("127.8.0.1") and "studio.lan" in hosts_of("Studio.LAN")
    assert "*" not in hosts_of("0.0.0.0") and "0.0.0.0" not in hosts_of("0.0.0.0")
    with pytest.raises(UsageError, match="--password"):
        serve(StudioOptions(0, tmp_path / "runs", "0.0.0.0"))
    assert not (tmp_path / "runs").exists()


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"--port {port}: in use"):
            serve(StudioOptions(port, tmp_path / "runs"))
    assert not (tmp_path / "runs" / "studio").exists()


def test_folders_that_hold_something_else_are_one_line(tmp_path: Path) -> None:
    file, others = tmp_path / "file", tmp_path / "others"
    file.write_text("x")
    (others / "studio").mkdir(parents=True)
    (others / "studio" / "song.wav").write_text("x")
    mark(tmp_path / "sks", "personalize")
    said = {
        file: "is not a folder; choose another --runs",
        others: "there are others already",
        tmp_path / "sks": "one run, of `aa personalize`: give the folder",
    }
    for runs, words in said.items():
        with pytest.raises(UsageError, match=re.escape(words)) as refused:
            serve(StudioOptions(0, runs))
        assert str(runs) in str(refused.value)
    assert sorted(path.name for path in (others / "studio").iterdir()) == ["song.wav"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it_cleanly(start: Any, tmp_path: Path, number: int) -> None:
    process, address = start()
    assert "/?token=" in address
    with urllib.request.urlopen(address.partition("?")[0] + "static/style.css") as answer:
        assert answer.status == 200
    second = subprocess.run(
        [sys.executable, "-m", "animateanywhere", "studio", "--port=0", f"--runs={tmp_path}/runs"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert second.returncode == 1 and "in use by process" in second.stderr
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in said and "ended" in said.splitlines()[-1]
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address, timeout=2)


def begin_upload(address: str) -> socket.socket:
    """A connection that has sent three of 100,000 bytes of a clip."""
    parts = urlsplit(address)
    _, cookie = enter(address)
    assert parts.port is not None
    slow = socket.create_connection((str(parts.hostname), parts.port))
    head = f"Host: {parts.netloc}\r\nOrigin: http://{parts.netloc}\r\nCookie: {cookie}"
    slow.sendall(f"POST /api/clips?name=a HTTP/1.1\r\n{head}\r\n".encode())
    slow.sendall(b"Content-Length: 100000\r\n\r\nabc")
    return slow


def test_a_page_closed_while_it_uploads_is_no_error(start: Any, tmp_path: Path) -> None:
    process, address = start()
    with begin_upload(address):
        folder = tmp_path / "runs/studio/clips"
        for _ in range(200):
            if any(".upload" in path.name for path in folder.glob("*")):
                break
            time.sleep(0.05)
        else:
            pytest.fail("the upload did not begin")
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 0 and "Traceback" not in said
    assert not any(".upload" in path.name for path in folder.glob("*"))


def test_ctrl_c_while_something_is_sent_is_no_error(start: Any, tmp_path: Path) -> None:
    process, address = start()
    with begin_upload(address):
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 0 and "Traceback" not in said and "ERROR" not in said
    assert not any(".upload" in path.name for path in (tmp_path / "runs/studio/clips").glob("*"))
