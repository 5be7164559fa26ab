from pathlib import Path

import numpy as np
import pytest

from animateanywhere.core.errors import UsageError
from animateanywhere.core.frame_size import square
from animateanywhere.media import video
from animateanywhere.pose import skeleton
from animateanywhere.preprocessing import model_files
from animateanywhere.preprocessing.captions.template import (
    ACTIONS,
    OBJECTS,
    SCENES,
    Description,
    background_captions,
    fill_template,
)
from animateanywhere.preprocessing.crop import crop_boxes, crop_frames, crop_keypoints
from animateanywhere.preprocessing.driving import read_driving
from animateanywhere.preprocessing.masks import segment
from animateanywhere.preprocessing.pose import detect, mediapipe
from tests.conftest import needs_blazepose
from tests.pose.test_skeleton import pose as standing

REAL = Path(__file__).parents[3] / "shared" / "real"


def real(name):
    needs_blazepose()
    if not (REAL / name).is_file():
        pytest.skip(f"{REAL / name} is not there: real clips are not part of the project")
    return REAL / name


def test_captions_name_the_scene_and_not_the_appearance():
    assert fill_template("man", Description("in a room")) == "a <token> man in a room"
    assert (
        fill_template("person", Description("a forest.", "dancing"))
        == "a <token> person dancing in a forest"
    )
    assert fill_template("person", Description()) == "a <token> person"
    holding = fill_template("man", Description("on a stage", "singing", ("a guitar",)))
    assert holding == "a <token> man singing with a guitar on a stage"


def test_background_captions_vary_objects_and_actions():
    captions = background_captions("sks", "man")
    assert len(set(captions)) == len(captions) == 12 * len(SCENES)
    assert all("sks man" in text and any(text.endswith(p) for p in SCENES) for text in captions)
    assert sum(any(thing in text for thing in OBJECTS) for text in captions) == len(captions) / 2
    assert sum(any(f" {a} " in text for a in ACTIONS) for text in captions) == len(captions) * 2 / 3
    assert sum(text.startswith("a sks man") for text in captions) == len(captions) / 2


def test_unknown_backends_are_refused():
    frames = np.zeros((1, 32, 32, 3), np.uint8)
    with pytest.raises(UsageError, match="mediapipe, vitpose"):
        detect.estimate_poses(frames, backend="guess")
    with pytest.raises(UsageError, match="mediapipe, grounded-sam"):
        segment.extract(frames, np.zeros((1, 18, 3)), np.ones((1, 3)), square(8), backend="guess")


def test_missing_and_damaged_files_are_reported_with_the_command(monkeypatch, tmp_path):
    frames = np.zeros((1, 32, 32, 3), np.uint8)
    monkeypatch.setenv("AA_CACHE", str(tmp_path))
    monkeypatch.setattr(model_files, "find_spec", lambda name: object())
    with pytest.raises(
        UsageError, match=r"pose_detection\.tflite is missing: run `aa models fetch`"
    ):
        mediapipe.extract(frames)
    model_files.folder().mkdir(parents=True)
    for file in model_files.FILES:
        (model_files.folder() / file.name).write_bytes(bytes(file.size))
    with pytest.raises(UsageError, match=r"tflite is damaged: run `aa models fetch`"):
        mediapipe.extract(frames)
    monkeypatch.setattr(model_files, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"litert is not installed.*pip install .*\[offline\]"):
        mediapipe.extract(frames)


def test_landmarks_are_converted_to_openpose_keypoints():
    points = np.zeros((33, 4))
    points[:, 3] = 0.9
    points[12, :2], points[11, :2] = (0.4, 0.3), (0.6, 0.5)  # shoulders: right, left
    points[27, :2] = (0.7, 1.2)  # left ankle below the frame
    points[[7, 8], 0] = 0.6, 0.4
    points[0, 2] = -0.2  # the nose is nearer than the ears: a face
    out = mediapipe._openpose(points, height=100, width=200)
    assert out[1] == pytest.approx([100, 40, 0.9], abs=1e-4)  # neck between the shoulders
    assert out[2, :2] == pytest.approx([80, 30])
    assert out[13, 2] == 0
    assert (out[[0, 14, 15], 2] > 0).all()
    points[0, 2] = 0.2
    assert (mediapipe._openpose(points, 100, 200)[[0, 14, 15], 2] == 0).all()  # from behind


def test_a_person_who_stays_gets_a_fixed_crop():
    keypoints = standing(8)
    where = crop_boxes(keypoints, 128, 128)
    assert np.ptp(where, axis=0).max() == 0
    moved = crop_keypoints(keypoints, where, square(128))
    assert (moved[..., 2] == 1).all()
    assert 0.6 < np.ptp(moved[0, :, 1]) / 128 < 0.95


def test_the_crop_follows_a_walking_person():
    keypoints = standing(20)
    keypoints[..., 0] += 30 * np.arange(20)[:, None]
    where = crop_boxes(keypoints, 140, 760)
    assert np.ptp(where[:, 2]) == 0
    assert np.ptp(where[:, 0]) > 300
    assert (np.diff(where[:, 0]) >= 0).all()
    assert (crop_keypoints(keypoints, where, square(64))[..., 2] > 0).mean() > 0.97


def test_frames_and_keypoints_are_cropped_consistently():
    frames = np.zeros((1, 40, 20, 3), np.uint8)
    frames[0, :, :10] = 200
    frames[0, 20, 15] = 255
    where = np.array([[10.0, 20.0, 40.0]])
    out = crop_frames(frames, where, square(80))
    assert out.shape == (1, 80, 80, 3)
    assert np.abs(out[0, :, :36].astype(int) - 200).max() < 3  # Lanczos rings a little
    point = np.zeros((1, 18, 3), np.float32)
    point[0, 0] = 15.5, 20.5, 1
    x, y = crop_keypoints(point, where, square(80))[0, 0, :2].astype(int)
    assert out[0, y, x, 0] > 200


def test_a_driving_poses_json_keeps_its_speed(tmp_path):
    keypoints = standing(24)
    keypoints[:, :, 0] += np.arange(24)[:, None]
    skeleton.write_poses(tmp_path / "a.json", skeleton.Poses(keypoints, 128, 128, 24.0))
    out = read_driving(tmp_path / "a.json", fps=8)
    assert (out.kind, len(out.keypoints)) == ("poses.json", 8)
    assert out.keypoints[1, 0, 0] - out.keypoints[0, 0, 0] == 3
    assert len(read_driving(tmp_path / "a.json", fps=8, frames=5).keypoints) == 5


def test_a_driving_skeleton_video(tmp_path):
    keypoints = standing(6, scale=2)
    keypoints[:, 4, 0] += np.arange(6)
    video.write(tmp_path / "a.mp4", skeleton.draw(keypoints, 256, 256), 8)
    out = read_driving(tmp_path / "a.mp4", fps=8)
    assert out.kind == "openpose18"
    assert np.abs(out.keypoints - keypoints)[1:-1, 1:14, :2].max() < 3


def test_where_a_driving_skeleton_is_not_found_is_said(tmp_path, capsys):
    pictures = skeleton.draw(standing(8, scale=2), 256, 256)
    pictures[5] = 0
    video.write(tmp_path / "a.mp4", pictures, 8)
    read_driving(tmp_path / "a.mp4", fps=8)
    said = " ".join(capsys.readouterr().err.split())
    assert "a.mp4: an OpenPose skeleton is not found in frame 5: the pose of the nearest" in said


def test_one_of_two_drawn_people_who_cross_is_followed(tmp_path, place, empty_cache, capsys):
    """Two skeletons change sides; red and blue are exchanged, as cv2 writes an RGB picture."""
    frames, size = 16, 320
    across = np.linspace(0, 300, frames, dtype=np.float32)[:, None]
    one, two = standing(frames, scale=2), standing(frames, scale=1.8)
    one[..., 0] += across
    two[..., 0] += 330 - across
    one[:, 4, 1] -= 3 * np.arange(frames)
    pictures = skeleton.draw(two, size, 640)
    over = skeleton.draw(one, size, 640)
    pictures = np.where(over.max(-1, keepdims=True) > 60, over, pictures)[..., ::-1]
    video.write(tmp_path / "a.mp4", np.ascontiguousarray(pictures), 8)
    for number, truth in ((1, one), (2, two)):
        out = read_driving(tmp_path / "a.mp4", fps=8, person=number)
        apart = np.hypot(*(out.keypoints - truth)[..., :2].transpose(2, 0, 1))
        assert np.median(apart) < 3
        assert np.median(apart, axis=1).max() < 25  # while they pass through each other
    said = " ".join(capsys.readouterr().err.split())
    assert "red and blue exchanged, detected in 16 of 16 frames; person 1 of 2 is followed" in said
    assert (empty_cache / "user" / "people" / "a.png").is_file()
    read_driving(tmp_path / "a.mp4", fps=8)
    assert "of 2 persons, person 1, the most prominent" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(UsageError, match=r"--person 3: 2 persons are seen in .*people/a\.png"):
        read_driving(tmp_path / "a.mp4", fps=8, person=3)


def failing(name):
    path = REAL.parent / "failing" / name
    if not path.is_file():
        pytest.skip(f"{path} is not there: real clips are not part of the project")
    needs_blazepose()
    return path


def test_one_of_two_real_dancers_is_followed(place):
    from animateanywhere.preprocessing.clothes import colors

    path = failing("two_dancers.mp4")
    frames = video.read(path, fps=8).frames
    seen = []
    for number in (1, 2):
        keypoints = read_driving(path, 8.0, person=number).keypoints
        pairs = zip(frames, keypoints, strict=True)
        cloth = [colors(frame, pose[None])[0, 3:6] for frame, pose in pairs]
        seen.append(np.array(cloth).mean(1))  # of the shirt: cream or white
    gray = [np.nanmedian(cloth) for cloth in seen]
    assert abs(gray[0] - gray[1]) > 15
    for own, middle, other in zip(seen, gray, gray[::-1], strict=True):
        known = own[np.isfinite(own)]
        assert (np.abs(known - middle) < np.abs(known - other)).mean() > 0.9


def test_part_maps_are_rejected_and_unknown_colors_used_unchanged(tmp_path, capsys):
    parts = np.full((4, 128, 128, 3), (68, 1, 84), np.uint8)
    parts[:, 30:70, 40:80] = (31, 158, 137)
    parts[:, 70:110, 40:80] = (253, 231, 37)
    bars = np.zeros((4, 128, 128, 3), np.uint8)
    bars[:, 20:100, 40:44], bars[:, 20:100, 80:84] = (255, 153, 51), (0, 255, 0)
    video.write(tmp_path / "a.mp4", parts, 8)
    with pytest.raises(UsageError, match="DensePose"):
        read_driving(tmp_path / "a.mp4", fps=8)
    video.write(tmp_path / "b.mp4", bars, 8)
    out = read_driving(tmp_path / "b.mp4", fps=8)
    assert out.kind == "foreign" and out.pictures is not None
    assert np.abs(out.pictures.astype(float) - bars).mean() < 8
    assert not out.keypoints.any()
    assert "used unchanged" in " ".join(capsys.readouterr().err.split())


def test_a_driving_video_without_a_person_is_rejected(tmp_path):
    needs_blazepose()
    noise = np.random.default_rng(0).integers(90, 160, (4, 96, 128, 3), np.uint8)
    video.write(tmp_path / "a.mp4", noise, 8)
    with pytest.raises(UsageError, match="no skeleton and no person"):
        read_driving(tmp_path / "a.mp4", fps=8)


def test_people_and_pose_on_a_real_clip(capfd):
    frames = video.read(real("AnyCharV/dance1.mp4"), max_frames=3, fps=2).frames
    keypoints, persons = detect.estimate_poses(frames)
    assert persons == 1
    assert (keypoints[:, :14, 2] > 0.3).mean() > 0.9
    assert (keypoints[:, 10, 1] > keypoints[:, 8, 1]).all()
    where = crop_boxes(keypoints, *frames.shape[1:3])
    masks = segment.extract(frames, keypoints, where, square(96))
    assert masks.shape == (3, 96, 96) and 0.05 < masks.mean() < 0.5
    x, y = crop_keypoints(keypoints, where, square(96))[0, 8, :2].astype(int)
    assert masks[0, y, x] > 0.8
    assert "INFO" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("name", "count"), [("magic-animate/multi1_source.png", 2), ("mmpose/animalpose_ca110.jpeg", 0)]
)
def test_counting_people_in_real_pictures(name, count):
    assert len(detect.find_people(video.read(real(name)).frames).tracks) == count
