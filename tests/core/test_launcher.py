"""Of several processes that a launcher started, one tells what went wrong."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from animateanywhere.cli import main as command_line
from animateanywhere.core import launcher
from animateanywhere.core.errors import Failure, OtherEnded

ENDED = OtherEnded("another process has ended")


@pytest.fixture
def ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Ends `aa` in a process of a launch by an error; returns its code and what it says."""

    def run(rank: int, error: BaseException, attempt: str = "0") -> tuple[int, str]:
        folder = tmp_path / attempt / str(rank)
        folder.mkdir(parents=True, exist_ok=True)
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(folder / "error.json"))

        def fails(*given: object, **named: object) -> int:
            raise error

        monkeypatch.setattr(command_line, "app", fails)
        return command_line.main([]), capsys.readouterr().err

    monkeypatch.setattr(launcher, "PATIENCE", 0.1)
    return run


def test_an_error_of_all_is_told_once_and_goes_into_the_launchers_table(
    ends: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    assert ends(1, Failure("disk full")) == (1, "aa: disk full\n")
    assert ends(0, Failure("disk full")) == (1, "")
    assert ends(2, ENDED) == (1, "")  # the cause is known
    for rank in (0, 1):
        about = json.loads((tmp_path / "0" / str(rank) / "error.json").read_text())["message"]
        assert about["message"] == "aa: disk full" and about["errorCode"] == 1
        assert int(about["extraInfo"]["timestamp"]) > 1.7e9
    assert not (tmp_path / "0" / "2" / "error.json").exists()
    assert ends(0, Failure("again"), "1")[1] == "aa: again\n"  # of another attempt


def test_one_that_lost_another_speaks_if_nobody_else_does(
    ends: Callable[..., tuple[int, str]],
) -> None:
    """Such as where the other was killed."""
    assert ends(1, ENDED) == (1, "aa: another process has ended\n")
    assert ends(2, ENDED) == (1, "")


def test_a_stop_is_told_by_the_first(
    ends: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ends(1, KeyboardInterrupt()) == (130, "")
    code, said = ends(0, KeyboardInterrupt())
    assert code == 130 and said.startswith("aa: stopped")
    assert ends(1, ENDED) == (1, "")  # it ended because the first had stopped
    monkeypatch.delenv("TORCHELASTIC_ERROR_FILE")  # another launcher
    monkeypatch.setattr(launcher, "ERROR_FILE", "NONE")
    assert ends(1, Failure("full"))[1] == "aa: full\n" and ends(1, KeyboardInterrupt())[1] == ""


def test_pytorchs_launcher_reads_the_error(
    ends: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

    ends(0, Failure("disk full"))
    file = tmp_path / "0" / "0" / "error.json"
    failure = ProcessFailure(local_rank=0, pid=1, exitcode=1, error_file=str(file))
    assert "traceback : aa: disk full" in str(ChildFailedError("aa", {0: failure}))
