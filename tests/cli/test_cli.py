import inspect
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from animateanywhere import __version__
from animateanywhere.cli import main, making, seeing
from animateanywhere.core.errors import Failure, UsageError

COMMANDS = [
    *("base-train", "personalize", "generate", "demo", "puppets", "prepare", "check", "evaluate"),
]


def aa(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `aa` as a user does, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "animateanywhere", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--version"]) == 0
    assert capsys.readouterr().out == f"aa {__version__}\n"
    assert main.main([]) == 0
    bare = capsys.readouterr().out
    assert main.main(["--help"]) == 0
    assert capsys.readouterr().out == bare
    assert all(f"  {command} " in bare for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert len(re.findall(rf"Example: aa {command}\b", out)) == 1
    assert max(map(len, out.splitlines())) <= 80


def test_the_command_line_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom animateanywhere import cli\n"
        "for arguments in (['--help'], ['generate', '--help'], ['nothing']): cli.main(arguments)\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'numpy', 'av', 'rich', 'mediapipe'}\n"
        "print('loaded', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded []"


def test_help_is_quick() -> None:
    def seconds() -> float:
        # Of the processor, not of the clock: other work on the machine does not count.
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert aa("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(5)) < 0.3


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["generat"], "Did you mean 'generate'?"),
        (["generate", "sks man"], "--pose"),
        (["generate", "sks man", "--pose", "VIDEO", "--frames", "0"], "--frames"),
        (["generate", "sks man", "--pose", "VIDEO", "--frames", "ten"], "--frames"),
        (["generate", "sks man", "--pose", "VIDEO", "--steps", "0"], "--steps"),
        (["generate", "sks man", "--pose", "VIDEO", "--seed", "-1"], "--seed"),
        (["generate", "sks man", "--pose", "VIDEO", "--guidance", "-1"], "--guidance"),
        (["generate", "sks man", "--pose", "VIDEO", "--sampler", "euler"], "--sampler"),
        (["generate", "sks man", "--pose", "VIDEO", "--fit", "stretch"], "--fit"),
        (["generate", "sks man", "--pose", "VIDEO", "--out", "clip.gif"], "--out clip.gif"),
        (["generate", "sks man", "--pose", "VIDEO", "--out", "VIDEO/a.mp4"], "cannot write"),
        (["generate", "sks man", "--pose", "VIDEO", "--contact-sheet", "a.mp4"], "--contact-sheet"),
        (["generate", "sks man", "--pose", "missing.mp4"], "missing.mp4"),
        (["generate", "sks man", "--pose", "VIDEO", "--weights", "no.safetensors"], "--weights"),
        (["generate", "  ", "--pose", "VIDEO"], "prompt is empty"),
        (["personalize", "missing.mp4", "--token", "sks"], "missing.mp4"),
        (["personalize", "VIDEO"], "--token"),
        (["personalize", "VIDEO", "--token", "man"], "common word"),
        (["personalize", "VIDEO", "--token", "two words"], "one plain word"),
        (["personalize", "VIDEO", "--token", "sks", "--class-word", "a man"], "class word"),
        (["personalize", "VIDEO", "--token", "sks", "--out", "VIDEO"], "cannot write"),
        (["demo", "--out", "VIDEO"], "cannot write"),
        (["puppets", "--out", "new", "--clips", "0"], "--clips"),
        (["puppets", "--out", "new", "--clips", "1", "--split", "test"], "--split"),
        (["prepare", "VIDEO", "--out", "VIDEO"], "cannot write"),
        (["check", "missing.mp4"], "missing.mp4"),
        (["check", "VIDEO", "--pose", "missing.mp4"], "missing.mp4"),
        (["check", "VIDEO", "--out", "VIDEO"], "cannot write"),
    ],
)
def test_wrong_use_is_one_line_and_code_2(
    arguments: list[str],
    word: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("VIDEO").write_bytes(b"not looked into by these checks")
    assert main.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("aa: ")
    assert err.count("\n") == 1
    assert word in err
    assert os.listdir() == ["VIDEO"]


def test_an_unwritable_folder_is_found_before_any_work(
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tempfile.mkdtemp()
    user = os.geteuid()
    os.chmod(folder, 0o555)
    try:
        if user == 0:
            os.seteuid(65534)  # root may write anywhere
        assert main.main(["demo", "--out", f"{folder}/demo"]) == 2
    finally:
        os.seteuid(user)
        shutil.rmtree(folder)
    err = capsys.readouterr().err
    assert err == f"aa: cannot write to {folder}/demo: permission denied; choose another --out\n"


def raising(error: BaseException) -> None:
    """Add a command to the real application that does nothing but fail."""

    def fail() -> None:
        raise error

    main.app.registered_commands = [c for c in main.app.registered_commands if c.name != "fail"]
    main.app.command("fail")(fail)


@pytest.fixture
def _own_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main.app, "registered_commands", list(main.app.registered_commands))


@pytest.mark.usefixtures("_own_commands")
@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UsageError("clip.mp4 has no video"), 2, "clip.mp4 has no video"),
        (Failure("the loss is not\na number"), 1, "the loss is not a number"),
        (KeyboardInterrupt(), 130, "stopped; to go on, run the same command again"),
        (
            OSError(28, "No space left on device", "x.mp4"),
            1,
            "unexpected OSError: [Errno 28] No space left on device: 'x.mp4'; "
            "set AA_DEBUG=1 for the traceback",
        ),
        (
            ValueError("shape (1, 2)\nis not [3]"),
            1,
            "unexpected ValueError: shape (1, 2) is not [3]; set AA_DEBUG=1 for the traceback",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_errors_are_one_line(
    error: BaseException,
    code: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("AA_DEBUG", raising=False)
    raising(error)
    assert main.main(["fail"]) == code
    assert capsys.readouterr() == ("", f"aa: {line}\n")


@pytest.mark.usefixtures("_own_commands")
def test_the_traceback_comes_when_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AA_DEBUG", "1")
    raising(ValueError("odd"))
    assert main.main(["fail"]) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("aa: unexpected ValueError: odd\n")


def test_ctrl_c_stops_a_real_run(tmp_path: Path) -> None:
    command = ["puppets", "--out", str(tmp_path / "out"), "--clips", "100000"]
    # Tests run in the background inherit an ignored Ctrl-C; a user's command does not.
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    child = subprocess.Popen(
        [sys.executable, "-m", "animateanywhere", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    signal.signal(signal.SIGINT, before)
    until = time.monotonic() + 60
    while not list(tmp_path.glob("**/*.mp4")) and time.monotonic() < until:
        assert child.poll() is None, child.communicate()
        time.sleep(0.1)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert err.splitlines()[-1] == "aa: stopped; to go on, run the same command again"
    assert "Traceback" not in err
    assert list(tmp_path.glob("**/*.part*")) == []


def test_puppets_writes_clips(tmp_path: Path) -> None:
    done = aa("puppets", "--out", str(tmp_path / "out"), "--clips", "1", "--frames", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'out'}\n"
    assert list((tmp_path / "out").glob("**/*.mp4"))


def test_defaults_are_those_of_the_functions() -> None:
    """Numbers stand in the help as well as in the functions: they must not drift apart."""
    from animateanywhere.commands.generate import generate
    from animateanywhere.commands.personalize import personalize
    from animateanywhere.commands.prepare import prepare
    from animateanywhere.preprocessing.backends import Backends
    from animateanywhere.preprocessing.weights import WeightsLocation

    for command, function, renamed in (
        (making._generate, generate, {"guidance": "guidance_scale"}),
        (making._personalize, personalize, {}),
        (seeing._prepare, prepare, {"video": "clip"}),
    ):
        theirs: dict[str, inspect.Parameter] = {}
        for whole in (Backends, WeightsLocation, function):
            theirs |= inspect.signature(whole).parameters
        for name, parameter in inspect.signature(command).parameters.items():
            other = theirs[renamed.get(name, name)].default
            if inspect.Parameter.empty not in (parameter.default, other):
                assert parameter.default == other, (function.__name__, name)
