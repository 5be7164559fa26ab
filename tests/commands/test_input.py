"""Which part of an input is used, and what prepare and driving make of its alpha and its gaps."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from animateanywhere.commands.prepare import prepare
from animateanywhere.core.errors import UsageError
from animateanywhere.core.findings import read_findings
from animateanywhere.datasets.subject import read_settings
from animateanywhere.media import video
from animateanywhere.media.source import Part
from animateanywhere.pose import skeleton
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.driving import read_driving
from animateanywhere.preprocessing.reference_clip import _outlines, stretch_with_person
from tests.commands.test_prepare import rendered
from tests.media.clips import animation, with_alpha_webm
from tests.pose.test_skeleton import pose as standing


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


def cut_out(path: Path) -> np.ndarray:
    """Turn a rendered clip with files beside it into one with alpha; returns the masks."""
    clip = path.with_name("opaque.mp4")
    _, thick = rendered(clip)
    grown = thick.copy()
    for axis in (1, 2):
        for step in (-3, 3):
            grown |= np.roll(thick, step, axis)
    frames = np.concatenate([video.read(clip).frames, grown[..., None].astype(np.uint8) * 255], -1)
    if path.suffix == ".webm":
        with_alpha_webm(path, frames, "libvpx-vp9")
    else:
        animation(path, frames, "WEBP", delay=125)
    clip.with_suffix(".poses.json").rename(path.with_suffix(".poses.json"))
    return grown


@pytest.mark.parametrize("suffix", ["webm", "webp"])
def test_alpha_that_cuts_out_the_person_is_the_mask(
    suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip, out = tmp_path / f"a.{suffix}", tmp_path / "out"
    masks = cut_out(clip)
    subject = prepare(clip, out, fps=30 if suffix == "webm" else 8)
    assert "masks: the alpha channel of the clip" in said(capsys)
    assert read_settings(out)["mask"] == "alpha"
    assert np.abs(subject.masks - masks[: len(subject.masks)]).mean() < 0.03
    assert (np.abs(subject.frames[~masks].astype(int) - 128) < 9).all()  # nothing comes back


def test_alpha_that_is_something_else_is_no_outline(tmp_path: Path) -> None:
    """Rounded corners, a title, a hole where the person is."""
    keypoints, _ = rendered(tmp_path / "opaque.mp4")
    person = cut_out(tmp_path / "a.webp").astype(np.uint8) * 255
    corners = np.full_like(person, 255)
    corners[:, :9, :9] = 0
    title = np.zeros_like(person)
    title[:, -20:] = 255
    given = [_outlines(alpha, keypoints) for alpha in (person, corners, title, 255 - person)]
    assert given == [True, False, False, False]


def late(path: Path, absent: int, present: int) -> None:
    """A clip with exact poses of a figure that comes after `absent` frames, 8 a second."""
    rendered(path, absent + present)
    poses = skeleton.read_poses(path.with_suffix(".poses.json"))
    poses.keypoints[:absent] = 0
    skeleton.write_poses(path.with_suffix(".poses.json"), poses)


@pytest.mark.parametrize("absent", [100, 40])
def test_a_person_who_comes_late_is_found(
    absent: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = tmp_path / "a.mp4"
    late(clip, absent, 80)
    subject = prepare(clip, tmp_path / "out")
    assert f"comes into view at {absent / 8:.1f} s, used from there on" in said(capsys)
    assert len(subject.frames) >= 60


def test_nobody_in_the_first_seconds_of_a_long_clip_names_the_option(tmp_path: Path) -> None:
    clip = tmp_path / "a.mp4"
    late(clip, 100, 0)
    with pytest.raises(UsageError, match="seen in 0 of 64 frames.*--start chooses another part"):
        prepare(clip, tmp_path / "out")


def test_what_is_left_out_is_said_unless_it_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip, out = tmp_path / "a.mp4", tmp_path / "out"
    keypoints, thick = rendered(clip, 80)
    assert len(prepare(clip, out).frames) == 64
    assert "a.mp4: 0 to 8 s of 10 s are used, the most that is learned from" in said(capsys)
    subject = prepare(clip, out, part=Part(4.0, 16))
    assert "are used" not in said(capsys)
    assert np.abs(subject.keypoints - keypoints[32:48]).max() < 0.01
    assert np.abs(subject.masks - thick[32:48]).mean() < 0.05  # masks of the same part


def test_a_folder_of_frames_with_its_rate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = tmp_path / "a.mp4"
    keypoints, _ = rendered(clip, 24)
    folder = tmp_path / "frames"
    folder.mkdir()
    for index, frame in enumerate(video.read(clip).frames):
        Image.fromarray(frame).save(folder / f"frame_{index + 1}.png")
    poses = skeleton.Poses(keypoints, 128, 128, 16.0)
    skeleton.write_poses(tmp_path / "frames.poses.json", poses)
    clip.with_suffix(".masks.mp4").rename(tmp_path / "unused.mp4")
    (tmp_path / "frames.masks").mkdir()
    for index in range(24):
        Image.new("L", (128, 128), 10 * index).save(tmp_path / f"frames.masks/{index + 1}.png")
    subject = prepare(folder, tmp_path / "out", part=Part(fps=16))
    assert len(subject.frames) == 12
    assert np.abs(subject.keypoints - keypoints[::2]).max() < 0.01
    assert np.allclose(subject.masks[:, 0, 0] * 255, np.arange(0, 240, 20), atol=1)
    assert "taken as" not in said(capsys)
    (tmp_path / "frames.poses.json").unlink()
    skeleton.write_poses(tmp_path / "frames.poses.json", poses._replace(fps=8.0))
    prepare(folder, tmp_path / "out")
    assert "taken as 8 a second; --input-fps sets another rate" in said(capsys)


def test_motion_does_not_jump_over_frames_that_were_left_out() -> None:
    keypoints = standing(20)
    times = np.delete(np.arange(24) / 8, [8, 9, 10, 11])
    assert stretch_with_person(keypoints, times, 8) == slice(8, 20)


def test_a_damaged_clip_is_learned_from_its_whole_part_and_findings_say_so(tmp_path: Path) -> None:
    clip, out = tmp_path / "a.mp4", tmp_path / "out"
    rendered(clip, 24)
    data = clip.read_bytes()
    clip.write_bytes(data[: len(data) * 7 // 10])
    subject = prepare(clip, out)
    assert 8 <= len(subject.frames) < 24
    assert any("truncated: 30% of the file" in finding.text for finding in read_findings(out))


def test_the_limit_and_the_part_of_a_motion(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("animateanywhere.preprocessing.driving.MAX_FRAMES", 16)
    keypoints = standing(24, scale=2)
    keypoints[:, :, 0] += np.arange(24)[:, None]
    video.write(tmp_path / "a.mp4", skeleton.draw(keypoints, 256, 256), 8)
    poses = skeleton.Poses(keypoints, 256, 256, 8.0)
    skeleton.write_poses(tmp_path / "a.json", poses)
    for name in ("a.mp4", "a.json"):
        whole = read_driving(tmp_path / name, fps=8)
        assert len(whole.keypoints) == 16
        assert f"{name}: 0 to 2 s of 3 s are used" in said(capsys)
        part = read_driving(tmp_path / name, fps=8, frames=4, part=Part(1.0))
        assert "are used" not in said(capsys)
        assert np.abs(part.keypoints - keypoints[8:12])[:, 1:14, :2].max() < 3
        with pytest.raises(UsageError, match=r"nothing is left after 9 s; it lasts 3\.0 s"):
            read_driving(tmp_path / name, fps=8, part=Part(9.0))
    fast = read_driving(tmp_path / "a.json", fps=8, part=Part(fps=24))
    assert len(fast.keypoints) == 8


def test_a_motion_keeps_its_pace_over_damaged_frames(tmp_path: Path) -> None:
    keypoints = standing(12, scale=2)
    keypoints[:, :, 0] += 3 * np.arange(12)[:, None]
    for index, picture in enumerate(skeleton.draw(keypoints, 256, 256)):
        Image.fromarray(picture).save(tmp_path / f"{index}.png")
    (tmp_path / "5.png").write_bytes(b"\x89PNG\r\n")
    motion = read_driving(tmp_path, fps=8)
    assert len(motion.keypoints) == 12
    assert np.abs(motion.keypoints - keypoints)[7:11, 1:14, :2].max() < 4


def test_a_person_who_comes_late_into_a_folder_of_frames(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also in the search, a picture is shown as long as everywhere."""
    clip = tmp_path / "a.mp4"
    late(clip, 100, 30)
    (tmp_path / "frames").mkdir()
    for index, frame in enumerate(video.read(clip).frames):
        Image.fromarray(frame).save(tmp_path / f"frames/{index}.png")
    clip.with_suffix(".poses.json").rename(tmp_path / "frames.poses.json")
    backends = Backends(mask="exact")
    (tmp_path / "frames.masks").mkdir()
    for index in range(130):
        Image.new("L", (128, 128), 200).save(tmp_path / f"frames.masks/{index}.png")
    subject = prepare(tmp_path / "frames", tmp_path / "out", backends=backends)
    assert "comes into view at 12.5 s, used from there on" in said(capsys)
    assert len(subject.frames) == 30
