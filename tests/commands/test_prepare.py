import json
import re

import numpy as np
import pytest
from PIL import Image

from animateanywhere.commands.prepare import prepare
from animateanywhere.core.errors import UsageError
from animateanywhere.core.frame_size import square
from animateanywhere.datasets.subject import read_subject
from animateanywhere.media import video
from animateanywhere.pose import skeleton
from animateanywhere.preprocessing.backends import Backends
from tests.conftest import needs_blazepose
from tests.pose.test_skeleton import pose as standing
from tests.preprocessing.test_detectors import failing, real


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


def by_hand(out):
    return json.loads((out / "made.json").read_text())["by_hand"]


def correct(out):
    """Correct a mask, a pose and a caption manually."""
    Image.new("L", (128, 128), 255).save(out / "masks" / "0003.png")
    poses = json.loads((out / "poses.json").read_text())
    poses["keypoints"][5][4] = [7.0, 9.0, 1.0]
    (out / "poses.json").write_text(json.dumps(poses))
    lines = (out / "captions.jsonl").read_text().splitlines()
    lines[0] = '{"frame": 0, "caption": "a <token> man juggling"}'
    (out / "captions.jsonl").write_text("\n".join(lines))


def test_manual_corrections_are_kept_and_marked(tmp_path, capsys):
    clip, out = tmp_path / "a.mp4", tmp_path / "out"
    rendered(clip)
    before = prepare(clip, out)
    assert not any(by_hand(out).values())
    correct(out)
    marked = {"frame": [], "mask": [3], "pose": [5], "caption": [0]}
    for settings in ({}, {}, {"scene": "in a room"}, {"scene": "in a room"}):
        after = prepare(clip, out, **settings)
        assert after.masks[3].min() == 1 and after.captions[0] == "a <token> man juggling"
        assert after.keypoints[5, 4] == pytest.approx([7, 9, 1])
        assert by_hand(out) == marked
        assert "mask 3; pose 5; caption 0" in " ".join(capsys.readouterr().err.split())
        assert np.array_equal(read_subject(out).masks, after.masks)
    assert after.captions[1] == "a <token> person in a room"
    rest = [index for index in range(12) if index not in (3, 5)]
    assert np.array_equal(after.keypoints[rest], before.keypoints[rest])
    page = (out / "report.html").read_text()
    assert page.count("mask corrected</span>") == 2  # in the list and at its frame


def test_a_correction_taken_back_is_forgotten(tmp_path):
    clip, out = tmp_path / "a.mp4", tmp_path / "out"
    rendered(clip)
    truth = prepare(clip, out)
    correct(out)
    prepare(clip, out)
    (out / "masks" / "0003.png").unlink()
    (out / "poses.json").unlink()
    again = prepare(clip, out)
    assert by_hand(out) == {"frame": [], "mask": [], "pose": [], "caption": [0]}
    assert np.array_equal(again.masks, truth.masks)
    assert np.array_equal(again.keypoints, truth.keypoints)


def test_corrections_are_never_lost_silently(tmp_path):
    clip, out = tmp_path / "a.mp4", tmp_path / "out"
    rendered(clip)
    prepare(clip, out)
    correct(out)
    with pytest.raises(UsageError, match="contains 3 manual corrections"):
        prepare(clip, out, size=square(64))
    assert read_subject(out).masks[3].min() == 1
    Image.new("L", (64, 64), 255).save(out / "masks" / "0003.png")
    with pytest.raises(UsageError, match=r"0003.png: not 128 x 128 pixels"):
        prepare(clip, out, scene="in a room")
    (out / "masks" / "0003.png").write_bytes(b"no")
    with pytest.raises(UsageError, match=r"0003.png: a damaged PNG"):
        prepare(clip, out)
    (out / "masks" / "0003.png").unlink()
    (out / "captions.jsonl").write_text('{"caption": "a"}\n')
    with pytest.raises(UsageError, match="1 captions for 12 frames"):
        prepare(clip, out)


def test_frames_of_one_still_moment_are_distinguished(tmp_path):
    clip, out = tmp_path / "a.mp4", tmp_path / "out"
    rendered(clip)
    pictures = video.read(clip).frames
    pictures[3:6] = pictures[3]
    video.write(clip, pictures, 8, crf=0)
    prepare(clip, out)
    Image.new("L", (128, 128), 255).save(out / "masks" / "0004.png")
    masks = prepare(clip, out, scene="in a room").masks
    assert masks[4].min() == 1 and masks[3].min() == 0 == masks[5].min()


def test_the_report_is_self_contained_and_escapes(tmp_path):
    clip, out = tmp_path / "<b>a&b.mp4", tmp_path / "out"
    rendered(clip)
    prepare(clip, out, scene="in a <i>room")
    page = (out / "report.html").read_text()
    assert "&lt;b&gt;a&amp;b.mp4" in page and "<i>" not in page
    assert page.count("<figure") == 12 and page.count("<polyline") == 3
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert addresses and all(one.startswith(("data:image/", "#f")) for one in addresses)


def test_a_late_second_person_is_left_out_or_masked_out(tmp_path, capsys):
    clip = failing("walk_in.mp4")
    alone = prepare(clip, tmp_path / "alone", size=square(64))
    assert 20 <= len(alone.frames) <= 24
    said = " ".join(capsys.readouterr().err.split())
    assert "2 persons of comparable size (person 1 in frames 0 to 30, 2 in frames 2" in said
    assert f"one person in {len(alone.frames)} frames" in said
    assert (tmp_path / "alone-people.png").is_file()
    chosen = prepare(clip, tmp_path / "chosen", size=square(64), person=1)
    assert len(chosen.frames) == 31
    areas = chosen.masks.mean((1, 2))
    assert areas[24:].mean() < 1.3 * areas[:20].mean()
    assert "person 1 alone, the others masked out" in " ".join(capsys.readouterr().err.split())


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    clip, out = tmp_path / "a.mp4", tmp_path / "out"
    rendered(clip)
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="contains other files"):
        prepare(clip, out)
    assert (out / "thesis.txt").read_text() == "years of work"


def test_damaged_subject_folders_are_named(tmp_path):
    clip, out = tmp_path / "a.mp4", tmp_path / "out"
    rendered(clip)
    prepare(clip, out)
    poses = skeleton.read_poses(out / "poses.json")
    skeleton.write_poses(out / "poses.json", poses._replace(width=2 * poses.width))
    with pytest.raises(UsageError, match=r"poses.json is of pictures of 256 x 128 pixels"):
        read_subject(out)
    skeleton.write_poses(out / "poses.json", poses)
    (out / "masks" / "0000.png").unlink()
    with pytest.raises(UsageError, match="12 frames, 11 masks"):
        read_subject(out)
    (out / "masks" / "0001.png").write_bytes(b"no")
    with pytest.raises(UsageError, match="damaged"):
        read_subject(out)
    with pytest.raises(UsageError, match="not a subject folder"):
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
    with pytest.raises(UsageError, match="an OpenPose skeleton, not a person"):
        prepare(clip, out)
    with pytest.raises(UsageError, match="no such file"):
        prepare(tmp_path / "b.mp4", out)
    Image.new("RGB", (64, 64)).save(tmp_path / "b.png")
    with pytest.raises(UsageError, match="single picture"):
        prepare(tmp_path / "b.png", out)
    with pytest.raises(UsageError, match="exact: there is no b.poses"):
        (tmp_path / "b.mp4").write_bytes(b"0")
        prepare(tmp_path / "b.mp4", out, backends=Backends(pose="exact"))
    assert not out.exists()


def test_nobody(tmp_path):
    needs_blazepose()
    noise = np.random.default_rng(0).integers(90, 160, (10, 96, 128, 3), np.uint8)
    video.write(tmp_path / "a.mp4", noise, 8)
    with pytest.raises(UsageError, match="no person found: seen in 0 of 10 frames"):
        prepare(tmp_path / "a.mp4", tmp_path / "out")


def test_two_real_persons(tmp_path):
    picture = video.read(real("magic-animate/multi1_source.png"), size=256).frames[0]
    moved = np.stack([np.roll(picture, shift, axis=1) for shift in range(9)])
    video.write(tmp_path / "a.mp4", moved, 8)
    with pytest.raises(UsageError, match=r"2 persons of comparable size.*--person N"):
        prepare(tmp_path / "a.mp4", tmp_path / "out")


def test_a_real_clip_without_feet(tmp_path, capsys):
    clip = video.read(real("AnyCharV/dance1_upper.mp4"), max_frames=9, fps=8, size=256)
    video.write(tmp_path / "a.mp4", clip.frames, 8)
    subject = prepare(tmp_path / "a.mp4", tmp_path / "out")
    assert "feet" in capsys.readouterr().err
    assert 0.1 < subject.masks.mean() < 0.6
