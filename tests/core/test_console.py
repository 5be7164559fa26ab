import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest
from rich.markup import escape

from animateanywhere.core import messages
from animateanywhere.core.messages import progress, say, warn


def test_lines_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    say("[bold]ready[/bold]")
    warn("no GPU in :x:.mp4")  # no emoji
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "ready\nwarning: no GPU in :x:.mp4\n"


def test_colons_of_users_are_no_emoji(capsys: pytest.CaptureFixture[str]) -> None:
    text = "a man :smile: at 12:x:30 [bold]"
    say(escape(text))
    assert capsys.readouterr().err == text + "\n"


def test_long_lines_are_not_broken(capsys: pytest.CaptureFixture[str]) -> None:
    say("x" * 300)
    assert capsys.readouterr().err == "x" * 300 + "\n"


def test_plain_lines_keep_their_pace(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    with progress("appearance", total=10) as bar:
        for _ in range(10):
            clock[0] += 4.0
            bar.advance(loss=0.125)
    assert capsys.readouterr().err.splitlines() == [
        "appearance 3/10 loss 0.125 (0:12, 0:28 left)",
        "appearance 6/10 loss 0.125 (0:24, 0:16 left)",
        "appearance 9/10 loss 0.125 (0:36, 0:04 left)",
        "appearance 10/10 loss 0.125 (0:40)",
    ]


def test_a_resumed_bar_counts_only_its_own_steps_for_the_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    with progress("motion", total=100, done=80) as bar:
        clock[0] += 10.0
        bar.advance(10)
    first = capsys.readouterr().err.splitlines()[0]
    assert first == "motion 90/100 (0:10, 0:10 left)"


def test_nested_plain_bars_end_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("stages", total=2) as outer:
        for _ in range(2):
            with progress("steps", total=3) as inner:
                inner.advance(3)
            outer.advance()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("stages 2/2")


def test_an_exception_passes_and_the_next_bar_works(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), progress("steps", total=3):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == ""
    with progress("again", total=1) as bar:
        bar.advance()
    assert capsys.readouterr().err.startswith("again 1/1")
    assert messages.current().plain_bars == 0


CODE = """
from animateanywhere.core.messages import progress, say
with progress("appearance", total=3, memory=True) as bar:
    bar.advance(loss=0.25)
    with progress("inner", total=2) as inner:
        inner.advance(2)
    say("saved [bold]sample[/bold]")
    bar.advance(2)
"""


@pytest.mark.parametrize("columns", [80, 140])
def test_in_a_terminal(columns: int) -> None:
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    child = subprocess.Popen(
        [sys.executable, "-c", CODE], stderr=follower, env={**os.environ, "TERM": "xterm-256color"}
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            data = os.read(leader, 4096)
        except OSError:  # Linux reports the closed other end so
            break
        if not data:
            break
        shown += data
    os.close(leader)
    assert child.wait() == 0
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())
    assert "saved sample\r\n" in text
    last = [line for line in re.split(r"[\r\n]+", text) if line.strip()][-1]
    assert last.startswith("appearance") and "3/3" in last and "loss 0.25" in last
    assert "peak" in last and "GB" in last and len(last) <= columns
