import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO

import pytest

from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.core.messages import reporting_to
from animateanywhere.core.reporter import Events
from animateanywhere.core.run_folder import MARK, VIDEOS, is_running, mark, owned, read_mark


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_folder_with_other_files_is_refused_and_unchanged(tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "train.py").write_text("print()")
    (tmp_path / "run.json").write_text("{}")
    before = contents(tmp_path)
    wanted = pytest.raises(UsageError, match=r"contains other files, such as run\.json")
    with wanted as caught, owned(tmp_path, "personalize"):
        raise AssertionError("entered")
    assert contents(tmp_path) == before and "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="is a file"), owned(tmp_path / "run.json", "demo"):
        pass
    below = tmp_path / "run.json" / "run"
    with pytest.raises(UsageError, match=r"run\.json is a file"), owned(below, "demo"):
        pass
    with owned(tmp_path, "personalize", lambda folder: (folder / "run.json").is_file()):
        pass  # of an earlier version
    assert json.loads((tmp_path / MARK).read_text())["command"] == "personalize"


def test_a_folder_is_of_one_command(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "run"
    for _ in range(2):
        with owned(folder, "personalize"):
            (folder / "weights").touch()
    with pytest.raises(UsageError, match="is not a folder of `aa demo`"), owned(folder, "demo"):
        pass
    (folder / MARK).write_text("damaged")
    with pytest.raises(UsageError), owned(folder, "personalize"):
        pass


def test_a_folder_of_videos_may_be_taken_over(tmp_path: Path) -> None:
    mark(tmp_path / "sks", VIDEOS)
    (tmp_path / "sks" / "video.mp4").touch()
    with owned(tmp_path / "sks", "personalize"):
        pass
    mark(tmp_path / "sks", VIDEOS)  # it is not empty: nothing is done
    assert json.loads((tmp_path / "sks" / MARK).read_text())["command"] == "personalize"


def test_an_unused_folder_is_removed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), owned(tmp_path / "run", "demo"):
        raise KeyboardInterrupt
    assert not (tmp_path / "run").exists()


def test_one_owner_until_its_process_ends(tmp_path: Path) -> None:
    """The second process is refused and named the first; kill -9 releases the folder."""
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from animateanywhere.core.run_folder import owned\n"
        "with owned(Path(sys.argv[1]), 'demo'):\n    print(flush=True)\n    time.sleep(60)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert child.stdout is not None and child.stdout.readline() == b"\n"
    refused = pytest.raises(Failure, match=f"in use by process {child.pid} of aa: wait")
    with refused, owned(tmp_path, "demo"):
        raise AssertionError("entered")
    assert (tmp_path / MARK).is_file()
    child.send_signal(signal.SIGKILL)
    child.communicate()
    with owned(tmp_path, "demo"):
        assert json.loads((tmp_path / MARK).read_text())["process"] == os.getpid()


def test_a_file_system_without_locks_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*given: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", none)
    events = Events()
    with reporting_to(events), owned(tmp_path, "demo"):
        pass
    assert "no locks on this file system" in str(events.__dict__)


def test_what_a_killed_process_left_is_cleared_by_the_next_owner(tmp_path: Path) -> None:
    """Half-written files and folders go; a folder that was being replaced is there again."""
    run = tmp_path / "run"
    mark(run, "personalize")
    (run / "training" / ".vae.0123abcd.part").mkdir(parents=True)
    (run / "training" / ".checkpoint.0123abcd.part.safetensors").write_bytes(b"half")
    (run / ".subject.0123abcd.old").mkdir()
    (run / ".subject.0123abcd.old" / "frame.png").write_bytes(b"one")
    (run / ".notes.part").write_bytes(b"of somebody else")
    with owned(run, "personalize"):
        assert contents(run).keys() == {MARK, ".notes.part", "subject/frame.png"}
        assert list((run / "training").iterdir()) == []


def test_a_process_killed_before_it_wrote_its_mark_leaves_a_usable_folder(tmp_path: Path) -> None:
    (tmp_path / MARK).touch()
    with owned(tmp_path, "personalize"):
        (tmp_path / "weights").touch()
    assert json.loads((tmp_path / MARK).read_text())["command"] == "personalize"


def test_the_mark_is_never_empty(tmp_path: Path) -> None:
    """On a full disk, it could not be written again and the folder would be refused forever."""
    mark(tmp_path, "personalize")
    (tmp_path / "weights").touch()
    code = (
        "import resource, sys\nfrom pathlib import Path\n"
        "from animateanywhere.core.run_folder import owned\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "with owned(Path(sys.argv[1]), 'personalize'):\n    pass\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "File too large" in ended.stderr
    with owned(tmp_path, "personalize"):
        assert (tmp_path / MARK).stat().st_size


def test_a_disk_that_is_full_from_the_start_is_named(tmp_path: Path) -> None:
    """And no empty folder is left."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    try:
        (folder / MARK).symlink_to("/dev/full")  # Linux: there is never place on it
        (folder / MARK).open("a").close()
    except OSError as error:
        pytest.skip(f"no /dev/full ({error})")
    with pytest.raises(Failure, match=f"disk full while writing {folder}"), owned(folder, "corpus"):
        raise AssertionError("the folder is not owned")
    assert not folder.exists()


def test_a_lock_on_a_mark_that_was_removed_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last owner leaves an unused folder between the opening of the mark and the lock on it."""
    folder, lock = tmp_path / "run", fcntl.flock
    left = []

    def late(file: IO[str], kind: int) -> None:
        if not left:
            left.append(file)
            (folder / MARK).unlink()
            folder.rmdir()
        lock(file, kind)

    monkeypatch.setattr("fcntl.flock", late)
    with owned(folder, "demo"):
        (folder / "result").touch()
        with pytest.raises(Failure, match="in use"), owned(folder, "demo"):
            raise AssertionError("entered")
    assert left and contents(folder).keys() == {MARK, "result"}


def test_many_owners_one_after_the_other(tmp_path: Path) -> None:
    """Each creates and removes the folder; never two at once, and the only error is that."""
    folder = tmp_path / "run"
    inside: list[int] = []
    most: list[int] = []

    def own(number: int) -> int:
        times = 0
        for _ in range(100):
            with suppress(Failure), owned(folder, "demo"):
                inside.append(number)
                times += 1
                most.append(len(inside))
                inside.remove(number)
        return times

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(own, range(4)))
    assert max(most) == 1 and not folder.exists()


def test_looking_at_a_folder_keeps_nobody_out(tmp_path: Path) -> None:
    """`is_running` takes the lock for a moment, on a busy machine for a longer one."""
    with owned(tmp_path / "run", "demo"):
        (tmp_path / "run" / "result").touch()
        assert is_running(tmp_path / "run")
    assert not is_running(tmp_path / "run")
    with (tmp_path / "run" / MARK).open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        timer = threading.Timer(0.08, fcntl.flock, (file, fcntl.LOCK_UN))
        timer.start()
        with owned(tmp_path / "run", "demo"):
            timer.join()


def test_the_mark_tells_whether_a_command_came_to_its_end(tmp_path: Path) -> None:
    with owned(tmp_path, "demo"):
        (tmp_path / "result").touch()
        assert read_mark(tmp_path) == ("demo", os.getpid(), False)
    assert read_mark(tmp_path) == ("demo", os.getpid(), True)
    with pytest.raises(KeyboardInterrupt), owned(tmp_path, "demo"):
        raise KeyboardInterrupt
    assert read_mark(tmp_path) == ("demo", os.getpid(), False)
    with pytest.raises(Failure), owned(tmp_path, "demo"):
        raise Failure("the disk is full")
    assert read_mark(tmp_path) == ("demo", os.getpid(), False)
    (tmp_path / MARK).write_text("[" * 3000)
    assert read_mark(tmp_path) is None


@pytest.mark.parametrize("ended", [True, False, None])
def test_wrong_use_leaves_the_mark_as_it_was(tmp_path: Path, ended: bool | None) -> None:
    (tmp_path / "result").touch()
    (tmp_path / MARK).write_text(json.dumps({"command": "demo", "process": 7, "ended": ended}))
    with pytest.raises(UsageError), owned(tmp_path, "demo"):
        raise UsageError("such a file is of no use")
    assert read_mark(tmp_path) == ("demo", 7, ended)


def test_wrong_use_at_first_is_no_end(tmp_path: Path) -> None:
    with pytest.raises(UsageError), owned(tmp_path / "run", "demo"):
        (tmp_path / "run" / "people.png").touch()
        raise UsageError("which person is not said")
    assert read_mark(tmp_path / "run") == ("demo", os.getpid(), False)
