import json
import threading
from pathlib import Path

import pytest

from animateanywhere.core.messages import (
    current,
    picture,
    progress,
    quietly,
    reporting_to,
    say,
    warn,
)
from animateanywhere.core.reporter import Event, Events, Lines


def test_events_are_recorded_and_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    heard: list[Event] = []
    reporter = Events(heard.append)
    with reporting_to(reporter):
        say("learned [bold]sks[/bold]")
        warn("no GPU")
        with progress("appearance", total=10, done=2, memory=True) as bar:
            clock[0] = 6.0
            bar.advance(2, loss=0.5)
            bar.advance()
        picture(Path("sheet.png"))
    assert heard == reporter.events
    json.dumps(heard)
    steps = {"kind": "progress", "stage": "appearance", "total": 10}
    assert heard == [
        {"kind": "message", "text": "learned sks", "level": "info"},
        {"kind": "message", "text": "no GPU", "level": "warning"},
        {**steps, "step": 2, "eta": None},
        {**steps, "step": 4, "eta": 18.0, "loss": 0.5},
        {**steps, "step": 5, "eta": 10.0, "loss": 0.5},
        {"kind": "end", "stage": "appearance", "step": 5, "total": 10},
        {"kind": "picture", "path": "sheet.png"},
    ]


def test_nothing_of_it_reaches_the_console(capsys: pytest.CaptureFixture[str]) -> None:
    with reporting_to(Events()):
        say("in here")
    say("out there")
    assert capsys.readouterr().err == "out there\n"


def test_each_thread_has_its_own() -> None:
    found: dict[str, list[Event]] = {}
    both = threading.Barrier(2)

    def job(name: str) -> None:
        reporter = Events()
        with reporting_to(reporter):
            both.wait()
            say(name)
            both.wait()
        found[name] = reporter.events

    threads = [threading.Thread(target=job, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: [event["text"] for event in events] for name, events in found.items()} == {
        "a": ["a"], "b": ["b"]
    }  # fmt: skip


def test_quietly_drops_messages_only() -> None:
    reporter = Events()
    with reporting_to(reporter), quietly():
        say("again and again")
        with progress("steps", total=1) as bar:
            bar.advance()
    assert [event["kind"] for event in reporter.events] == ["progress", "progress", "end"]
    assert current() is not reporter


def test_after_a_failure_the_one_before_is_back() -> None:
    before = current()
    with pytest.raises(KeyboardInterrupt), reporting_to(Events()):
        raise KeyboardInterrupt
    assert current() is before


def test_lines_are_written_at_once_and_progress_not_for_each_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    reporter = Lines()
    with reporting_to(reporter), progress("motion", total=1000) as bar:
        say("é [bold]sks[/bold]")
        for _ in range(1000):
            clock[0] += 0.01
            bar.advance(loss=0.5)
    heard = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    kinds = [event["kind"] for event in heard]
    assert {"kind": "message", "text": "é sks", "level": "info"} in heard
    assert heard[-1] == {"kind": "end", "stage": "motion", "step": 1000, "total": 1000}
    assert heard[-2]["step"] == 1000 and heard[-2]["loss"] == 0.5
    assert 90 <= kinds.count("progress") <= 105
    assert reporter.events == []


def test_lines_that_cannot_be_written_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    full = open("/dev/full", "w")  # noqa: SIM115
    monkeypatch.setattr("sys.stderr", full)
    with reporting_to(Lines()):
        say("the disk is full")
    with pytest.raises(OSError, match="No space"):
        full.close()
