"""Each check fires on a case made for it, and not on the clip it was made from."""

import dataclasses
import re

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from animateanywhere import puppets
from animateanywhere.commands.demo import stage_spec
from animateanywhere.commands.prepare import prepare
from animateanywhere.core.findings import read_findings, verdict
from animateanywhere.core.frame_size import Size, square
from animateanywhere.media import video
from animateanywhere.pose.visibility import parts_shown, view_directions, view_shares
from animateanywhere.preprocessing.crop import crop_boxes, crop_frames
from animateanywhere.preprocessing.masks import segment
from animateanywhere.preprocessing.pose import detect
from animateanywhere.preprocessing.quality import footage
from animateanywhere.preprocessing.quality.clip import clip_findings, frame_ranges, frames_in_words
from animateanywhere.preprocessing.quality.motion import motion_findings
from tests.pose.test_skeleton import pose as standing
from tests.preprocessing.test_detectors import real

SIZE = 128


@pytest.fixture(scope="module")
def clip():
    return puppets.render(stage_spec("dance", "street", "none"), frames=16, size=256)


def find(clip, frames=None, keypoints=None, masks=None, where=None):
    """Findings by name about a puppet clip of which something was changed."""
    frames = clip.frames if frames is None else frames
    keypoints = clip.keypoints if keypoints is None else keypoints
    masks = clip.masks if masks is None else masks
    side = frames.shape[1]
    if where is None:
        where = np.tile([side / 2, side / 2, side], (len(frames), 1))
    small = crop_frames(masks, where, square(SIZE)).astype(np.float32) / 255
    found = clip_findings(
        frames, keypoints, where, crop_frames(frames, where, square(SIZE)), small, 8.0
    )
    return {finding.what: finding for finding in found}


def warned(found):
    return {what for what, finding in found.items() if finding.level != "note"}


@pytest.mark.parametrize(("motion", "scene"), [
    ("walk", "beach"), ("dance", "room"), ("jump", "street"), ("turn", "park"), ("run", "desert"),
])  # fmt: skip
def test_a_clean_clip_has_no_warnings(motion, scene):
    made = puppets.render(stage_spec(motion, scene, "none"), frames=16, size=256)
    found = find(made)
    assert warned(found) == set()
    assert "camera" not in found


@pytest.mark.parametrize(
    ("turns", "words"),
    [(1, "90 degrees clockwise"), (2, "180 degrees"), (3, "90 degrees counterclockwise")],
)
def test_a_clip_that_is_not_upright(clip, turns, words):
    """Turned counterclockwise by quarters, as a file whose orientation was lost."""
    x, y, seen = np.moveaxis(clip.keypoints, -1, 0)
    size = clip.frames.shape[1]
    for _ in range(turns):
        x, y = y, size - x
    turned = np.stack([x, y, seen], -1)
    finding = find(clip, np.rot90(clip.frames, turns, (1, 2)), turned)["rotation"]
    assert finding.level == "warning" and f"turn it by {words}:" in finding.text
    assert "rotation" in {found.what for found in motion_findings(turned, square(size))}
    assert "rotation" not in find(clip)


def test_blur(clip):
    for sigma, warned in ((0.5, False), (3.0, True)):  # pixels of 256, twice those of the base
        blurred = np.stack([gaussian_filter(frame, (sigma, sigma, 0)) for frame in clip.frames])
        assert ("blur" in find(clip, blurred)) == warned
    few = clip.frames.copy()
    few[4:7] = [gaussian_filter(frame, (3, 3, 0)) for frame in few[4:7]]  # now and then is no fault
    assert "blur" not in find(clip, few)
    few[:7] = [gaussian_filter(frame, (3, 3, 0)) for frame in few[:7]]
    assert "0 to 6" in find(clip, few)["blur"].text


def test_cuts(clip):
    other = puppets.render(stage_spec("dance", "beach", "none", person=5), frames=16, size=256)
    spliced = np.concatenate([clip.frames[:8], other.frames[8:]])
    found = find(clip, spliced)["cut"]
    assert found.level == "warning"
    assert "cut at 1.0 s;" in found.text
    film = np.stack([(clip, other)[frame // 4 % 2].frames[frame] for frame in range(16)])
    assert find(clip, film)["cut"].level == "unusable"


def test_a_panning_camera_with_a_person_who_stays(clip):
    spec = stage_spec("walk", "street", "none")
    ground = puppets.render(spec, frames=1, size=512).frames[0, 100:356]  # (256, 512, 3)
    person = clip.masks[..., None] / 255
    for step, level in ((0, None), (4, "note"), (14, "warning")):  # pixels of 256 a frame
        behind = np.stack([ground[:, step * k : step * k + 256] for k in range(16)])
        frames = (clip.frames * person + behind * (1 - person)).astype(np.uint8)
        found = find(clip, frames).get("camera")
        assert (found and found.level) == level
        if found is not None:
            percent = int(re.search(r"(\d+)% of", found.text)[1])
            assert percent == pytest.approx(step / 256 * 800, abs=3)  # whole pixels of 160


def test_a_drawing_is_distinguished_from_a_photograph(clip):
    large = puppets.render(stage_spec("dance", "street", "none"), frames=4, size=512)
    assert "drawing" not in find(large)
    assert (
        "looks like a drawing" in find(large, frames=large.frames // 64 * 64 + 40)["drawing"].text
    )
    for name, drawn in (("AnyCharV/cartoon1.jpg", True), ("AnyCharV/human6.jpg", False),
                        ("magic-animate/demo4.png", False)):  # fmt: skip
        frames = video.read(real(name)).frames
        keypoints = detect.estimate_poses(frames)[0]
        where = crop_boxes(keypoints, *frames.shape[1:3])
        masks = segment.extract(frames, keypoints, where, square(SIZE))
        found = clip_findings(
            frames, keypoints, where, crop_frames(frames, where, square(SIZE)), masks, 8.0
        )
        assert ("drawing" in {finding.what for finding in found}) == drawn, name


def test_masks_that_flicker_are_empty_or_miss_the_body(clip):
    flicker = clip.masks.copy()
    flicker[2::4] = np.roll(flicker[2::4], 50, axis=2) | flicker[2::4]
    assert "flicker in frames 2, 6, 10, 14" in find(clip, masks=flicker)["masks"].text
    empty = clip.masks.copy()
    empty[3] = 0
    assert find(clip, masks=empty)["masks"].text.startswith("no mask of the person in frame 3;")
    empty[4] = 0
    assert "person in frames 3 to 4;" in find(clip, masks=empty)["masks"].text
    empty[3:14] = 0
    assert find(clip, masks=empty)["masks"].level == "unusable"
    half = clip.masks.copy()
    half[:, 150:] = 0
    assert "miss parts of the body in frames 0 to 15" in find(clip, masks=half)["masks"].text


def test_size_brightness_and_stillness(clip):
    near = np.tile([128.0, 128.0, 110.0], (16, 1))
    assert find(clip, where=near)["size"].level == "note"
    assert "60 pixels for the base's 128" in find(clip, where=near * [1, 1, 60 / 110])["size"].text
    assert "light" in find(clip, (clip.frames * 0.2).astype(np.uint8))
    burnt = np.clip(clip.frames * 4.0 + 60, 0, 255).astype(np.uint8)
    assert "overexposed" in find(clip, burnt)["light"].text
    still = {"frames": clip.frames[:1], "keypoints": clip.keypoints[:1], "masks": clip.masks[:1]}
    found = find(clip, **{name: np.repeat(part, 16, axis=0) for name, part in still.items()})
    assert found["motion"].level == "note"


def test_parts_of_the_body(clip):
    assert all(share > 0.9 for share in parts_shown(clip.keypoints).values())
    upper = clip.keypoints.copy()
    upper[:, [9, 10, 12, 13], 2] = 0
    assert "the person's legs and feet not visible" in find(clip, keypoints=upper)["parts"].text
    upper[:4, 9, 2] = 1
    assert "legs in 25%" in find(clip, keypoints=upper)["parts"].text
    assert set(parts_shown(clip.keypoints * 0).values()) == {0.0}


@pytest.mark.parametrize(("yaw", "view"), [
    (0.0, "front"), (0.6, "front"), (-0.6, "front"), (np.pi / 2, "side"), (-np.pi / 2, "side"),
    (np.pi, "back"), (np.pi - 0.6, "back"),
])  # fmt: skip
def test_views_of_turned_people(yaw, view):
    for person in (43, 44, 45):
        spec = stage_spec("idle", "room", "none", person=person)
        spec = dataclasses.replace(spec, motion=dataclasses.replace(spec.motion, yaw=yaw))
        seen = view_directions(puppets.render(spec, frames=4).keypoints)
        assert seen.count(view) >= 3, (person, seen)


def test_views_of_a_clip(clip):
    assert find(clip)["views"].text.startswith("front")
    assert "never side or back" in find(clip)["views"].text
    turning = puppets.render(stage_spec("turn", "room", "none"), frames=32)
    lying, upside = turning.keypoints.copy(), turning.keypoints.copy()
    lying[..., 0], lying[..., 1] = -turning.keypoints[..., 1], turning.keypoints[..., 0]
    upside[..., :2] *= -1
    whole = (turning.keypoints[:, [1, 8, 11], 2] > 0.5).all(1)
    for turned in (lying, upside):
        same = np.array(view_directions(turned)) == np.array(view_directions(turning.keypoints))
        assert same[whole].mean() > 0.9 and whole.mean() > 0.5
    shares = view_shares(view_directions(turning.keypoints))
    assert all(share > 0.15 for share in shares.values())
    assert "never" not in find(turning)["views"].text
    behind = [view == "back" for view in view_directions(turning.keypoints)]
    assert find(clip, keypoints=np.repeat(turning.keypoints[behind][:1] * 2, 16, axis=0))[
        "views"
    ].text.endswith("never from the front, so the face will be invented")


def driven(keypoints, reference=None, width=128, height=128):
    found = motion_findings(keypoints, Size(width, height), reference, square(SIZE))
    return {finding.what: finding for finding in found}


def test_a_motion_like_the_persons_own_has_no_findings(clip):
    assert driven(clip.keypoints / [2, 2, 1], clip.keypoints / [2, 2, 1]) == {}
    assert driven(clip.keypoints, clip.keypoints / [2, 2, 1], 256, 256) == {}


def test_parts_and_views_missing_in_the_persons_clip():
    upper = standing(8)
    upper[:, [10, 13], 2] = 0
    assert "shows feet" in driven(standing(8), upper)["unseen parts"].text
    assert list(driven(upper, standing(8))) == ["cut off"]
    mirrored = standing(8)
    mirrored[..., 0] = 128 - mirrored[..., 0]  # right is right: from behind
    assert "back (100% of the frames)" in driven(mirrored, standing(8))["unseen views"].text


def test_a_motion_that_is_cut_at_the_hips_is_said():
    upper = standing(8)
    upper[:, [9, 10, 12, 13], 2] = 0
    for person in (None, standing(8)):
        assert "nobody below the hips: the body ends" in driven(upper, person)["cut off"].text
    assert driven(upper, upper) == {}  # the person of the clip is cut off as well
    assert "cut off" in driven(upper, upper * 0)  # and here nothing is known of them
    bust = upper.copy()
    bust[:, [8, 11], 2] = 0
    assert "nobody below the waist" in driven(bust)["cut off"].text
    upper[0, [9, 10], 2] = 1  # a leg, in an eighth of the frames
    assert "cut off" not in driven(upper)


def test_a_motion_that_is_cut_at_the_knees_is_said():
    short = standing(8)
    short[:, [10, 13], 2] = 0
    assert "nobody below the knees: the body ends" in driven(short, standing(8))["cut off"].text
    assert driven(short, short) == {}


def test_size_and_proportions_compared_with_the_persons():
    small = standing(8) * [0.5, 0.5, 1] + [30, 30, 0]
    assert "2.0 times as large" in driven(small, standing(8))["scale"].text
    assert "2.0 times smaller" in driven(standing(8), small)["scale"].text
    assert "scale" not in driven(standing(8, scale=4), standing(8), 512, 512)
    long = standing(8)
    for elbow, wrist in ((3, 4), (6, 7)):
        long[:, wrist, :2] += 0.6 * (long[:, wrist, :2] - long[:, elbow, :2])
    # 1.6 and 0.62, with some of it explained by foreshortening
    for points, own, low, high in ((standing(8), long, 1.3, 1.6), (long, standing(8), 0.62, 0.78)):
        shares = driven(points, own)["proportions"].text
        assert low <= float(shares.split("forearms ")[1].split(";")[0]) <= high


def test_motions_that_leave_the_frame_or_have_gaps():
    leaving = standing(10)
    leaving[..., 0] += 8 * np.arange(10)[:, None]
    text = driven(leaving)["frame"].text
    assert "right edge in frames 4 to 9" in text
    gaps = standing(10)
    gaps[3:5, :, 2] = 0
    assert "no skeleton in 2 of 10 frames (3 to 4)" in driven(gaps)["skeleton"].text
    assert driven(gaps * 0)["skeleton"].level == "unusable"


def test_frame_ranges():
    assert frame_ranges([3, 4, 5, 9]) == "3 to 5, 9"
    assert frame_ranges([0, 2, 4, 6, 8]) == "0, 2, 4, 6 and more"
    assert frames_in_words([3, 4, 9]) == "frames 3 to 4, 9"
    assert frames_in_words(range(12, 13)) == "frame 12"


def test_a_plain_background_is_not_a_moving_camera():
    noise = np.random.default_rng(0).integers(0, 256, (8, 96, 96, 3), np.uint8)
    assert np.isnan(footage.camera_shifts(noise, np.zeros((8, 18, 3)))).all()


@pytest.mark.parametrize(("name", "wanted"), [
    ("ControlVideo/moonwalk.mp4", "ready"),
    ("AnyCharV/dance1_upper.mp4", "usable with warnings"),
])  # fmt: skip
def test_real_clips(tmp_path, name, wanted, capsys):
    prepare(real(name), tmp_path / "out")
    found = read_findings(tmp_path / "out")
    assert verdict(found) == wanted
    err = capsys.readouterr().err
    assert [finding.text in err for finding in found] == [f.level != "note" for f in found]


@pytest.mark.parametrize("name", ["umbrella", "surfboard"])
def test_a_thing_that_a_person_holds_is_found_in_the_masks(name):
    """The masks as a segmentation gives them that takes what is held for the person."""
    made = puppets.render(stage_spec("walk", "beach", name), frames=8, size=128)
    bare = puppets.render(stage_spec("walk", "beach", "none"), frames=8, size=128)
    assert "held" not in find(bare)
    assert "held" not in find(made)  # the renderer's own masks leave it out
    thing = np.abs(made.frames - np.median(bare.frames, 0)).max(-1) > 30
    found = find(made, masks=np.where(thing, 255, made.masks).astype(np.uint8))["held"]
    assert found.level == "warning"
    assert re.fullmatch(
        r"something beside the left hand in frames 0 to 7 belongs to the masks: .*", found.text
    )
