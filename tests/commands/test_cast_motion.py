"""The motion of `aa cast` without `--pose`, and the picture's limbs over what the network draws."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from animateanywhere.cli.main import main
from animateanywhere.commands.cast_motion import rendered_motion
from animateanywhere.media import provenance, video
from animateanywhere.methods.context_anyone.settings import load_recipe
from animateanywhere.pose.keypoints import VISIBLE
from animateanywhere.puppets.caption import MOTION_WORDS
from tests.commands.test_cast import motion, said
from tests.commands.test_swap import write_character, write_pose
from tests.preprocessing.crowd import walker
from tests.preprocessing.test_character import LEGS


@pytest.fixture(name="run")
def cast_run(place: Path, tiny_cast: Path) -> Callable[..., int]:
    def cast(*more: object, prompt: str = "the person walks on a beach") -> int:
        return main(["cast", "a.png", prompt, "--base", str(tiny_cast), *map(str, more)])

    write_character(place / "a.png")
    return cast


@pytest.mark.parametrize("name", MOTION_WORDS)
def test_a_rendered_motion_faces_the_camera_whole_in_the_frame(name: str) -> None:
    prompt = f"the man {MOTION_WORDS[name][0]}"
    points = rendered_motion(prompt, 3, 12, 8.0).keypoints
    assert points.shape == (12, 18, 3)
    assert np.array_equal(points, rendered_motion(prompt, 3, 12, 8.0).keypoints)
    assert not np.array_equal(points, rendered_motion(prompt, 4, 12, 8.0).keypoints)
    seen = points[..., 2] >= VISIBLE
    assert seen[:, [1, 2, 5, 8, 9, 10, 11, 12, 13]].all() and (seen[:, 3] >= seen[:, 4]).all()
    assert (points[seen][:, :2] > 0).all() and (points[seen][:, :2] < 128).all()
    height = points[..., 1].max() - points[:, 1, 1].min()
    assert (45 if name == "sit" else 60) < height < 115
    facing = points[:, 5, 0] - points[:, 2, 0]  # the left shoulder is on the right
    assert (facing[:1] if name == "turn" else facing).min() > 5


def test_a_long_motion_is_one_motion_and_standing_is_still() -> None:
    long, short = (rendered_motion("she jumps", 3, count, 8.0).keypoints for count in (40, 20))
    np.testing.assert_allclose(long[:20], short, atol=1e-3)
    assert np.ptp(long[:, 1, 1]) > 3  # up and down
    assert np.ptp(rendered_motion("she thinks", 3, 16, 8.0).keypoints[:, 1, 1]) < 2


def test_a_motion_and_limbs_are_those_of_prompt_and_picture(
    run: Callable[..., int], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = "--prompt-motion", "--collage"
    assert run(*both, "--out", "a.mp4", "--contact-sheet", "sheet.png") == 0
    assert "motion: the person walks, as rendered people do" in said(capsys)
    about = json.loads((place / "a.json").read_text())
    assert about["motion"]["kind"] == "rendered" and about["collage"] is True
    assert json.loads((place / "a.estimate.json").read_text())["parts"]["limbs"] > 0
    assert run("--prompt-motion", "--no-collage", "--out", "b.mp4") == 0
    assert run("--no-prompt-motion", "--out", "c.mp4") == 0
    assert json.loads((place / "c.json").read_text())["motion"] is None
    composite = "compositeWithTrainedAlgorithmicMedia"
    said_by = [provenance.read(place / name) for name in ("a.mp4", "sheet.png", "b.mp4")]
    assert [one.source == composite for one in said_by if one] == [True, True, False]
    assert about["provenance"]["digital_source_type"].endswith(composite)
    a, b = (video.read(place / name).frames.astype(int) for name in ("a.mp4", "b.mp4"))
    changed = (np.abs(a - b).max(-1) > 60).mean((1, 2))
    assert (changed > 0.01).all() and (changed < 0.5).all()
    assert run(*both, "--out", "d.mp4") == 0
    assert (place / "a.mp4").read_bytes() == (place / "d.mp4").read_bytes()
    assert run("--prompt-motion", "--out", "e.mp4", prompt="the person thinks") == 0
    text = said(capsys)
    assert 'no motion is there for "thinks" (there is one for walk, wave, dance' in text
    assert "the person stands" in text and (place / "e.mp4").is_file()


@pytest.mark.parametrize(
    "prompt, told",
    [
        ("the person sits", "motion: the person sits, as rendered people do; --pose"),
        ("she sings and dances", 'people do; none is there for "sings"; --pose gives another one'),
        ("he runs, then jumps", '"jumps" comes later in the prompt, and is left out'),
        ("a person in a [red] hat", "the prompt names no motion (there is one for walk, wave"),
    ],
)
def test_it_is_said_which_motion_is_used_and_which_is_not(
    prompt: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rendered_motion(prompt, 0, 2, 8.0)
    assert told in said(capsys)


def test_the_background_is_steadied_where_limbs_are_laid(
    run: Callable[..., int], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = "--prompt-motion", "--collage", "--frames", "8"
    assert run(*both, "--out", "a.mp4") == 0  # this base lays no limbs by default
    assert run(*both, "--steady-background", "--out", "b.mp4") == 0
    about = [json.loads((place / name).read_text()) for name in ("a.json", "b.json")]
    assert [one["steady_background"] for one in about] == [False, True]
    a, b = (video.read(place / name).frames.astype(int) for name in ("a.mp4", "b.mp4"))
    corner = np.s_[:, :16, :16]
    change = [np.abs(np.diff(frames[corner], axis=0)).mean() for frames in (a, b)]
    assert change[1] < 0.7 * change[0]
    assert run("--steady-background", "--prompt-motion", "--no-collage", "--out", "c.mp4") == 2
    assert "--steady-background: it needs the person's limbs" in said(capsys)
    assert not (place / "c.mp4").exists()


def test_limbs_need_joints(
    run: Callable[..., int], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--collage", "--no-prompt-motion") == 2
    assert "--collage: nothing says where the joints are" in said(capsys)
    assert run("--prompt-motion", "--pose", motion(place)) == 2
    assert "--pose gives the motion: leave out --prompt-motion" in said(capsys)
    assert run("--collage", "--pose", motion(place), "--out", "a.mp4") == 0
    assert json.loads((place / "a.json").read_text())["collage"] is True
    assert run("--collage", "--whole", "--prompt-motion", "--out", "b.mp4") == 0
    assert "no limbs are laid" in said(capsys)
    assert json.loads((place / "b.json").read_text())["collage"] is False


def cut_motion(place: Path, hidden: tuple[int, ...]) -> Path:
    """A motion that does not show some joints."""
    table = json.loads(motion(place).read_text())
    points = np.array(table["keypoints"])
    points[:, hidden, 2] = 0
    path = place / "cut.json"
    path.write_text(json.dumps(table | {"keypoints": points.tolist()}))
    return path


def test_a_motion_that_shows_no_legs_is_said(
    run: Callable[..., int], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = cut_motion(place, LEGS)
    assert run("--collage", "--pose", path, "--out", "a.mp4") == 0
    assert "cut.json: the motion shows nobody below the hips: the body ends there" in said(capsys)
    write_pose(place / "a.png", walker(4, 1).keypoints, hidden=LEGS)  # nor does the picture
    assert run("--collage", "--pose", path, "--out", "b.mp4") == 0
    text = said(capsys)
    assert "a.png: shows no legs: they are made up" in text and "nobody below" not in text
    assert run("--collage", "--pose", motion(place), "--out", "c.mp4") == 0
    text = said(capsys)  # legs are asked of a picture without
    assert "a.png: shows no legs: they are made up" in text and "nobody below" not in text


def test_a_motion_without_a_torso_carries_no_limbs(
    run: Callable[..., int], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = cut_motion(place, (*LEGS, 8, 11))
    assert run("--collage", "--pose", path) == 2
    assert "--collage: the motion shows no torso, from the neck to the hips" in said(capsys)
    assert run("--pose", path, "--out", "a.mp4") == 0
    assert "nobody below the waist" in said(capsys)


def test_a_base_that_says_so_does_both_where_it_can(
    place: Path, tiny_cast: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `recipes/mini-cast.toml` asks for. One that follows no pose does neither, without a word
    of options that nobody gave."""
    recipe = load_recipe("mini-cast")
    assert recipe.cast.prompt_motion and recipe.cast.collage
    write_character(place / "a.png")
    base = shutil.copytree(tiny_cast, place / "base")
    about = base / "base.toml"
    about.write_text(about.read_text().replace(" = false", " = true"))
    run = ["cast", "a.png", "the person walks", "--base", str(base), "--out"]
    assert main([*run, "a.mp4"]) == 0
    text = said(capsys)
    assert "motion: the person walks" in text and "picture's own limbs are laid" in text
    assert json.loads((place / "a.json").read_text())["steady_background"] is True
    assert main([*run, "b.mp4", "--no-prompt-motion"]) == 0
    assert "no limbs are laid" in said(capsys)
    config = base / "transformer" / "config.json"
    table = json.loads(config.read_text()) | {"pose_channels": 0}
    config.write_text(json.dumps(table))
    weights = base / "transformer" / "diffusion_pytorch_model.safetensors"
    save_file({k: v for k, v in load_file(weights).items() if "pose_embedding" not in k}, weights,
              {"format": "pt"})  # fmt: skip
    assert main([*run, "c.mp4"]) == 0
    assert json.loads((place / "c.json").read_text())["motion"] is None
    assert main([*run, "d.mp4", "--prompt-motion"]) == 2
    assert "follows no pose: leave out --prompt-motion" in said(capsys)
