import colorsys
import json

import numpy as np
import pytest

from animateanywhere import puppets
from animateanywhere.core.errors import UsageError
from animateanywhere.media import video
from animateanywhere.pose import body, openpose_drawing, skeleton
from animateanywhere.pose.skeleton_video import inspect, recognize, recover, recover_people

STANDING = np.array([
    (64, 25), (64, 38), (52, 38), (45, 55), (40, 70), (76, 38), (88, 50), (96, 35), (56, 72),
    (52, 95), (50, 118), (72, 72), (78, 92), (74, 116), (60, 20), (68, 20), (54, 23), (74, 23),
], np.float32)  # fmt: skip


def pose(frames=1, scale=1.0):
    points = np.concatenate([STANDING * scale, np.ones((18, 1), np.float32)], axis=1)
    return np.repeat(points[None], frames, axis=0)


def test_drawing_style_is_frozen():
    """Every base was trained on this drawing style: a change requires training all bases again."""
    picture = skeleton.draw(pose(), 128, 128)[0]
    assert picture.shape == (128, 128, 3)
    for joint in (4, 7, 10, 13):  # discs are at full color
        x, y = STANDING[joint].astype(int)
        assert np.abs(picture[y, x].astype(int) - skeleton.COLORS[joint]).max() <= 1
    middle = ((STANDING[1] + STANDING[8]) / 2).astype(int)  # limbs at 0.6 of theirs
    assert np.abs(picture[middle[1], middle[0]] - skeleton.COLORS[6] * 0.6).max() < 12
    assert picture.mean() == pytest.approx(4.21, abs=0.02)
    # a vertical limb is 2.5 pixels wide
    line = np.zeros((1, 18, 3), np.float32)
    line[0, [1, 8]] = (64, 20, 1), (64, 100, 1)
    assert skeleton.draw(line, 128, 128)[0, 60, :, 1].sum() / (255 * 0.6) == pytest.approx(
        2.5, abs=0.1
    )


def test_invisible_keypoints_and_their_limbs_are_not_drawn():
    points = pose()
    points[0, 4, 2] = 0
    before, after = skeleton.draw(pose(), 128, 128)[0], skeleton.draw(points, 128, 128)[0]
    x, y = STANDING[4].astype(int)
    assert before[y, x].max() == 255
    assert after[y, x].max() == 0
    assert skeleton.draw(points * 0, 64, 64).max() == 0


def test_keypoints_out_of_frame_and_nan_are_handled():
    points = pose()
    points[..., 0] -= 60
    points[0, 3, 0] = np.nan
    assert skeleton.draw(points, 128, 128).any()


def test_drawing_scales_with_the_height():
    small, large = skeleton.draw(pose(), 128, 128)[0], skeleton.draw(pose(scale=4), 512, 512)[0]
    shrunk = large.reshape(128, 4, 128, 4, 3).mean((1, 3))
    assert np.abs(shrunk - small).mean() < 1.0


def test_poses_json_round_trip_and_errors(tmp_path):
    path = tmp_path / "pösen.json"
    skeleton.write_poses(path, skeleton.Poses(pose(3), 128, 96, 8.0))
    back = skeleton.read_poses(path)
    assert np.array_equal(back.keypoints, pose(3))
    assert (back.width, back.height, back.fps) == (128, 96, 8.0)
    assert not back.filled.any()
    filled = np.zeros((3, 18), bool)
    filled[1, 4] = True
    skeleton.write_poses(path, skeleton.Poses(pose(3), 128, 96, 8.0, filled))
    assert np.array_equal(skeleton.read_poses(path).filled, filled)
    good = json.loads(path.read_text())
    for change in ({"format": "coco"}, {"keypoints": []}, {"fps": 0}, {"width": None},
                   {"filled": [[1]]}, {"filled": 3}):  # fmt: skip
        path.write_text(json.dumps(good | change))
        with pytest.raises(UsageError, match="json"):
            skeleton.read_poses(path)
    path.write_text("{")
    with pytest.raises(UsageError, match="not a JSON file"):
        skeleton.read_poses(path)


HOSTILE = {
    "fps must be": [{"fps": value} for value in (float("nan"), float("inf"), 1e300, 1e-9)],
    "width and height must be": [{"width": value} for value in (0, 2**40, 10**400)],
    "not a finite number": [{"keypoints": [[[float("nan"), 1, 1]] * 18]}],
    "far outside": [{"keypoints": [[[1e30, 1, 1]] * 18]}],
    "21 persons": [{"keypoints": [[[[1, 1, 1]] * 18] * 21]}],
}


def test_hostile_numbers_in_poses_json_are_refused_by_name(tmp_path):
    path = tmp_path / "poses.json"
    skeleton.write_poses(path, skeleton.Poses(pose(3), 128, 96, 8.0))
    good = json.loads(path.read_text())
    for message, changes in HOSTILE.items():
        for change in changes:
            path.write_text(json.dumps(good | change))
            with pytest.raises(UsageError, match=message):
                skeleton.read_all_poses(path)
    path.write_text("[" * 100_000)
    with pytest.raises(UsageError, match="nested too deeply"):
        skeleton.read_all_poses(path)
    with path.open("wb") as file:
        file.truncate(skeleton.MAX_BYTES + 1)
    with pytest.raises(UsageError, match="64 MB can be read"):
        skeleton.read_all_poses(path)
    path.write_text("\ufeff" + json.dumps(good), encoding="utf-8")  # as Windows writes it
    assert skeleton.read_all_poses(path).width == 128


@pytest.mark.parametrize("size", [256, 512])
def test_drawn_skeletons_are_recognized_and_recovered(size):
    points = pose(2, scale=size / 128)
    pictures = skeleton.draw(points, size, size)
    assert recognize(pictures) == "openpose18"
    found = recover(pictures)
    body = slice(1, 14)
    assert (found[:, body, 2] > 0).all()
    assert np.abs(found[:, body, :2] - points[:, body, :2]).max() < 0.01 * size


@pytest.mark.parametrize("background", [0, 255])
@pytest.mark.parametrize("size", [256, 512])
def test_drawings_whose_limbs_have_the_full_color_are_read(size, background, monkeypatch):
    monkeypatch.setattr(openpose_drawing, "SHADE", 1.0)
    points = pose(2, scale=size / 128)
    pictures = openpose_drawing.draw(points, size, size)
    pictures[pictures.max(-1) == 0] = background
    for step in (1, -1):
        drawing = inspect(pictures[..., ::step])
        assert (drawing.kind, drawing.exchanged) == ("openpose18", step == -1)
        for found, truth in zip(
            recover_people(pictures[..., ::step], drawing), points, strict=True
        ):
            assert len(found) == 1 and (found[0, 1:14, 2] > 0).all()
            assert np.abs(found[0, 1:14, :2] - truth[1:14, :2]).max() < 0.02 * size


def hands_and_face(pictures, keypoints):
    """DWPose's extras: rainbow fingers with blue joints beyond the wrists, white dots of a face."""
    size = pictures.shape[1]
    out = pictures.astype(np.float32)
    for picture, points in zip(out, keypoints, strict=True):
        for elbow, wrist in ((3, 4), (6, 7)):
            if (points[[elbow, wrist], 2] < 0.5).any():
                continue
            along = points[wrist, :2] - points[elbow, :2]
            angle = np.arctan2(along[1], along[0])
            for finger in range(5):
                way = angle + (finger - 2) * 0.3
                step = 0.012 * size * np.array([np.cos(way), np.sin(way)])
                for bone in range(4):
                    a, b = points[wrist, :2] + bone * step, points[wrist, :2] + (bone + 1) * step
                    hue = (finger * 4 + bone) / 20
                    color = np.array(colorsys.hsv_to_rgb(hue, 1, 1), np.float32) * 255
                    skeleton._capsule(picture, a, b, 0.002 * size, color)
                    blue = np.array((0, 0, 255), np.float32)
                    skeleton._capsule(picture, b, b, 0.004 * size, blue)
        if points[0, 2] > 0.5:
            for turn in np.linspace(0, 2 * np.pi, 30):
                dot = points[0, :2] + 0.04 * size * np.array([np.cos(turn), np.sin(turn)])
                skeleton._capsule(picture, dot, dot, 0.003 * size, np.full(3, 255, np.float32))
    return out.astype(np.uint8)


@pytest.mark.parametrize(("palette", "size"), [("openpose18", 256), ("openpose18", 512),
                                               ("dwpose", 512)])  # fmt: skip
@pytest.mark.parametrize("compressed", [False, True], ids=["as drawn", "H.264"])
def test_joints_of_people_in_motion_are_recovered(palette, size, compressed, tmp_path):
    """Puppets hide limbs behind the body; joints below a hidden joint are recovered too."""
    right = seen = invented = 0
    for seed in range(8):
        spec = puppets.sample_spec(seed, split="held-out")
        points = puppets.render(spec, frames=4, size=128).keypoints
        points[..., :2] *= size / 128
        pictures = skeleton.draw(points, size, size)
        if palette == "dwpose":
            pictures = hands_and_face(pictures, points)
        if compressed:
            video.write(tmp_path / "a.mp4", pictures, 8)
            pictures = video.read(tmp_path / "a.mp4").frames
        found = recover(pictures)
        shown, there = points[..., 2] > 0.5, found[..., 2] > 0.5
        near = np.hypot(*(found - points)[..., :2].transpose(2, 0, 1)) <= 0.02 * size
        right, seen = right + (near & there)[shown].sum(), seen + shown.sum()
        invented += (there & ~shown).sum()
    assert right / seen >= (0.9 if compressed and size == 256 else 0.95)
    assert invented <= 0.03 * seen


def test_hidden_limbs_stay_hidden():
    points = pose(scale=4)
    points[0, [3, 4, 10], 2] = 0
    found = recover(skeleton.draw(points, 512, 512))[0]
    assert (found[[3, 4, 10], 2] == 0).all()
    assert (found[[2, 9], 2] > 0).all()


def test_dwpose_foreign_densepose_and_real_footage_are_distinguished():
    drawn = skeleton.draw(pose(2, scale=4), 512, 512)
    face = drawn.copy()
    face[:, 60:110:6, 230:290] = 255  # white dots of a face
    assert recognize(face) == "dwpose"
    three = np.zeros_like(drawn)
    for index, color in enumerate(((255, 153, 51), (0, 128, 255), (0, 255, 0))):
        three[:, 60:400, 150 + 90 * index : 156 + 90 * index] = color
    assert recognize(three) == "foreign"
    parts = np.full_like(drawn, (68, 1, 84))
    parts[:, 100:300, 150:250] = (31, 158, 137)
    parts[:, 300:400, 150:250] = (253, 231, 37)
    assert recognize(parts) == "densepose"
    assert recognize(np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3), np.uint8)) is None
    assert recognize(np.zeros((2, 64, 64, 3), np.uint8)) is None
    assert recover(np.zeros((1, 64, 64, 3), np.uint8)).max() == 0


def test_the_heatmap_covers_the_body():
    pose = np.zeros((1, 18, 3), np.float32)
    pose[0, [1, 8, 9, 10]] = [(64, 24, 1), (64, 64, 1), (64, 84, 1), (64, 104, 1)]  # a plumb line
    warm = skeleton.heat(pose, 128, 16)[0]
    assert warm.shape == (16, 16) and warm.min() == 0 and warm.max() == 1
    # Cells are 8 pixels, the line lies between columns 7 and 8 and is 80 long: 1 up to 8 pixels
    # away, 0 from 16 on.
    np.testing.assert_allclose(warm[8, 5:11], [0, 0.5, 1, 1, 0.5, 0], atol=1e-6)
    assert warm[0].max() == 0 and warm[15].max() == 0
    pose[..., 2] = 0
    assert skeleton.heat(pose, 128, 16).max() == 0  # no person


def in_full_view(seed, size, frames=3):
    """Keypoints of a rendered person, all of them drawn, as other tools draw them."""
    spec = puppets.sample_spec(seed, split="held-out")
    points = puppets.render(spec, frames=frames, size=64).keypoints
    return points * (size / 64, size / 64, 0) + (0, 0, 1)


def drawn_with(monkeypatch, points, size, width):
    """Lines and discs of `width` pixels."""
    monkeypatch.setattr(skeleton, "LIMB_RADIUS", width / 2 / size)
    monkeypatch.setattr(skeleton, "JOINT_RADIUS", width / 2 / size)
    return skeleton.draw(points, size, size)


def near(found, points, size):
    """Share of the keypoints of (F, 18, 3) that were recovered within 2 % of the size."""
    return (np.hypot(*(found - points)[..., :2].transpose(2, 0, 1)) <= 0.02 * size).mean()


@pytest.mark.parametrize(
    ("ground", "width", "extras", "exchanged"),
    [("black", 4, False, True), ("black", 10, False, True), ("black", 4, True, True),
     ("white", 4, False, True), ("white", 10, False, True), ("white", 4, False, False),
     ("photo", 4, False, True), ("photo", 10, False, True), ("photo", 10, False, False)],
)  # fmt: skip
def test_red_and_blue_exchanged_are_recognized(
    ground, width, extras, exchanged, tmp_path, monkeypatch
):
    """Under both orders the colors are the palette's; only one of them connects joints by limbs."""
    points = in_full_view(5, 320)
    pictures = drawn_with(monkeypatch, points, 320, width)
    if extras:
        pictures = hands_and_face(pictures, points)
    if ground != "black":
        spec = puppets.sample_spec(9)
        photo = puppets.render(spec, frames=3, size=80).frames.repeat(4, 1).repeat(4, 2)
        behind = 255 if ground == "white" else photo
        pictures = np.where(pictures.max(-1, keepdims=True) > 60, pictures, behind).astype(np.uint8)
    if exchanged:
        pictures = pictures[..., ::-1]
    video.write(tmp_path / "a.mp4", np.ascontiguousarray(pictures), 8, crf=23)
    frames = video.read(tmp_path / "a.mp4").frames
    drawing = inspect(frames)
    assert drawing.kind in ("openpose18", "dwpose") and drawing.exchanged == exchanged
    found = np.stack([people[0] for people in recover_people(frames, drawing)])
    assert near(found, points, 320) > 0.9


def test_other_palettes_with_many_colors_stay_foreign():
    """The colors of OpenPose on other limbs: joints are not connected by limbs in their colors."""
    points = in_full_view(5, 384)
    colors = np.random.default_rng(0).permutation(skeleton.COLORS)
    pictures = np.zeros((3, 384, 384, 3), np.float32)
    for picture, pose in zip(pictures, points.tolist(), strict=True):
        for (a, b), color in zip(skeleton.LIMBS, colors, strict=False):
            skeleton._capsule(picture, pose[a][:2], pose[b][:2], 4, color * 0.6)
        for joint, color in zip(pose, np.roll(colors, 5, 0), strict=True):
            skeleton._capsule(picture, joint[:2], joint[:2], 4, color.astype(np.float32))
    assert inspect(pictures.astype(np.uint8)).kind == "foreign"


def test_several_drawn_people_are_recovered():
    one, two = in_full_view(5, 320), in_full_view(6, 320)
    two[..., 0] += 240
    pictures = np.maximum(skeleton.draw(one, 384, 640), skeleton.draw(two, 384, 640))
    found = recover_people(pictures, inspect(pictures))
    assert [len(people) for people in found] == [2, 2, 2]
    for points in (one, two):
        ordered = np.stack([
            people[np.abs(people[:, 1, 0] - pose[1, 0]).argmin()]
            for people, pose in zip(found, points, strict=True)
        ])  # fmt: skip
        assert near(ordered, points, 384) > 0.9


def test_one_person_is_never_recovered_as_two():
    for seed in range(4):
        points = puppets.render(puppets.sample_spec(seed), frames=2, size=64).keypoints
        pictures = skeleton.draw(points * (4, 4, 1), 256, 256)
        assert max(map(len, recover_people(pictures, inspect(pictures)))) == 1


def test_of_a_skeleton_with_a_wrong_leg_the_rest_is_kept():
    points = in_full_view(5, 256)
    wrong = points.copy()
    wrong[2, 12:14, :2] = [(2, 2), (250, 2)]  # the left knee and ankle
    kept = body.without_impossible_limbs(wrong)
    hidden = (kept[..., 2] == 0) & (wrong[..., 2] > 0)
    assert np.argwhere(hidden).tolist() == [[2, 12], [2, 13]]
    assert (body.without_impossible_limbs(points) == points).all()
    wrong[2, 1:14, :2] = np.random.default_rng(0).uniform(-900, 900, (13, 2))
    assert not body.without_impossible_limbs(wrong)[2, :, 2].any()


def test_scrambled_skeletons_are_not_human():
    points = in_full_view(5, 256)
    assert body.has_human_limbs(points).all()
    for seed in range(20):
        other = puppets.render(puppets.sample_spec(seed), frames=4, size=64).keypoints
        assert body.has_human_limbs(other).all()
    rng = np.random.default_rng(0)
    scrambled = [body.has_human_limbs(points[:, rng.permutation(18)]) for _ in range(20)]
    assert np.mean(scrambled) < 0.2
    assert not body.has_human_limbs(np.zeros((1, 18, 3))).any()
