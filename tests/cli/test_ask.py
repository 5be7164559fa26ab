"""Questions at a terminal, and that nothing waits for an answer where there is none."""

import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path
from select import select

import pytest

from animateanywhere.cli import ask
from animateanywhere.cli.ask import require_consent
from animateanywhere.core import consent
from animateanywhere.core.errors import UsageError
from animateanywhere.core.paths import EXAMPLES

QUESTION = "[y/n]"
# A session has a terminal once it opens one; and tests that run in the background ignore Ctrl-C
OWN_TERMINAL = """
import os, signal
os.close(os.open(os.ttyname(0), os.O_RDWR))
signal.signal(signal.SIGINT, signal.default_int_handler)
"""
ASK = """
from pathlib import Path
from animateanywhere.cli import ask
from animateanywhere.cli.ask import require_consent
require_consent([Path("clip.mp4")], False)
print("goes on")
"""
COMMAND = "import sys; from animateanywhere.cli.main import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of settings, where nobody has been asked."""
    monkeypatch.delenv(consent.VARIABLE)
    for name in ask.UNATTENDED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "animateanywhere"


def at_terminal(code: str, keys: bytes, *arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, stdout and what the terminal shows of Python code whose question is answered."""
    own, theirs = pty.openpty()
    command = [sys.executable, "-c", f"{OWN_TERMINAL}\n{code}", *map(str, arguments)]
    with subprocess.Popen(
        command, stdin=theirs, stderr=theirs, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        os.close(theirs)
        shown, end = b"", time.monotonic() + 60
        try:
            while (left := end - time.monotonic()) > 0:
                if not select([own], [], [], left)[0]:
                    break
                shown += os.read(own, 4096)
                if QUESTION.encode() in shown and keys:
                    os.write(own, keys)
                    keys = b""
        except OSError:  # closed by the other side
            pass
        finally:
            process.kill() if time.monotonic() >= end else None
            os.close(own)
        assert process.stdout is not None
        return process.wait(), process.stdout.read().decode(), shown.decode()


def test_a_yes_is_kept_and_never_asked_for_again(home: Path) -> None:
    code, out, shown = at_terminal(ASK, b"y\n")
    assert (code, out) == (0, "goes on\n") and shown.count(consent.QUESTION) == 1
    kept = json.loads((home / "consent.json").read_text())
    assert kept["people_agreed"] is True and kept["question"] == consent.QUESTION
    code, out, shown = at_terminal(ASK, b"")
    assert (code, out, shown) == (0, "goes on\n", "")


@pytest.mark.parametrize("keys, ends", [(b"n\n", 2), (b"\n", 2), (b"\x04", 2), (b"\x03", 130)])
def test_without_a_yes_nothing_is_learned(home: Path, keys: bytes, ends: int) -> None:
    """No, the default, the end of the input, and Ctrl-C; before anything is loaded."""
    clip = EXAMPLES.parent / "pyproject.toml"
    code, out, shown = at_terminal(COMMAND, keys, "personalize", clip, "--token", "sks")
    assert code == ends, shown
    assert not out and "unexpected" not in shown
    assert ("ask the people shown first" in shown) == (ends == 2)
    assert not home.exists()  # asked again the next time


def test_a_signal_that_comes_before_the_wait_is_seen_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python sees it between bytecodes only: here the wait that it came too early for ends."""
    waits = []

    def nothing_typed(*given: object) -> tuple[list[object], ...]:
        waits.append(given[-1])
        if len(waits) == 2:  # the time in between is Python's own
            raise KeyboardInterrupt
        return [], [], []

    monkeypatch.setattr(ask, "select", nothing_typed)
    with pytest.raises(KeyboardInterrupt):
        ask.confirm("?")
    assert waits == [ask.SLICE] * 2


def test_where_nobody_can_be_asked_nothing_waits(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require_consent([Path("clip.mp4")], False)
    assert "AA_CONSENT=yes" in capsys.readouterr().err
    # A terminal of another session, as in the background
    own, theirs = pty.openpty()
    done = subprocess.run([sys.executable, "-c", ASK], stdin=theirs, stderr=theirs, timeout=60,
                          stdout=subprocess.PIPE, start_new_session=True)  # fmt: skip
    assert done.stdout == b"goes on\n" and b"AA_CONSENT=yes" in os.read(own, 4096)
    os.close(own)
    os.close(theirs)


def test_a_terminal_without_anybody_is_not_waited_for(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that nobody types at, and cells of a notebook and jobs of CI, which have one."""
    code, out, shown = at_terminal(ASK.replace("\nrequire", "\nask.WAIT = 0.1\nrequire"), b"")
    assert code and not out and "no answer in 0.1 seconds" in shown and not home.exists()
    for name in ask.UNATTENDED:
        monkeypatch.setenv(name, "1")
        code, out, shown = at_terminal(ASK, b"")
        assert (code, out) == (0, "goes on\n") and "AA_CONSENT=yes" in shown
        monkeypatch.delenv(name)


def test_an_option_or_a_variable_answers(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for said in ("yes", "1", "True"):
        monkeypatch.setenv(consent.VARIABLE, said)
        require_consent([Path("clip.mp4")], False)
    assert not home.exists()
    monkeypatch.setenv(consent.VARIABLE, "no")
    with pytest.raises(UsageError, match="ask the people"):
        require_consent([Path("clip.mp4")], False)
    require_consent([Path("clip.mp4")], True)
    monkeypatch.setenv(consent.VARIABLE, "perhaps")
    with pytest.raises(UsageError, match="AA_CONSENT=perhaps: give yes or no"):
        require_consent([Path("clip.mp4")], False)
    monkeypatch.delenv(consent.VARIABLE)
    require_consent([EXAMPLES / "reference.mp4"], False)  # a rendered person
    assert not home.exists()
    require_consent([Path("clip.mp4")], True)
    require_consent([Path("clip.mp4")], False)
    assert not capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "{", "[]", '{"people_agreed": "no"}', "\xff"])
def test_a_damaged_answer_is_none(home: Path, text: str) -> None:
    home.mkdir(parents=True)
    (home / "consent.json").write_text(text, encoding="latin-1")
    assert consent.answer() is None
    consent.keep()
    assert consent.answer() is True


def test_an_answer_that_cannot_be_kept_counts_for_this_run(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home.parent.write_text("a file in the place of the folder")
    require_consent([Path("clip.mp4")], True)
    assert "the answer is not kept" in capsys.readouterr().err
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    require_consent([Path("clip.mp4")], True)
    assert "there is no home folder" in capsys.readouterr().err
