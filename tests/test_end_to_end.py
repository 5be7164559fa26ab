"""The user's three commands, verbatim, on a tiny base; and what each says to bad input."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from animateanywhere.cli import main
from animateanywhere.core.paths import EXAMPLES
from animateanywhere.media import video
from tests.conftest import needs_blazepose


@pytest.fixture
def place(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a clip, a driving video and a base that `aa base-train tiny` left."""
    shutil.copytree(trained, tmp_path / "runs" / "base", ignore=shutil.ignore_patterns("corpus"))
    for name in ("mp4", "masks.mp4", "poses.json"):
        shutil.copy(EXAMPLES / f"reference.{name}", tmp_path / f"my_video.{name}")
    shutil.copy(EXAMPLES / "driving.mp4", tmp_path / "dance.mp4")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def aa(line: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    capsys.readouterr()
    code = main.main(line)
    return code, capsys.readouterr().err


def test_the_three_commands(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = aa(["personalize", "my_video.mp4", "--token", "sks"], capsys)
    assert code == 0
    assert (place / "runs/sks/personal.safetensors").is_file()
    line = ["generate", "sks man on a beach", "--pose", "dance.mp4"]
    short = ["--frames", "6", "--steps", "2"]
    code, said = aa([*line, *short, "--contact-sheet", "sheet.png"], capsys)
    assert code == 0 and "runs/sks/personal.safetensors" in said
    made = place / "runs/sks/sks-man-on-a-beach-0.mp4"
    first = made.read_bytes()
    assert video.read(made).frames.shape == (6, 64, 64, 3)
    assert json.loads(made.with_suffix(".json").read_text())["seed"] == 0
    assert (place / "sheet.png").stat().st_size > 1000
    assert aa([*line, *short], capsys)[0] == 0
    assert made.read_bytes() == first  # the same seed, the same bytes
    assert aa([*line, *short, "--seed", "1"], capsys)[0] == 0
    assert (place / "runs/sks/sks-man-on-a-beach-1.mp4").read_bytes() != first


def _missing(path: Path) -> None:
    pass


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _text(path: Path) -> None:
    path.write_text("not a video\n" * 100)


def _truncated(path: Path) -> None:
    path.write_bytes((EXAMPLES / "reference.mp4").read_bytes()[:3000])


def _sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _nobody(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 60, (24, 96, 96, 3), dtype=np.uint8)
    video.write(path, noise, 8)


@pytest.mark.parametrize("spoil", [_missing, _empty, _text, _truncated, _sound, _nobody])
@pytest.mark.parametrize("command", ["personalize", "generate", "prepare"])
def test_bad_clips_end_in_one_line(
    command: str,
    spoil: Callable[[Path], None],
    place: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if spoil is _nobody:
        needs_blazepose()
    clip = place / "my clip ü.mp4"
    spoil(clip)
    lines = {
        "personalize": ["personalize", str(clip), "--token", "sks"],
        "generate": ["generate", "a man on a beach", "--pose", str(clip)],
        "prepare": ["prepare", str(clip), "--out", "subject"],
    }
    code, said = aa(lines[command], capsys)
    assert code == 2, said
    last = said.strip().splitlines()[-1]
    assert last.startswith("aa: ") and "Traceback" not in said
    assert not list(place.rglob("*.safetensors.part")) and not (place / "runs/sks").is_file()
    assert not list(place.glob("runs/*/*.mp4"))


def test_several_weights_and_bases_are_told_apart(
    place: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert aa(["personalize", "my_video.mp4", "--token", "sks"], capsys)[0] == 0
    weights = "runs/sks/personal.safetensors"
    line = ["generate", "sks man", "--pose", "dance.mp4", "--weights", weights]
    code, said = aa([*line, "--base", str(tiny_base)], capsys)
    assert code == 2 and "another one" in said
    Path("foreign.safetensors").write_bytes(Path(weights).read_bytes()[:500])
    code, said = aa([*line[:-1], "foreign.safetensors"], capsys)
    assert code == 2 and "foreign.safetensors" in said
    code, said = aa(["personalize", "my_video.mp4", "--token", "man"], capsys)
    assert code == 2 and "man" in said
