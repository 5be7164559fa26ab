"""The motion of `aa cast` without `--pose`, and the picture's limbs over what the network draws."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from animateanywhere.cli.main import main
from animateanywhere.commands.cast_motion import rendered_motion, verb_of
from animateanywhere.media import video
from animateanywhere.pose.keypoints import VISIBLE
from tests.commands.test_cast import motion, said
from tests.commands.test_swap import write_character


@pytest.fixture(name="run")
def cast_run(place: Path, tiny_cast: Path) -> Callable[..., int]:
    def cast(*more: object, prompt: str = "the person walks on a beach") -> int:
        return main(["cast", "a.png", prompt, "--base", str(tiny_cast), *map(str, more)])

    write_character(place / "a.png")
    return cast


@pytest.mark.parametrize(
    "prompt, name",
    [
        ("the person walks on a beach", "walk"), ("a man is dancing on a stage", "dance"),
        ("she waved", "wave"), ("running in a dance hall", "run"), ("doing squats", "squat"),
        ("a woman lifts her arms", "raise"), ("sitting", "sit"), ("a man poses", "idle"),
        ("the person is doing yoga", None), ("", None), ("a standard in a park", None),
    ],
)  # fmt: skip
def test_the_verb_of_a_prompt_names_a_motion(prompt: str, name: str | None) -> None:
    assert verb_of(prompt) == name


def test_a_rendered_motion_moves_whole_in_the_frame_and_by_the_seed() -> None:
    first, again, other = (rendered_motion("she jumps", seed, 16, 8.0) for seed in (3, 3, 4))
    points = first.keypoints
    assert points.shape == (16, 18, 3) and np.array_equal(points, again.keypoints)
    assert not np.array_equal(points, other.keypoints)
    seen = points[..., 2] >= VISIBLE
    assert seen[:, [1, 2, 5, 8, 9, 10, 11, 12, 13]].all() and (seen[:, 3] >= seen[:, 4]).all()
    assert (points[seen][:, :2] > 0).all() and (points[seen][:, :2] < first.size).all()
    assert np.ptp(points[:, 1, 1]) > 3  # up and down
    still = rendered_motion("she thinks", 3, 16, 8.0).keypoints
    assert np.ptp(still[:, 1, 1]) < 2


def test_a_motion_and_limbs_are_those_of_prompt_and_picture(
    run: Callable[..., int], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--motion", "--collage", "--out", "a.mp4", "--contact-sheet", "sheet.png") == 0
    assert "motion: the person walks, as rendered people do" in said(capsys)
    about = json.loads((place / "a.json").read_text())
    assert about["motion"]["kind"] == "rendered" and about["collage"] is True
    assert run("--motion", "--no-collage", "--out", "b.mp4") == 0
    assert run("--no-motion", "--out", "c.mp4") == 0
    assert json.loads((place / "c.json").read_text())["motion"] is None
    a, b = (video.read(place / name).frames.astype(int) for name in ("a.mp4", "b.mp4"))
    changed = (np.abs(a - b).max(-1) > 60).mean((1, 2))
    assert (changed > 0.03).all() and (changed < 0.5).all()
    assert run("--motion", "--collage", "--out", "d.mp4") == 0
    assert (place / "a.mp4").read_bytes() == (place / "d.mp4").read_bytes()
    assert run("--motion", "--out", "e.mp4", prompt="the person thinks") == 0
    assert "no motion is known for the prompt" in said(capsys) and (place / "e.mp4").is_file()


def test_limbs_need_joints(
    run: Callable[..., int], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--collage", "--no-motion") == 2
    assert "--collage: it needs joints" in said(capsys)
    assert run("--collage", "--pose", motion(place), "--out", "a.mp4") == 0
    assert json.loads((place / "a.json").read_text())["collage"] is True
    assert run("--collage", "--whole", "--motion", "--out", "b.mp4") == 0
    assert "no limbs are laid" in said(capsys)
    assert json.loads((place / "b.json").read_text())["collage"] is False
