"""A studio with an empty folder of runs, and one that listens in a process of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from animateanywhere.studio import clips
from animateanywhere.studio.access import Keys
from animateanywhere.studio.app import create_app
from animateanywhere.studio.job import process_of, read_job
from animateanywhere.studio.place import Place

ADDRESS = "http://127.0.0.1:8720"
ORIGIN = {"origin": ADDRESS}


@pytest.fixture
def studio_place(tmp_path: Path) -> Place:
    return Place(tmp_path / "runs")


@pytest.fixture
def stranger(studio_place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """A client that was not let in; `app_keys` of it are the keys."""
    monkeypatch.setattr(clips, "EXAMPLES", Path("nowhere"))  # a look at it takes a second
    keys = Keys("aa-studio-8720")
    app = create_app(studio_place, keys)
    with TestClient(app, ADDRESS, raise_server_exceptions=False, follow_redirects=False) as client:
        client.app_keys = keys  # type: ignore[attr-defined]
        yield client


@pytest.fixture
def client(stranger: Any) -> TestClient:
    """A client that came by the printed address."""
    answer = stranger.get("/", params={"token": stranger.app_keys.token})
    assert answer.status_code == 303
    stranger.headers.update(ORIGIN)
    return stranger


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[str], str]]]:
    """Starts `aa studio` as people do, and returns its process and address."""
    begun = []

    def begin(*arguments: str, runs: Path = tmp_path / "runs") -> tuple[Any, str]:
        command = [sys.executable, "-m", "animateanywhere", "studio", "--port=0", "--no-browser"]
        process = subprocess.Popen(
            [*command, f"--runs={runs}", *arguments], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        begun.append(process)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    yield begin
    for process in begun:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    # Their jobs are of other sessions, and work on without them
    for path in tmp_path.rglob("jobs/*/job.json"):
        job = read_job(path)
        worker = process_of(job) if job is not None else None
        if worker is not None:
            worker.kill()
