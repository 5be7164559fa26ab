from dataclasses import replace

import numpy as np
import pytest

from animateanywhere import puppets
from animateanywhere.core.frame_size import Size, square
from animateanywhere.pose import body
from animateanywhere.pose.retarget import fit, letterbox
from tests.pose.test_skeleton import STANDING, pose

SIZE = 128
FRAME = square(SIZE)


def person(seed, split):
    """A puppet with arms and legs of its own lengths."""
    spec = puppets.sample_spec(seed, split)
    legs, arms = np.random.default_rng(seed).uniform(0.85, 1.15, 2)
    return replace(spec, identity=replace(spec.identity, legs=float(legs), arms=float(arms)))


def keypoints(spec, frames):
    points = puppets.render(spec, frames, SIZE // 2).keypoints
    points[..., :2] *= 2
    return points


@pytest.fixture(scope="module")
def pairs():
    """Driving of A, reference of B doing something else, and the truth: B, where B is and as B is
    filmed, doing what A did."""
    made = []
    for split in ("train", "held-out"):
        for seed in range(800, 816, 2):
            a, b = person(seed, split), person(seed + 1, split)
            truth = replace(b, motion=a.motion, object=a.object)
            made.append((keypoints(a, 16), keypoints(b, 32), keypoints(truth, 16)))
    return made


def errors(pairs, mode, align=False):
    """Mean distance in pixels of the joints visible in driving and truth."""
    out = []
    for driving, reference, truth in pairs:
        seen = (driving[..., 2] > 0.5) & (truth[..., 2] > 0.5)
        made = fit(driving, FRAME, FRAME, mode, reference)[seen][:, :2]
        true = truth[seen][:, :2]
        if align:  # by the best shift and scale
            made, true = made - made.mean(0), true - true.mean(0)
            made = made * (made * true).sum() / (made**2).sum()
        out.append(np.hypot(*(made - true).T).mean())
    return np.array(out)


def test_retargeting_reduces_the_error_to_a_third(pairs):
    none, frame, own = (errors(pairs, mode).mean() for mode in ("none", "frame", "bones"))
    assert own < none / 3
    assert own < frame
    # Proportions alone, wherever the person stands and however large
    assert errors(pairs, "bones", True).mean() < 0.95 * errors(pairs, "none", True).mean()


def test_bone_lengths_are_recovered(pairs):
    """Ratios of bone lengths between two persons with different motions."""
    wrong = []
    for split in ("train", "held-out"):
        for seed in range(800, 816, 2):
            a, b = person(seed, split), person(seed + 1, split)
            driving, reference, _ = pairs[len(wrong)]
            found = body.measure(reference) / body.measure(driving)
            true = [p.identity.height * p.camera.scale for p in (b, a)]
            legs, arms = b.identity.legs / a.identity.legs, b.identity.arms / a.identity.arms
            true = np.array([1, legs, legs, arms, arms]) * true[0] / true[1]
            wrong.append(np.abs(np.log(found[:5] / true)))
    assert np.median(wrong) < 0.02
    assert np.mean(wrong) < 0.04


def test_a_clip_of_the_same_person_is_unchanged(pairs):
    for clip in [pose(4), *(truth for _, _, truth in pairs)]:
        for mode in ("frame", "bones"):
            made = fit(clip, FRAME, FRAME, mode, clip)
            seen = clip[..., 2] > 0.5
            assert np.abs(made - clip)[seen].max() < 0.01 * SIZE


def test_scale_and_shift_of_another_camera_are_undone():
    other = pose(4, scale=3.0)
    other[..., :2] += (200, 70)
    for mode in ("frame", "bones"):
        made = fit(other, Size(800, 600), FRAME, mode, pose(2))
        assert np.abs(made - pose(4)).max() < 0.5


def test_mode_none_only_letterboxes():
    points = np.zeros((1, 18, 3), np.float32)
    points[0, 0] = 100, 0, 1
    points[0, 1] = 0, 200, 0.5
    for made in (
        letterbox(points, Size(100, 200), square(64)),
        fit(points, Size(100, 200), square(64), "none", pose()),
    ):
        assert made[0, 0].tolist() == [48, 0, 1]
        assert made[0, 1].tolist() == [16, 64, 0.5]


def test_only_mode_bones_changes_proportions():
    long_legs = pose(2)
    long_legs[:, [9, 12], 1] -= 8  # shorter thighs, longer shins, same feet
    theirs = np.hypot(*(long_legs[0, 10, :2] - long_legs[0, 9, :2]))
    shins = {
        mode: np.hypot(*(made[:, 10, :2] - made[:, 9, :2]).T)
        for mode in ("frame", "bones")
        for made in [fit(pose(4), FRAME, FRAME, mode, long_legs)]
    }
    assert shins["bones"] == pytest.approx(theirs, rel=0.06)
    assert (shins["frame"] < 0.9 * theirs).all()


def taller():
    """STANDING with legs a quarter longer on the same ground."""
    points = pose(2)
    hips = points[:, [8, 11], 1].mean()
    points[..., 1] = np.where(points[..., 1] > hips, hips + 1.25 * (points[..., 1] - hips),
                              points[..., 1])  # fmt: skip
    points[..., 1] -= points[:, 10, 1].max() - STANDING[10, 1]
    return points


def test_standing_feet_stay_on_the_ground_and_do_not_slide():
    """One foot planted while the hips travel above it and the other leg swings."""
    driving = pose(12)
    way = np.linspace(-6, 6, 12)
    driving[..., 0] += way[:, None]
    driving[:, 10] = pose(12)[:, 10]
    driving[:, 9, 0] -= way / 2
    driving[:, 9, 1] -= 6
    driving[:, 13, 1] -= 8 * np.sin(np.linspace(0, np.pi, 12))
    long_shins = pose(2)
    long_shins[:, [9, 12], 1] -= 8
    for reference, much in ((taller(), 0.05), (pose(2, scale=0.7), 0.05), (long_shins, 0.25)):
        made = fit(driving, FRAME, FRAME, "bones", reference)
        assert np.ptp(made[:, 10, 0]) < much * np.ptp(made[:, 8, 0])
        assert made[:, 10, 1] == pytest.approx(reference[0, 10, 1], abs=0.01 * SIZE)


@pytest.mark.parametrize("mode", ["frame", "bones"])
@pytest.mark.parametrize("known", [True, False])
def test_a_motion_upside_down_stays_in_the_frame(mode, known):
    """On the hands, whose bones the person has at other lengths."""
    still = keypoints(person(800, "train"), 8)
    driving = still * [-1, -1, 1] + [SIZE, SIZE, 0]
    reference = keypoints(person(801, "train"), 8) if known else None
    made = fit(driving, FRAME, FRAME, mode, reference)
    assert (made[..., 2] == driving[..., 2]).all()
    seen = made[..., 2] > 0.5
    ground = made[..., 1][seen].max()
    assert 0.85 * SIZE < ground <= SIZE
    assert (made[:, 1, 1] > made[:, 8, 1]).all()  # the neck is below the hips


@pytest.mark.parametrize("mode", ["frame", "bones"])
def test_a_jump_is_as_high_as_the_legs_allow(mode):
    driving = pose(8)
    driving[4:6, :, 1] -= 12
    for reference, height in ((pose(2), 12), (pose(2, scale=0.5), 6)):
        made = fit(driving, FRAME, FRAME, mode, reference)
        assert (made[0, :, 1] - made[4, :, 1]).mean() == pytest.approx(height, abs=0.5)
    made = fit(driving, FRAME, FRAME, mode)
    scale = np.ptp(made[0, :, 1]) / np.ptp(driving[0, :, 1])
    assert (made[0, :, 1] - made[4, :, 1]).mean() == pytest.approx(12 * scale, abs=0.5)


def test_standing_and_crossing_persons_get_the_right_position():
    aside = pose(2)
    aside[..., 0] -= 25
    stays = fit(pose(8), FRAME, FRAME, "bones", aside)
    assert stays[0, 1, 0] == pytest.approx(39, abs=1)
    crossing = pose(8, scale=0.5)
    crossing[..., 0] += np.linspace(-25, 75, 8)[:, None]
    made = fit(crossing, FRAME, FRAME, "bones", pose(2, scale=0.5))
    assert made[[0, -1], 1, 0] == pytest.approx(crossing[[0, -1], 1, 0], abs=13)


def test_a_motion_that_fits_into_the_frame_stays_in_it():
    aside = pose(2)
    aside[..., 0] -= 38
    wide = pose(4)
    wide[:, [3, 4], :2] = (36, 36), (22, 34)
    made = fit(wide, FRAME, FRAME, "bones", aside)
    assert (made[..., 2] == 1).all()
    assert made[..., 0].min() < 2


def only(points, joints):
    out = points.copy()
    out[:, [j for j in range(18) if j not in joints], 2] = 0
    return out


UPPER = (0, 1, 2, 3, 4, 5, 6, 7, 14, 15, 16, 17)


def close_up():
    """STANDING from a nearer camera, cropped above the knees."""
    points = pose(3, scale=1.6)
    points[..., :2] -= (38, 20)
    points[points[..., 1] > SIZE, 2] = 0
    return points


@pytest.mark.parametrize("reference", [only(close_up(), UPPER), close_up()])
def test_a_cropped_subject_gets_the_motion_at_its_size(reference):
    made = fit(pose(4), FRAME, FRAME, "bones", reference)
    shown = reference[0, :, 2] > 0
    assert np.abs(made[:, shown] - reference[0, shown]).max() < 0.06 * SIZE
    assert (made[:, [10, 13], 2] == 0).all()  # out of the frame


@pytest.mark.parametrize("driving", [only(close_up(), UPPER), close_up()])
def test_a_cropped_driving_person_moves_the_upper_body(driving):
    made = fit(driving, FRAME, FRAME, "bones", pose(4))
    shown = driving[0, :, 2] > 0
    assert np.abs(made[:, shown] - pose()[0, shown]).max() < 0.06 * SIZE
    assert (made[:, ~shown, 2] == 0).all()


def test_hidden_joints_on_the_way_do_not_break_a_limb():
    driving = pose(4)
    driving[1:3, [1, 8, 9], 2] = 0  # neck, a hip and a knee, now and then
    made = fit(driving, FRAME, FRAME, "bones", taller())
    whole = fit(pose(4), FRAME, FRAME, "bones", taller())
    seen = driving[..., 2] > 0
    assert np.abs(made - whole)[seen].max() < 0.05 * SIZE


def test_without_a_reference_the_person_is_centered():
    for mode in ("frame", "bones"):
        made = fit(pose(4, scale=7.0), square(900), FRAME, mode)
        assert (made[..., 2] == 1).all()
        assert 0.6 < np.ptp(made[0, :, 1]) / SIZE < 0.9
        assert made[..., 0].mean() == pytest.approx(64, abs=8)
    wide = pose(8)
    wide[..., 0] += np.linspace(-35, 35, 8)[:, None]
    made = fit(wide, FRAME, FRAME)
    assert (made[..., 2] == 1).all()


def test_random_keypoints_give_finite_results():
    rng = np.random.default_rng(0)
    for _ in range(200):
        clips = []
        for _ in range(2):
            clip = rng.normal(64, rng.choice([0, 1e-3, 30, 1e4]), (rng.integers(1, 20), 18, 3))
            clip[..., 2] = rng.random(clip.shape[:2]) < rng.choice([0, 0.1, 0.5, 1])
            clips.append(clip.astype(np.float32))
        for mode in ("none", "frame", "bones"):
            for reference in (None, clips[1]):
                made = fit(clips[0], Size(640, 360), FRAME, mode, reference)
                assert made.shape == clips[0].shape and made.dtype == np.float32
                assert np.isfinite(made).all()
