"""Sound, frame rate, loops and formats of `aa generate`."""

import json
from pathlib import Path

import numpy as np
import pytest

from animateanywhere.cli.main import main
from animateanywhere.evaluation.observe import Observed
from animateanywhere.evaluation.targets import _shown, find_targets, requested_motion
from animateanywhere.media.output import write
from animateanywhere.media.sound import read_sound
from animateanywhere.media.video import read
from animateanywhere.methods.animate_anywhere.driving_motion import closes
from animateanywhere.pose.skeleton import Poses, draw, write_poses
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.driving import Driving
from tests.commands.test_generate import walker
from tests.media.test_output import durations, onset, tone


@pytest.fixture
def dance(place: Path) -> Path:
    """A driving skeleton video of 12 frames with a sound that begins after half a second."""
    write(place / "dance.mp4", draw(walker(12) * np.array([2, 2, 1]), 200, 200), 12, 8.0,
          tone(1.5, 0.5))  # fmt: skip
    return place / "dance.mp4"


def make(base: Path, pose: Path, out: str, *flags: str) -> dict[str, object]:
    """Generate a video with one step; returns its sidecar."""
    flags = ("--base", str(base), "--steps", "1", "--out", out, *flags)
    assert main(["generate", "a man", "--pose", str(pose), *flags]) == 0
    record: dict[str, object] = json.loads(Path(out).with_suffix(".json").read_text())
    return record


def test_the_sound_of_the_motion_is_kept_as_long_as_the_video(tiny_base: Path, dance: Path) -> None:
    record = make(tiny_base, dance, "a.mp4", "--frames", "8")
    assert record["output"] == {"format": ".mp4", "fps": 8, "loop": None, "sound": True}
    sound = read_sound(Path("a.mp4"), 2.0)
    assert sound is not None and onset(sound) == pytest.approx(0.5, abs=0.015)
    assert len(read("a.mp4").frames) == 8
    assert not sound.samples[:, 50_000:].any()  # cut after 1 s
    make(tiny_base, dance, "c.mp4", "--frames", "8", "--pose-fps", "16")  # too fast for it
    assert read_sound(Path("c.mp4"), 1.0) is None
    make(tiny_base, dance, "b.mp4", "--frames", "8", "--no-audio")
    assert read_sound(Path("b.mp4"), 1.0) is None
    assert (read("a.mp4").frames == read("b.mp4").frames).all()


def test_the_sidecar_sheet_and_evaluation_follow_rate_and_format(
    tiny_base: Path, dance: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--frames", "4", "--fps", "24", "--contact-sheet", "sheet.png")
    record = make(tiny_base, dance, "a.gif", *flags)
    said = " ".join(capsys.readouterr().err.split())
    assert "frames are repeated, and none is made in between" in said
    assert "sound of dance.mp4 is left out: a file .gif has none" in said
    assert record["frames"] == 4 and record["fps"] == 8
    assert record["output"] == {"format": ".gif", "fps": 24, "loop": None, "sound": False}
    shown = durations(Path("a.gif"))  # equal frames in a row are one
    assert len(shown) == 4 and abs(sum(shown) - 500) <= 10
    assert Path("sheet.png").is_file()
    (target,) = find_targets(Path())
    assert target.video.name == "a.gif"
    assert _shown(record, 4, 12, 24.0).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    # As it is read, without repeated frames
    assert len(read("a.gif").frames) == 4
    assert _shown(record, 4, 4, read("a.gif").fps).tolist() == [0, 1, 2, 3]


def test_sound_and_evaluation_begin_where_the_motion_does(
    tiny_base: Path, dance: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tiny_base, dance, "a.mp4", "--start", "0.25")
    sound = read_sound(Path("a.mp4"), 2.0)
    assert sound is not None and onset(sound) == pytest.approx(0.25, abs=0.015)
    frames = read("a.mp4").frames
    seen = Observed(frames, np.ones(frames.shape[:3]), np.zeros((10, 18, 3), np.float32), 8.0)
    (target,) = find_targets(Path())
    asked = requested_motion(target, dance, seen, Backends(), trusted=False)
    assert len(asked) == len(frames) == 10
    capsys.readouterr()
    make(tiny_base, dance, "b.mp4", "--pose-fps", "16")
    assert "left out: --pose-fps changes the speed" in " ".join(capsys.readouterr().err.split())
    assert len(read("b.mp4").frames) == 6 and read_sound(Path("b.mp4"), 1.0) is None


def test_no_video_loses_its_sidecar_to_one_of_another_format(
    tiny_base: Path, dance: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = make(tiny_base, dance, "a.mp4", "--frames", "2")
    flags = ["--pose", str(dance), "--base", str(tiny_base), "--steps", "1", "--frames", "2"]
    assert main(["generate", "a man", *flags, "--out", "a.gif"]) == 2
    assert "a.json tells how a.mp4 was made" in capsys.readouterr().err
    assert json.loads(Path("a.json").read_text()) == record and not Path("a.gif").exists()
    Path("a.mp4").unlink()
    write(Path("a"), np.zeros((3, 8, 8, 3), np.uint8), 3, 8.0)  # somebody's numbered pictures
    assert main(["generate", "a man", *flags, "--out", "a"]) == 2
    assert "was not written by this command" in capsys.readouterr().err
    assert len(list(Path("a").iterdir())) == 3
    assert make(tiny_base, dance, "a.gif", "--frames", "2")["output"]["format"] == ".gif"  # type: ignore[index]


def test_a_motion_that_does_not_close_plays_forth_and_back(
    tiny_base: Path, dance: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = make(tiny_base, dance, "frames", "--frames", "6", "--loop")
    said = " ".join(capsys.readouterr().err.split())
    assert "the video plays forth and back" in said and "a folder of pictures has none" in said
    wanted = {"format": "", "fps": 8, "loop": "forth and back", "sound": False}
    assert record["output"] == wanted
    pictures = [one.read_bytes() for one in sorted(Path("frames").iterdir())]
    assert len(pictures) == 10 and pictures[1:5] == pictures[:5:-1]
    make(tiny_base, dance, "a.mp4", "--frames", "6", "--loop")
    assert "left out: it cannot play backwards" in " ".join(capsys.readouterr().err.split())


def circling(frames: int) -> np.ndarray:
    """A walker whose arm goes around once."""
    keypoints = np.repeat(walker(1), frames, 0)
    angle = 2 * np.pi * np.arange(frames) / frames
    keypoints[:, 4, 0] += 12 * np.cos(angle)
    keypoints[:, 4, 1] += 12 * np.sin(angle)
    return keypoints


def test_a_motion_that_closes_is_generated_in_a_circle(
    tiny_base: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_poses(place / "arm.json", Poses(circling(10), 100, 100, 8.0))
    record = make(tiny_base, place / "arm.json", "a.mp4", "--loop")
    assert "generated to lead to the beginning" in " ".join(capsys.readouterr().err.split())
    assert record["output"] == {"format": ".mp4", "fps": 8, "loop": "circle", "sound": False}
    plain = make(tiny_base, place / "arm.json", "b.mp4")
    assert plain["output"] == {"format": ".mp4", "fps": 8, "loop": None, "sound": False}
    assert (read("a.mp4").frames != read("b.mp4").frames).any()
    assert len(read("a.mp4").frames) == 10


def test_whether_a_motion_closes() -> None:
    def driving(keypoints: np.ndarray) -> Driving:
        return Driving(keypoints.astype(np.float32), 100, 100, "poses.json")

    assert closes(driving(circling(12))) and not closes(driving(circling(12)[:8]))
    assert not closes(driving(walker(12))) and not closes(driving(walker(2)))
    still = np.repeat(walker(1), 8, 0)
    still[..., :2] += np.random.default_rng(0).normal(0, 0.2, (8, 18, 2))
    assert closes(driving(still))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--out", "a.avi"], ".webm"),
        (["--out", "a.gif", "--fps", "60"], "at most 50"),
        (["--size", "64x64", "--aspect", "1:1"], "give one of them"),
        (["--size", "64"], "512x768"),
        (["--aspect", "tall"], "9:16"),
        (["--fps", "0"], "at least 1"),
    ],
)
def test_wrong_options_end_in_one_line(
    place: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    write_poses(place / "dance.json", Poses(walker(4), 100, 100, 8.0))
    assert main(["generate", "a man", "--pose", "dance.json", *flags]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_negative_prompt_counts_with_guidance(
    tiny_base: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_poses(place / "dance.json", Poses(walker(4), 100, 100, 8.0))
    outs = {}
    for name, flags in {
        "plain": ("--guidance", "3"),
        "negative": ("--guidance", "3", "--negative", "a red ball"),
        "weighted": ("--guidance", "3", "--negative", "a (red:1.5) ball"),
        "without": ("--guidance", "1", "--negative", "a red ball"),
        "alone": ("--guidance", "1"),
    }.items():
        record = make(tiny_base, place / "dance.json", f"{name}.mp4", *flags)
        outs[name] = Path(f"{name}.mp4").read_bytes()
        ignored = "no effect at a guidance scale of 1" in capsys.readouterr().err
        assert ignored == (name == "without")
        assert record["negative"] == (flags[3] if len(flags) > 2 else "")
    assert len({outs[name] for name in ("plain", "negative", "weighted")}) == 3
    assert outs["without"] == outs["alone"]
