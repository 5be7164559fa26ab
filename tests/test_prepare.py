import numpy as np
import pytest
from PIL import Image
from test_extraction import real
from test_skeleton import pose as standing

from animateanywhere.data import skeleton, video
from animateanywhere.data.subject import read_subject
from animateanywhere.errors import UsageError
from animateanywhere.extraction.backends import Backends
from animateanywhere.prepare import prepare


def rendered(path, frames=12, size=128):
    """A clip of a moving figure with exact poses and masks beside it."""
    keypoints = standing(frames, scale=size / 128)
    keypoints[:, 4, 0] += np.arange(frames)
    thick = skeleton.draw(keypoints, size, size).max(-1) > 60
    pictures = np.zeros((frames, size, size, 3), np.uint8)
    pictures[:] = np.random.default_rng(0).integers(60, 200, (size, size, 3))
    pictures[thick] = (230, 40, 40)
    video.write(path, pictures, 8)
    poses = skeleton.Poses(keypoints, size, size, 8.0)
    skeleton.write_poses(path.with_suffix(".poses.json"), poses)
    masks = np.repeat(thick[..., None], 3, -1).astype(np.uint8) * 255
    video.write(path.with_suffix(".masks.mp4"), masks, 8)
    return keypoints, thick


def test_exact_truth_is_taken_as_it_is(tmp_path):
    clip = tmp_path / "mein Clip é.mp4"
    keypoints, thick = rendered(clip)
    subject = prepare(clip, tmp_path / "out", scene="in a room", class_word="man")
    assert subject.frames.shape == (12, 128, 128, 3)
    assert np.abs(subject.keypoints - keypoints).max() < 0.01
    assert np.abs(subject.masks - thick).mean() < 0.05
    assert subject.captions == ["a <token> man in a room"] * 12
    assert (subject.class_word, subject.scene, subject.fps) == ("man", "in a room", 8)
    assert (tmp_path / "out" / "contact.png").is_file()


def test_masks_as_npz(tmp_path):
    clip = tmp_path / "a.mp4"
    _, thick = rendered(clip)
    clip.with_suffix(".masks.mp4").unlink()
    np.savez_compressed(clip.with_suffix(".masks.npz"), masks=thick.astype(np.uint8) * 255)
    assert np.abs(prepare(clip, tmp_path / "out").masks - thick).mean() < 0.01


def test_same_input_keeps_corrections_and_another_setting_does_not(tmp_path):
    clip, out = tmp_path / "a.mp4", tmp_path / "out"
    rendered(clip)
    prepare(clip, out)
    Image.new("L", (128, 128), 255).save(out / "masks" / "0003.png")
    assert prepare(clip, out).masks[3].min() == 1
    assert prepare(clip, out, scene="in a room").masks[3].min() == 0


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    clip, out = tmp_path / "a.mp4", tmp_path / "out"
    rendered(clip)
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="choose another folder"):
        prepare(clip, out)
    assert (out / "thesis.txt").read_text() == "years of work"


def test_damaged_subject_folders_are_named(tmp_path):
    clip, out = tmp_path / "a.mp4", tmp_path / "out"
    rendered(clip)
    prepare(clip, out)
    (out / "masks" / "0000.png").unlink()
    with pytest.raises(UsageError, match="12 frames, 11 masks"):
        read_subject(out)
    (out / "masks" / "0001.png").write_bytes(b"no")
    with pytest.raises(UsageError, match="damaged"):
        read_subject(out)
    with pytest.raises(UsageError, match="no subject folder"):
        read_subject(tmp_path)


def test_bad_clips_are_refused_and_nothing_is_written(tmp_path):
    clip, out = tmp_path / "a.mp4", tmp_path / "out"
    rendered(clip, frames=5)
    with pytest.raises(UsageError, match="too short: 5 different frames"):
        prepare(clip, out)
    video.write(clip, np.repeat(video.read(clip).frames[:1], 20, axis=0), 8)
    with pytest.raises(UsageError, match="too short: 1 different"):
        prepare(clip, out)
    keypoints = standing(12, scale=2)
    keypoints[..., 0] += np.arange(12)[:, None]
    video.write(clip, skeleton.draw(keypoints, 256, 256), 8)
    with pytest.raises(UsageError, match="openpose18 rendering"):
        prepare(clip, out)
    with pytest.raises(UsageError, match="no such file"):
        prepare(tmp_path / "b.mp4", out)
    (tmp_path / "b.png").touch()
    with pytest.raises(UsageError, match="single picture"):
        prepare(tmp_path / "b.png", out)
    with pytest.raises(UsageError, match="exact: no b.poses"):
        (tmp_path / "b.mp4").touch()
        prepare(tmp_path / "b.mp4", out, backends=Backends(pose="exact"))
    assert not out.exists()


def test_nobody(tmp_path):
    pytest.importorskip("mediapipe", reason="mediapipe (extra offline) is not installed")
    noise = np.random.default_rng(0).integers(90, 160, (10, 96, 128, 3), np.uint8)
    video.write(tmp_path / "a.mp4", noise, 8)
    with pytest.raises(UsageError, match="no person found: seen in 0 of 10 frames"):
        prepare(tmp_path / "a.mp4", tmp_path / "out")


def test_two_real_persons(tmp_path):
    picture = video.read(real("magic-animate/multi1_source.png"), size=256).frames[0]
    moved = np.stack([np.roll(picture, shift, axis=1) for shift in range(9)])
    video.write(tmp_path / "a.mp4", moved, 8)
    with pytest.raises(UsageError, match="2 persons seen"):
        prepare(tmp_path / "a.mp4", tmp_path / "out")


def test_a_real_clip_without_feet(tmp_path, capsys):
    clip = video.read(real("AnyCharV/dance1_upper.mp4"), max_frames=9, fps=8, size=256)
    video.write(tmp_path / "a.mp4", clip.frames, 8)
    subject = prepare(tmp_path / "a.mp4", tmp_path / "out")
    assert "feet" in capsys.readouterr().err
    assert 0.1 < subject.masks.mean() < 0.6
