"""The queue of the studio, with real commands in real processes."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from animateanywhere.core.errors import Failure
from animateanywhere.studio import jobs
from animateanywhere.studio.job import Job, result_of
from animateanywhere.studio.jobs import Queue
from animateanywhere.studio.place import Unknown
from animateanywhere.studio.progress import POINTS, Progress, follow


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    queue = Queue(tmp_path / "runs" / "studio" / "jobs", tmp_path / "runs")
    yield queue
    if queue.child is not None and queue.child.poll() is None:
        queue.child.kill()


def until(queue: Queue, true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, [vars(job) for job in queue.jobs.values()]
        queue.step()
        time.sleep(0.02)


def listing(*words: str) -> Job:
    """A command that takes a moment."""
    return Job("check", "List", ["runs", *words, "--json"], {})


def rendering(clips: int, out: Path) -> Job:
    """A command that reports progress; with many clips it works for hours."""
    words = [f"--out={out}", f"--clips={clips}", "--frames=2", "--size=32"]
    return Job("learn", "Render", ["puppets", *words], {"clips": clips})


def test_jobs_run_one_at_a_time_in_their_order(queue: Queue) -> None:
    first, second = queue.add(listing()), queue.add(listing("list"))
    queue.step()
    assert (first.state, second.state) == ("running", "queued")
    until(queue, lambda: second.state == "done")
    assert first.state == "done" and first.ended is not None and second.begun is not None
    assert first.ended <= second.begun
    assert result_of(first)["runs"] == []
    assert os.environ.get("AA_RUNS") is None  # it was given to the command alone


def test_a_second_click_and_another_tab_ask_for_nothing_more(queue: Queue) -> None:
    first = queue.add(listing())
    assert queue.add(listing()) is first and list(queue.jobs) == [first.id]
    queue.step()
    assert first.state == "running" and queue.add(listing()) is first
    assert queue.add(listing("list")) is not first
    until(queue, lambda: first.state == "done")
    assert queue.add(listing()) is not first  # what it reads may have changed since


def test_a_look_goes_before_long_work_with_other_files(queue: Queue) -> None:
    one, other = "a" * 16, "b" * 16

    def waits(command: str, *names: str) -> Job:
        arguments = [command, *(f"--out=x/{name}.mp4" for name in names)]
        return queue.add(Job(command, command, arguments, {}))

    swap, learn = waits("swap", one), waits("personalize", other)
    first, second = waits("check", one, "c" * 16), waits("check", other)
    third = waits("check", "d" * 16)
    # A look at what work in front of it will read comes after that work
    assert queue.waiting() == [third, swap, first, learn, second]
    queue.stop(swap)
    assert queue.waiting() == [first, third, learn, second]


def test_what_fails_says_why_in_one_line_and_the_next_one_begins(queue: Queue) -> None:
    wrong = queue.add(Job("learn", "Show", ["runs", "show", "nobody"], {}))
    after = queue.add(listing())
    until(queue, lambda: after.state == "done")
    assert wrong.state == "failed" and wrong.code == 2
    assert "no run nobody in" in wrong.text and "\n" not in wrong.text


def test_one_that_the_system_ends_is_named_and_ends_nothing_else(
    queue: Queue, tmp_path: Path
) -> None:
    job, after = queue.add(rendering(10**6, tmp_path / "runs" / "p")), queue.add(listing())
    until(queue, lambda: queue.progress.get(job.id, Progress()).step > 0)
    seen = queue.progress[job.id]
    assert seen.total == 10**6 and seen.stage
    assert job.process is not None
    os.kill(job.process, signal.SIGKILL)
    until(queue, lambda: after.state == "done")
    assert job.state == "failed" and "SIGKILL" in job.text and "memory" in job.text
    queue.resume(job)
    assert job.state == "queued" and job.text == ""


def test_a_job_is_stopped_and_a_second_time_ended_at_once(queue: Queue, tmp_path: Path) -> None:
    job, waiting = queue.add(rendering(10**6, tmp_path / "runs" / "p")), queue.add(listing())
    queue.stop(waiting)
    assert waiting.state == "stopped"
    until(queue, lambda: queue.progress.get(job.id, Progress()).step > 0)
    with pytest.raises(Failure, match="stop it first"):
        queue.forget(job)
    process = psutil.Process(job.process or 0)
    queue.stop(job)
    assert job.state == "stopping"
    queue.stop(job)
    until(queue, lambda: job.state == "stopped")
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    queue.forget(job)
    assert not (queue.folder / job.id).exists()
    with pytest.raises(Unknown):
        queue.find(job.id)


def test_the_next_start_finds_one_that_still_works(queue: Queue, tmp_path: Path) -> None:
    job, waiting = queue.add(rendering(10**6, tmp_path / "runs" / "p")), queue.add(listing())
    until(queue, lambda: queue.progress.get(job.id, Progress()).step > 0)
    next_one = Queue(queue.folder, queue.runs)
    next_one.load()
    found = next_one.find(job.id)
    assert found.state == "running" and found.process == job.process
    assert next_one.progress[job.id].step > 0
    next_one.step()
    assert next_one.find(waiting.id).state == "queued"
    next_one.stop(found)
    assert queue.child is not None
    queue.child.wait(30)  # as the system does for a parent that is gone
    until(next_one, lambda: next_one.find(waiting.id).state == "done")
    assert found.state == "stopped" and found.code == 130


def test_one_that_went_with_the_studio_goes_on_first(queue: Queue, tmp_path: Path) -> None:
    job = queue.add(rendering(10**6, tmp_path / "runs" / "p"))
    until(queue, lambda: queue.progress.get(job.id, Progress()).step > 0)
    assert queue.close() is job
    assert job.state == "queued" and queue.current is None
    queue.step()
    assert job.state == "queued"  # nothing begins any more
    # As after the power went
    record = queue.folder / job.id / "job.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "state": "running",
                                  "process": 2**22 - 1}))  # fmt: skip
    events = queue.folder / job.id / "events.jsonl"
    events.write_text("".join(line for line in events.read_text().splitlines(True)
                              if "exit" not in line))  # fmt: skip
    next_one = Queue(queue.folder, queue.runs)
    next_one.load()
    assert next_one.find(job.id).state == "queued"


def test_damaged_records_are_passed_over(queue: Queue) -> None:
    for name, text in {"0" * 16: "{}", "1" * 16: "[", "x": json.dumps({"id": "x"}),
                       "2" * 16: '{"kind": "a", "title": "", "arguments": "rm", "about": {}, '
                                 f'"id": "{"2" * 16}"}}'}.items():  # fmt: skip
        (queue.folder / name).mkdir(parents=True)
        (queue.folder / name / "job.json").write_text(text)
    queue.load()
    assert queue.jobs == {}


def test_old_jobs_are_forgotten(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "KEPT", 1)
    first, second = queue.add(listing()), queue.add(listing("list"))
    until(queue, lambda: second.state == "done")
    assert list(queue.jobs) == [second.id] and not (queue.folder / first.id).exists()


def test_a_full_disk_refuses_a_new_job(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(Failure, match="disk full"):
        queue.add(listing())
    assert queue.jobs == {} and list(queue.folder.iterdir()) == []


def test_progress_is_read_as_it_is_written_and_curves_stay_short(tmp_path: Path) -> None:
    file, progress = tmp_path / "events.jsonl", Progress()
    assert not follow(progress, file)
    with file.open("w") as opened:
        for step in range(5000):
            event = {"kind": "progress", "stage": "appearance", "step": step, "total": 5000,
                     "eta": 1.5, "loss": 1 / (step + 1)}  # fmt: skip
            opened.write(json.dumps(event) + "\n")
        opened.write('Some library says "hello"\n{"kind": "message", "lev')
    assert follow(progress, file)
    curve = progress.losses["appearance"]
    assert POINTS / 2 <= len(curve) <= POINTS + 1 and curve[0] == (0, 1.0)
    assert curve == sorted(curve) and curve[-1][0] > 4900
    assert (progress.step, progress.total, progress.eta) == (4999, 5000, 1.5)
    assert progress.messages == []
    with file.open("a") as opened:
        opened.write('el": "info", "text": "done"}\n{"kind": "exit", "code": 0}\n')
    assert follow(progress, file) and not follow(progress, file)
    assert progress.messages == [("info", "done")] and progress.code == 0
    with file.open("a") as opened:
        opened.write('{"kind": "begin"}\n')
    follow(progress, file)
    assert progress.code is None and progress.losses["appearance"] == curve
