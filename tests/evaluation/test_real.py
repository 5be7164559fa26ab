"""What the table of real clips is made of: closed forms, on made-up motions and videos."""

import json

import numpy as np
import pytest

from animateanywhere.backbones.base import load_base
from animateanywhere.commands.generate import GenerateOptions, generate
from animateanywhere.core.files import finite
from animateanywhere.core.frame_size import square
from animateanywhere.evaluation import observe, real
from animateanywhere.evaluation.observe import Observed
from animateanywhere.evaluation.sidecar import read_sidecar
from animateanywhere.methods.animate_anywhere import settings
from animateanywhere.methods.animate_anywhere.settings import load_recipe
from animateanywhere.pose import retarget, skeleton
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.driving import Driving, read_driving


@pytest.fixture
def standing() -> np.ndarray:
    """A person standing still, (8, 18, 3), in pixels of 64 x 64."""
    rng = np.random.default_rng(0)
    pose = np.column_stack([rng.uniform(20, 44, 18), rng.uniform(4, 60, 18), np.ones(18)])
    return np.tile(pose, (8, 1, 1)).astype(np.float32)


def seen_as(keypoints: np.ndarray) -> Observed:
    frames = np.zeros((len(keypoints), 64, 64, 3), np.uint8)
    return Observed(frames, np.ones(frames.shape[:3], np.float32), keypoints, 8.0)


def test_frames_without_a_person_count_as_missed(standing):
    half = standing.copy()
    half[::2, :, 2] = 0
    row = real.motion_scores(seen_as(half), standing)
    assert row.pop("dynamic_degree") == pytest.approx(0)
    assert row == {"pck": 0.5, "pck_still": 1, "oks": 0.5, "seen": 4, "frames": 8}
    assert real.motion_scores(seen_as(standing), standing)["pck"] == 1


def test_a_few_joints_without_a_body_are_no_person(standing):
    bits = standing.copy()
    bits[4:, 3:, 2] = 0  # three of 18 joints, all in place
    row = real.motion_scores(seen_as(bits), standing)
    assert (row["pck"], row["seen"]) == (0.5, 4)
    assert bits[4, 0, 2] == 1, "what was handed in is left as it was"


def test_a_second_detector_fills_only_frames_without_a_person(standing):
    half = standing.copy()
    half[::2, :, 2] = 0
    seen = seen_as(half)._replace(masks=np.full((8, 64, 64), 0.25, np.float32))
    seen.masks[1] = 0  # joints, but no mask
    whole = real.with_missed_persons(seen, seen_as(standing + 1))
    assert whole.masks[:, 0, 0].tolist() == [1, 1, 1, 0.25, 1, 0.25, 1, 0.25]
    assert (whole.keypoints[3::2] == standing[3::2]).all()
    assert (whole.keypoints[::2] == standing[::2] + 1).all()
    assert not seen.masks[1].any(), "what was handed in is left as it was"


def test_standing_still_is_distinguished_from_moving(standing):
    """One hand moves by more than the tolerance; the rest stands still."""
    moving = standing.copy()
    moving[::2, 4, 1] += 0.15 * 56
    moving[1::2, 4, 1] -= 0.15 * 56
    row = real.motion_scores(seen_as(standing), moving)
    assert row["pck"] == row["pck_still"] == pytest.approx(17 / 18)
    assert real.network_scores(seen_as(moving), moving)["pck_network"] == 1


def test_the_mean_pose_ignores_invisible_joints(standing):
    hidden = standing.copy()
    hidden[1:, 3] = 0  # shows once
    hidden[:, 5] = 0  # never
    mean = real.mean_pose(hidden)
    assert (mean[:, [0, 3]] == standing[:, [0, 3]]).all()
    assert (mean[:, 5, 2] == 0).all() and mean.shape == standing.shape


def test_reconstruction_scores_of_a_copy_and_of_the_person():
    rng = np.random.default_rng(1)
    filmed = rng.integers(0, 256, (3, 32, 32, 3), np.uint8)
    masks = np.zeros((3, 32, 32), np.float32)
    masks[:, 8:24, 12:20] = 1
    copy = real.reconstruction_scores(filmed, filmed, masks)
    assert (copy["ssim"], copy["person_ssim"], copy["delta_e"]) == pytest.approx((1, 1, 0))
    assert copy["psnr"] == np.inf
    elsewhere = filmed.copy()
    elsewhere[:, :, 28:] = 0  # not the person
    row = real.reconstruction_scores(elsewhere, filmed, masks)
    assert (row["delta_e"], row["mean_delta_e"]) == pytest.approx((0, 0), abs=1e-9)
    assert row["ssim"] < 0.95
    shuffled = filmed.copy()
    shuffled[:, 8:24, 12:20] = filmed[:, 8:24, 12:20][:, ::-1, ::-1]
    row = real.reconstruction_scores(shuffled, filmed, masks)
    assert row["delta_e"] > 10 and row["mean_delta_e"] < 0.01


def test_a_sidecar_matches_if_it_has_all_expected_values():
    made = {"prompt": "a man", "seed": 0, "pose": {"sha256": "12", "file": "a.mp4"}}
    assert real.sidecar_matches(made, {"prompt": "a man", "pose": {"sha256": "12"}})
    assert not real.sidecar_matches(made, {"prompt": "a man", "pose": {"sha256": "13"}})
    assert not real.sidecar_matches(made, {"weights": "12"})
    assert not real.sidecar_matches({**made, "pose": None}, {"pose": {"sha256": "12"}})
    assert not real.sidecar_matches(None, {})


@pytest.mark.parametrize(
    ("base", "fit"), [("tiny_base", "none"), ("tiny_base", "bones"), ("tiny_controlnet", "bones")]
)
def test_the_digest_of_a_motion_equals_that_of_generate(tmp_path, standing, base, fit, request):
    """Also on a base that was trained on OpenPose's drawing of skeletons."""
    folder = request.getfixturevalue(base)
    model = load_base(folder)
    size, draw = square(int(model.config["size"])), model.family.draw
    pose = tmp_path / "motion.poses.json"
    skeleton.write_poses(pose, skeleton.Poses(standing, 64, 64, 8.0))
    options = GenerateOptions(base=str(folder), out=tmp_path / "a.mp4", frames=2, steps=1, fit=fit)
    made = generate("a man", pose, options)
    motion = real.motion_of(read_driving(pose, 8.0, 2), size, fit, draw)
    wanted = {"base": {"hash": model.hash}, "pose": {"sha256": motion.sha256}, "fit": fit}
    assert real.sidecar_matches(read_sidecar(made), wanted)
    other = real.motion_of(read_driving(pose, 8.0, 1), size, fit, draw)
    assert other.sha256 != motion.sha256


def test_unidentified_skeletons_have_a_digest_but_no_keypoints():
    pictures = np.full((2, 20, 10, 3), 7, np.uint8)
    driving = Driving(np.zeros((2, 18, 3), np.float32), 10, 20, "foreign", pictures)
    motion = real.motion_of(driving, square(32), "none", skeleton.draw)
    assert motion.keypoints is None
    assert (motion.skeletons == retarget.pad(pictures, square(32))).all()


def test_the_table_shows_dashes_reasons_and_person_counts():
    row = {"ssim": 0.4567, "psnr": np.inf, "pck": 0.5, "seen": 3, "frames": 16}
    rows = [(("dance", "us"), row), (("a|b", "us"), "too short | dark")]
    columns = {name: real.RECONSTRUCTION_COLUMNS[name] for name in ("ssim", "psnr", "pck", "seen")}
    lines = real.markdown(("clip", "made by"), rows, columns).splitlines()
    assert lines[1] == "|---|---|---:|---:|---:|---:|"
    assert lines[2] == "| dance | us | 0.46 | – | 0.50 | 3/16 |"
    assert lines[3] == "| a/b | us | too short / dark |  |  |  |"
    assert len({line.count("|") for line in lines}) == 1


def test_means_over_clips_have_intervals_and_leave_out_what_is_not_finite():
    clips = [
        {"as filmed": {"pck": 1.0}, "ours": {"delta_e": 8.0 + n, "psnr": np.inf}} for n in range(3)
    ]
    columns = {name: real.RECONSTRUCTION_COLUMNS[name] for name in ("delta_e", "psnr", "seen")}
    lines = real.means_markdown(clips, columns).splitlines()
    assert lines[0] == "| mean of 3 clips | masked ΔE ↓ | PSNR, dB ↑ |"
    assert lines[2:] == ["| as filmed | – | – |", "| ours | 9.00 (8.00–10.00) | – |"]
    assert len(real.means_markdown([], columns).splitlines()) == 2


def test_numbers_that_are_not_finite_become_null():
    record = {"a": [float("nan"), 1.5, (np.inf,)], "b": {"c": 2, "d": "x"}}
    assert json.dumps(finite(record), allow_nan=False) == json.dumps(
        {"a": [None, 1.5, [None]], "b": {"c": 2, "d": "x"}}
    )


def test_other_scenes_are_not_the_one_that_was_filmed():
    assert real.other_scenes(None) == ("on a beach", "in a forest")
    assert real.other_scenes("on a sandy beach") == ("in a forest", "on a street")


def test_a_shortened_recipe_differs_in_effort_only():
    whole = load_recipe("personalize")
    short = settings.quick(whole)
    assert [row.steps for row in short.stage] == [24, 2]
    assert (short.loss, short.stage[0].train) == (whole.loss, whole.stage[0].train)


def test_keypoints_of_enlarged_frames_are_in_pixels_of_the_originals(monkeypatch):
    """The backends get the larger frames; of these alone they know."""
    sizes = []

    def found(frames, *_):
        sizes.append(frames.shape)
        height, width = frames.shape[1:3]
        keypoints = np.full((len(frames), 18, 3), (width / 2, height / 4, 1), np.float32)
        masks = np.zeros(frames.shape[:3], np.float32)
        masks[:, : height // 2] = 1
        return keypoints, masks

    monkeypatch.setattr(observe, "_estimate", found)
    frames = np.random.default_rng(0).integers(0, 256, (2, 64, 32, 3), np.uint8)
    for side in (0, 64, 256):
        seen = observe.observe_frames(frames, 8.0, "clip.mp4", Backends(), side)
        assert seen.frames is frames
        assert (seen.keypoints == (16, 16, 1)).all()
        assert (seen.masks == np.repeat([1, 0], 32)[None, :, None]).all()
        assert seen.masks.shape == (2, 64, 32)
    assert sizes == [(2, 64, 32, 3), (2, 64, 32, 3), (2, 256, 128, 3)]
