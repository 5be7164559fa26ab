import errno
import importlib.util
import inspect
import json
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
import typer
from typer.core import TyperGroup

from animateanywhere import __version__
from animateanywhere.__main__ import run
from animateanywhere.cli import generate as cli_generate
from animateanywhere.cli import main
from animateanywhere.cli import prepare as cli_prepare
from animateanywhere.cli import train as cli_train
from animateanywhere.cli.help import Row, rows
from animateanywhere.core.errors import NO_MEMORY, STOPPED, Failure, UsageError
from animateanywhere.core.paths import EXAMPLES

COMMANDS = [name for commands in main.COMMANDS.values() for name in commands]
ROOT = Path(__file__).parents[2]


def aa(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `aa` as a user does, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "animateanywhere", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def options_of(command: str) -> list[Row]:
    """What the help of a command has to show."""
    group = typer.main.get_command(main.app)
    assert isinstance(group, TyperGroup)
    context = typer.Context(group.commands[command], info_name=command)
    return rows(group.commands[command], context)


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--version"]) == 0
    assert capsys.readouterr().out == f"aa {__version__}\n"
    assert main.main([]) == 0
    bare = capsys.readouterr().out
    assert main.main(["--help"]) == 0
    assert capsys.readouterr().out == bare


def test_commands_are_grouped_in_the_order_in_which_people_need_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main.main([]) == 0
    out = capsys.readouterr().out
    headings = re.findall(r"^(\w.*):$", out, re.MULTILINE)
    assert headings == [*main.COMMANDS, "Options"]
    shown = re.findall(r"^  ([a-z][a-z-]+)  ", out, re.MULTILINE)
    assert shown == [
        *("demo", "personalize", "generate", "swap", "cast", "studio"),
        *("prepare", "check", "pose", "models"),
        "evaluate",
        *("runs", "doctor", "export", "push", "base-train", "corpus", "bases", "puppets"),
    ]


def test_tab_completion_can_be_set_up() -> None:
    # Otherwise Typer asks which shell this process is a child of
    shown = aa("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert shown.returncode == 0 and "complete" in shown.stdout
    found = aa(
        _AA_COMPLETE="complete_bash", COMP_WORDS="aa gener", COMP_CWORD="1",
        _TYPER_COMPLETE_ARGS="aa gener",
    )  # fmt: skip
    assert found.stdout.split() == ["generate"]


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_whole_at_any_width(
    command: str,
    columns: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main.main([*command.split(), "--help"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= columns
    assert out.isascii() and "..." not in out.partition("\n")[2]
    words = " ".join(out.split())
    for row in options_of(command) if command else ():
        assert row.help in words
        assert row.names in words
        assert not row.notes or f"[{row.notes}]" in words


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_sentences_and_an_example(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main.main([command, "--help"]) == 0
    examples = re.findall(r"^  Example: aa (.*)$", capsys.readouterr().out, re.MULTILINE)
    assert examples and all(line.split()[0] == command for line in examples)
    for row in options_of(command):
        assert re.match(r"[A-Z].*\.$", row.help), row.names
        assert re.match("default: |required", row.notes) or row.names.endswith("--help"), row.names
    flags = " ".join(row.names for row in options_of(command))
    for flag in re.findall(r" (--[a-z-]+)", " ".join(examples)):
        assert flag in flags


def test_motions_and_backends_have_one_name_in_all_commands() -> None:
    named = {row.names for command in COMMANDS for row in options_of(command)}
    assert {name for name in named if name.startswith("--pose ")} == {"--pose FILE", "--pose PATH"}
    assert {"--pose-backend NAME", "--mask-backend NAME"} < named
    assert not any(re.match("--(looks|seer|mask) ", name) for name in named)


def test_the_reference_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    path = ROOT / "docs" / "cli_reference.py"
    spec = importlib.util.spec_from_file_location("cli_reference", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", [str(path), "--check"])
    assert module.main() == 0, "run python docs/cli_reference.py"


def test_a_stale_reference_is_seen(tmp_path: Path) -> None:
    for name in ("cli_reference.py", "cli.md"):
        shutil.copy(ROOT / "docs" / name, tmp_path)
    command = [sys.executable, str(tmp_path / "cli_reference.py"), "--check"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run(command, check=False, env=environment).returncode == 0
    with (tmp_path / "cli.md").open("a") as page:
        page.write("more\n")
    assert subprocess.run(command, check=False, env=environment).returncode == 1


def test_the_command_line_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom animateanywhere.cli.main import main\n"
        "for arguments in (['--help'], ['generate', '--help'], ['nothing']): main(arguments)\n"
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


def test_waiting_threads_sleep_before_torch_is_loaded() -> None:
    """Spinning ones slow torch down beside other work; what the user set stays."""
    code = (
        "import os, runpy, sys\nsys.argv = ['aa', '--version']\n"
        "try: runpy.run_module('animateanywhere', run_name='__main__')\n"
        "except SystemExit: print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    )
    for given, expected in ((None, "PASSIVE"), ("ACTIVE", "ACTIVE")):
        environment = {name: text for name, text in os.environ.items() if name != "OMP_WAIT_POLICY"}
        if given is not None:
            environment["OMP_WAIT_POLICY"] = given
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        assert done.stdout.splitlines()[-1] == f"{expected} False"


@pytest.mark.skipif(sys.platform != "linux", reason="libgomp shows its settings; others do not")
@pytest.mark.parametrize("given", [{}, {"GOMP_SPINCOUNT": "1234"}])
def test_openmp_takes_up_how_threads_wait(given: dict[str, str]) -> None:
    code = (
        "import runpy, sys\nsys.argv = ['aa', '--version']\n"
        "try: runpy.run_module('animateanywhere', run_name='__main__')\n"
        "except SystemExit: import torch"
    )
    unset = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    environment = {name: text for name, text in os.environ.items() if name not in unset}
    environment |= {"OMP_DISPLAY_ENV": "VERBOSE", **given}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr
    spins = given.get("GOMP_SPINCOUNT", "0")
    assert f"GOMP_SPINCOUNT = '{spins}'" in done.stderr


VIDEO = str(EXAMPLES / "reference.mp4")


@pytest.mark.parametrize(
    ("function", "arguments", "old", "new", "value"),
    [
        ("personalize", ["personalize", VIDEO, "--token", "sks"], "--looks", "--appearance", ""),
        ("personalize", ["personalize", VIDEO, "--token", "sks"], "--pose", "--pose-backend", "a"),
        ("personalize", ["personalize", VIDEO, "--token", "sks"], "--mask", "--mask-backend", "a"),
        ("generate", ["generate", "a", "--pose", VIDEO], "--looks", "--appearance", "in red"),
        ("prepare", ["prepare", VIDEO], "--pose", "--pose-backend", "dwpose"),
        ("prepare", ["prepare", VIDEO], "--mask", "--mask-backend", "exact"),
        ("evaluate", ["evaluate", VIDEO, "--fast"], "--seer", "--detector", "puppets"),
    ],
)
def test_old_names_of_options_work_and_say_the_new_one(
    function: str,
    arguments: list[str],
    old: str,
    new: str,
    value: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls: list[object] = []

    def called(*given: object, **named: object) -> Path:
        calls.append((given, named))
        raise Failure("far enough")

    monkeypatch.setattr(f"animateanywhere.commands.{function}.{function}", called)
    assert main.main([*arguments, new, value]) == 1
    assert capsys.readouterr().err == "aa: far enough\n"
    assert main.main([*arguments, f"{old}={value}"]) == 1
    warning = f"aa: warning: {old} is now {new}; the old name ends with the next release\n"
    assert capsys.readouterr().err == f"{warning}aa: far enough\n"
    assert calls[0] == calls[1]
    assert main.main([*arguments, old, "exact", new, value]) == 1  # the new name counts
    assert calls[2] == calls[0]


def test_a_wrong_value_of_an_old_name_is_wrong_use(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["evaluate", VIDEO, "--seer", "eyes"]) == 2
    warning, error = capsys.readouterr().err.splitlines()
    assert "--seer is now --detector" in warning
    assert "--detector" in error and "'eyes'" in error


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["generat"], "Did you mean 'generate'?"),
        (["generate", "sks man", "--fram", "3"], "Did you mean '--frames'?"),
        (["generate", "sks man", "--shades", "red"], "See aa generate --help."),
        (["prepare", "VIDEO", "--posebackend", "auto"], "Did you mean '--pose-backend'?"),
        (["walk"], "See aa --help."),
        (["--versio"], "Did you mean '--version'?"),
        (["generate", "sks man"], "--pose"),
        (["generate", "sks man", "--pose", "VIDEO", "--frames", "0"], "must be at least 1"),
        (["generate", "sks man", "--pose", "VIDEO", "--frames", "ten"], "--frames"),
        (["generate", "sks man", "--pose", "VIDEO", "--steps", "0"], "--steps"),
        (["generate", "sks man", "--pose", "VIDEO", "--seed", "-1"], "--seed"),
        (["generate", "sks man", "--pose", "VIDEO", "--guidance", "-1"], "--guidance"),
        (["generate", "sks man", "--pose", "VIDEO", "--sampler", "euler"], "--sampler"),
        (["generate", "sks man", "--pose", "VIDEO", "--fit", "stretch"], "--fit"),
        (["generate", "sks man", "--pose", "VIDEO", "--out", "clip.avi"], "--out clip.avi"),
        (["generate", "sks man", "--pose", "VIDEO", "--out", "VIDEO/a.mp4"], "cannot write"),
        (["generate", "sks man", "--pose", "VIDEO", "--contact-sheet", "a.mp4"], "--contact-sheet"),
        (["generate", "sks man", "--pose", "missing.mp4"], "missing.mp4"),
        (["generate", "sks man", "--pose", "VIDEO", "--weights", "no.safetensors"], "--weights"),
        (["generate", "  ", "--pose", "VIDEO"], "prompt has no words"),
        (["generate", "((<lora:a:1>", "--pose", "VIDEO"], "prompt has no words"),
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
        (["check", "VIDEO", "--out", ""], "Invalid value for '--out': it is empty"),
        (["check", "VIDEO", "--out="], "Invalid value for '--out': it is empty"),
        (["personalize", "", "--token", "sks"], "Invalid value for 'VIDEO|SUBJECT': it is empty"),
        (["generate", "a man \udcff", "--pose", "VIDEO"], "a man ?: not UTF-8 text"),
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


def caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


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
            "disk full while writing x.mp4: free some space and run the command again",
        ),
        (
            ValueError("shape (1, 2)\nis not [3]"),
            1,
            "unexpected ValueError: shape (1, 2) is not [3]; set AA_DEBUG=1 for the traceback",
        ),
        (caused(RuntimeError("cannot import"), KeyboardInterrupt()), 130, STOPPED),
        (caused(UsageError("damaged"), caused(OSError(), KeyboardInterrupt())), 130, STOPPED),
        (caused(UsageError("damaged"), MemoryError()), 1, NO_MEMORY.format("MemoryError")),
        (
            caused(Failure("damaged"), RuntimeError("CUDA out of memory")),
            1,
            NO_MEMORY.format("CUDA out of memory"),
        ),
        (UsageError("out of memory soon"), 2, "out of memory soon"),
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


@pytest.mark.usefixtures("_own_commands")
def test_a_failure_while_a_stopped_command_saves_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = Failure("disk full")
    error.__context__ = KeyboardInterrupt()
    raising(error)
    assert main.main(["fail"]) == 1
    assert capsys.readouterr().err == "aa: disk full\n"


@pytest.mark.usefixtures("_own_commands")
def test_a_full_disk_is_said_wherever_it_is_met(capsys: pytest.CaptureFixture[str]) -> None:
    for error in (OSError(errno.ENOSPC, "full"), OSError(errno.ENOSPC, "full", "x.bin")):
        raising(error)
        assert main.main(["fail"]) == 1
        assert capsys.readouterr().err.startswith("aa: disk full while writing ")


@pytest.mark.parametrize("megabytes", [150, 420])
def test_a_small_address_space_is_said(megabytes: int, tmp_path: Path) -> None:
    """Libraries are loaded in more than the first, and the clip is decoded in more than both."""
    program = (
        "import resource, sys\nfrom animateanywhere.__main__ import run\n"
        f"resource.setrlimit(resource.RLIMIT_AS, ({megabytes} << 20,) * 2)\n"
        "sys.exit(run())"
    )
    arguments = ["pose", str(EXAMPLES / "reference.mp4"), "--out", str(tmp_path / "poses.json")]
    ended = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # each thread takes address space
    )  # fmt: skip
    assert ended.returncode == 1 and "aa: memory ran out" in ended.stderr
    assert "Traceback" not in ended.stderr and "damaged" not in ended.stderr


@pytest.mark.parametrize(("stop", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_in_a_finalizer_stops_the_program(stop: str, code: int) -> None:
    """Python ignores what is raised there; imports run many such callbacks."""
    program = f"""
import os, signal, sys, time
import animateanywhere.cli.main as cli
from animateanywhere.__main__ import run

class Late:
    def __del__(self):
        os.kill(os.getpid(), signal.{stop})
        time.sleep(1)

def command():
    Late()
    for _ in range(100):
        time.sleep(0.05)
    return 0

signal.signal(signal.SIGINT, signal.default_int_handler)
cli.main = command
sys.exit(run())
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ended.returncode == code
    assert ended.stderr == "aa: stopped; to go on, run the same command again\n"


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_sigterm_stop_a_real_run(
    stop: signal.Signals, code: int, tmp_path: Path
) -> None:
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
    child.send_signal(stop)
    _, err = child.communicate(timeout=60)
    assert child.returncode == code
    assert err.splitlines()[-1] == "aa: stopped; to go on, run the same command again"
    assert "Traceback" not in err
    assert list(tmp_path.glob("**/*.part*")) == []


def test_ctrl_c_while_loading_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "animateanywhere.cli.main")
    monkeypatch.setattr("importlib._bootstrap._find_spec", interrupted)
    assert run() == 130
    assert capsys.readouterr().err == "aa: stopped; to go on, run the same command again\n"


def test_ctrl_c_while_a_dataclass_is_made_ends_with_130(tmp_path: Path) -> None:
    (tmp_path / "interrupted.py").write_text(
        "import sys\n"
        "from animateanywhere.__main__ import run\n"
        "from animateanywhere.cli import main\n"
        "def interrupted():\n"
        "    try:\n        exec('raise KeyboardInterrupt')\n"
        "    except KeyboardInterrupt:\n        return 130\n"
        "main.main = interrupted\n"
        "sys.exit(run())\n"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "interrupted"], check=False, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.returncode == 130


def test_puppets_writes_clips(tmp_path: Path) -> None:
    done = aa("puppets", "--out", str(tmp_path / "out"), "--clips", "1", "--frames", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'out'}\n"
    assert list((tmp_path / "out").glob("**/*.mp4"))


def test_defaults_are_those_of_the_functions() -> None:
    """Numbers stand in the help as well as in the functions: they must not drift apart."""
    from animateanywhere.commands.generate import GenerateOptions
    from animateanywhere.commands.personalize import PersonalizeOptions
    from animateanywhere.commands.prepare import prepare
    from animateanywhere.media.source import Part
    from animateanywhere.preprocessing.backends import Backends
    from animateanywhere.preprocessing.weights import WeightsLocation

    for command, function, renamed in (
        (cli_generate.generate, GenerateOptions, {"guidance": "guidance_scale"}),
        (cli_train.personalize, PersonalizeOptions, {}),
        (cli_prepare.prepare, prepare, {"video": "clip"}),
    ):
        theirs: dict[str, inspect.Parameter] = {}
        for whole in (Backends, WeightsLocation, Part, function):
            theirs |= inspect.signature(whole).parameters
        arguments = ("prompt", "pose", "video", "token", "lora")  # or another form of the same
        arguments += ("input_fps", "pose_fps", "yes")  # the last: of the command line alone
        for name, parameter in inspect.signature(command).parameters.items():
            if name.startswith("_") or name in arguments:  # an option's earlier name
                continue
            renamed |= {"pose_backend": "pose", "mask_backend": "mask"}
            other = theirs[renamed.get(name, name)].default
            if inspect.Parameter.empty not in (parameter.default, other):
                assert parameter.default == other, (function.__name__, name)


def test_another_program_reads_messages_errors_and_the_end_as_json(tmp_path: Path) -> None:
    runs = tmp_path / "elsewhere"
    environment = {"AA_PROGRESS": "json", "AA_RUNS": str(runs)}
    clips = aa("puppets", "--out", str(runs / "p"), "--clips", "1", "--frames", "2", "--size",
               "32", **environment)  # fmt: skip
    heard = [json.loads(line) for line in clips.stderr.splitlines()]
    assert [event for event in heard if event["kind"] == "progress"][-1]["step"] == 1
    assert heard[-1] == {"kind": "exit", "code": 0}
    assert clips.stdout == f"{runs / 'p'}\n"
    assert "p " in aa("runs", AA_RUNS=str(runs)).stderr
    wrong = aa("runs", "show", "nobody", **environment)
    error, end = map(json.loads, wrong.stderr.splitlines())
    assert error["kind"] == "error" and error["code"] == 2 and str(runs) in error["text"]
    assert end == {"kind": "exit", "code": 2}
