import errno
import hashlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from animateanywhere.core import files
from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.core.files import (
    cache_place,
    folder_aside,
    require_free,
    require_writable,
    sha256,
    write_aside,
)


def test_write_aside_replaces_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "new" / "clip.mp4"
    with write_aside(path) as part:
        assert part.parent == path.parent and part.suffix == ".mp4"
        part.write_bytes(b"one")
        assert not path.exists()
    with write_aside(path) as part:
        part.write_bytes(b"two")
        assert path.read_bytes() == b"one"
    assert path.read_bytes() == b"two"
    assert os.listdir(path.parent) == ["clip.mp4"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_write_aside_keeps_the_old_file_on_an_exception(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"old")
    with pytest.raises(error), write_aside(path) as part:
        part.write_bytes(b"half")
        raise error
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == [path.name]


def test_write_aside_leaves_the_old_file_whole_when_killed(tmp_path: Path) -> None:
    path = tmp_path / "state.bin"
    path.write_bytes(b"old")
    code = (
        "import sys, time\nfrom animateanywhere.core.files import write_aside\n"
        "with write_aside(sys.argv[1]) as part:\n"
        "    part.write_bytes(b'half')\n    print('writing', flush=True)\n    time.sleep(60)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    assert child.stdout is not None and child.stdout.readline() == b"writing\n"
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert path.read_bytes() == b"old"


WRITE = """
import sys, time
from animateanywhere.core import files
with getattr(files, sys.argv[1])(sys.argv[2]) as part:
    (part / "0.png" if part.is_dir() else part).write_bytes(b"half")
    part.with_name("silent").write_bytes(b"more") if part.parent.name != "place" else None
    print(flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("write", ["write_alone", "folder_aside"])
def test_what_a_killed_process_left_goes_at_the_next_time_and_a_running_ones_stays(
    tmp_path: Path, write: str
) -> None:
    path = tmp_path / "place" / ("x.mp4" if write == "write_alone" else "x")

    def start() -> subprocess.Popen[bytes]:
        child = subprocess.Popen([sys.executable, "-c", WRITE, write, str(path)],
                                 stdout=subprocess.PIPE)  # fmt: skip
        assert child.stdout is not None and child.stdout.readline() == b"\n"
        return child

    def write_it() -> None:
        with getattr(files, write)(path) as part:
            (part / "0.png" if part.is_dir() else part).write_bytes(b"whole")

    running, killed = start(), start()
    assert len(os.listdir(path.parent)) == 2
    killed.kill()
    killed.communicate()
    other = path.with_name(".y.mp4.0123abcd.part")  # of another file
    other.mkdir()
    write_it()
    left = [place for place in path.parent.iterdir() if place not in (path, other)]
    assert len(left) == 1 and any(left[0].rglob("*"))  # that of the running one
    running.kill()
    running.communicate()
    write_it()
    assert {*path.parent.iterdir()} == {path, other}


def test_write_aside_refuses_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"), write_aside(tmp_path):
        pass


def test_a_full_disk_is_one_failure_and_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(Failure, match=r"disk full while writing .*out\.bin"),
        write_aside(tmp_path / "out.bin") as part,
    ):
        part.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(Failure, match="disk full"), folder_aside(tmp_path / "out") as folder:
        (folder / "a").touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(Failure, match="disk full"), write_aside(tmp_path / "out.bin"):
        raise RuntimeError("Error while serializing: No space left on device (os error 28)")
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")
def test_the_system_itself_says_that_the_disk_is_full(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="disk full"), write_aside(tmp_path / "out.bin") as part:
        part.symlink_to("/dev/full")
        part.write_bytes(b"x")
    assert os.listdir(tmp_path) == []


def test_folder_aside_replaces_the_whole_folder(tmp_path: Path) -> None:
    path = tmp_path / "subject"
    with folder_aside(path) as part:
        (part / "frames").mkdir()
        (part / "frames" / "0.png").write_bytes(b"one")
        assert not path.exists()
    with folder_aside(path) as part:
        (part / "subject.toml").write_bytes(b"two")
        assert (path / "frames" / "0.png").read_bytes() == b"one"
    assert os.listdir(path) == ["subject.toml"]
    assert os.listdir(tmp_path) == ["subject"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_folder_aside_keeps_the_old_folder_on_an_exception(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "subject"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(error), folder_aside(path) as part:
        (part / "half").touch()
        raise error
    assert os.listdir(path) == ["old"]
    assert os.listdir(tmp_path) == ["subject"]


def test_folder_aside_keeps_other_files_of_a_process_killed_while_replacing(tmp_path: Path) -> None:
    path, old = tmp_path / "export", tmp_path / ".export.0123abcd.old"
    for folder, names in ((path, ["lora"]), (old, ["lora", "notes.txt"])):
        folder.mkdir()
        for name in names:
            (folder / name).write_text(folder.name)
    (tmp_path / ".export.4567abcd.part").mkdir()
    with folder_aside(path, ["lora"]) as part:
        (part / "lora").write_text("new")
    assert os.listdir(tmp_path) == ["export"]
    assert (path / "lora").read_text() == "new"
    assert (path / "notes.txt").read_text() == old.name


def test_folder_aside_refuses_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(UsageError, match="is a file"), folder_aside(path):
        pass


def test_sha256_of_more_than_one_buffer(tmp_path: Path) -> None:
    data = bytes(range(256)) * 4096
    (tmp_path / "x").write_bytes(data)
    assert sha256(tmp_path / "x") == hashlib.sha256(data).hexdigest()


def test_require_writable_makes_nothing(tmp_path: Path) -> None:
    require_writable(tmp_path)
    require_writable(tmp_path / "a" / "b")
    assert os.listdir(tmp_path) == []


def test_require_writable_refuses_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match=r"cannot write to .*not a (folder|directory)"):
            require_writable(folder)


def test_require_writable_refuses_a_locked_folder() -> None:
    folder = tempfile.mkdtemp()
    user = os.geteuid()
    os.chmod(folder, 0o555)
    try:
        if user == 0:
            os.seteuid(65534)  # root may write anywhere
        for below in (folder, f"{folder}/new"):
            with pytest.raises(UsageError, match="cannot write to .*permission denied"):
                require_writable(below)
    finally:
        os.seteuid(user)
        shutil.rmtree(folder)


def test_errors_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError) as caught:
        require_writable(tmp_path / "file" / str(time.time_ns()))
    assert "\n" not in str(caught.value)


def test_what_users_put_into_a_folder_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "subject"
    (path / "frames").mkdir(parents=True)
    (path / "frames" / "7.png").touch()
    (path / "contact.png").touch()
    (path / "notes.txt").write_text("mine")
    with folder_aside(path, {"frames", "contact.png"}) as part:
        (part / "frames").mkdir()
    assert sorted(os.listdir(path)) == ["frames", "notes.txt"]
    assert (path / "notes.txt").read_text() == "mine" and not os.listdir(path / "frames")
    assert os.listdir(tmp_path) == ["subject"]


@pytest.mark.parametrize("umask, mode", [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_modes_of_files_follow_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    """safetensors writes 0600 always."""
    before = os.umask(umask)
    try:
        with write_aside(tmp_path / "a.safetensors") as part:
            save_file({"x": torch.ones(1)}, part)
        with folder_aside(tmp_path / "b") as folder:
            save_file({"x": torch.ones(1)}, folder / "model.safetensors")
    finally:
        os.umask(before)
    for path in (tmp_path / "a.safetensors", tmp_path / "b" / "model.safetensors"):
        assert stat.S_IMODE(path.stat().st_mode) == mode
    assert os.listdir(tmp_path / "b") == ["model.safetensors"]


def test_foreign_files_are_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    require_free(path, overwrite=False)
    path.touch()
    for overwrite, own in ((True, False), (False, True)):
        require_free(path, overwrite, own)
    with pytest.raises(UsageError, match=r"x\.mp4 exists .* --overwrite"):
        require_free(path, overwrite=False)


def test_caches_lie_in_runs_if_there_is_one_or_in_the_users_cache(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "cache_folder", lambda: place / "user")
    own, user = Path("runs/frame_cache"), place / "user" / "frame_cache"
    assert cache_place(own) == user and not list(place.iterdir())
    Path("runs").mkdir()
    assert cache_place(own) == own
    own.touch()  # as in a folder that cannot be written, also for root
    assert cache_place(own) == user
    Path("user").touch()
    with pytest.raises(UsageError, match="set AA_CACHE"):
        cache_place(own)
    own.unlink()
    Path("runs").rmdir()
    assert cache_place(own) == own


@pytest.mark.parametrize(("overwrite", "said"), [(None, "--out"), (False, "--overwrite")])
def test_what_to_do_about_somebody_elses_file_is_what_the_command_can(
    tmp_path: Path, overwrite: bool | None, said: str
) -> None:
    (tmp_path / "page.html").touch()
    with pytest.raises(UsageError) as caught:
        require_free(tmp_path / "page.html", overwrite)
    assert {word.strip(",") for word in str(caught.value).split() if word[:2] == "--"} == {said}


def test_a_file_that_may_not_be_so_large_is_named(tmp_path: Path) -> None:
    """As by `ulimit -f`, or on a file system of small files."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with (
            pytest.raises(OSError, match=r"File too large: .*large\.bin"),
            write_aside(tmp_path / "large.bin") as aside,
        ):
            aside.write_bytes(bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())
