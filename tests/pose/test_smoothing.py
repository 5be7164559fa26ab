import numpy as np

from animateanywhere import puppets
from animateanywhere.pose.smoothing import smooth
from tests.pose.test_skeleton import pose


def test_short_gaps_are_interpolated_and_marked_long_ones_not():
    points = pose(12)
    points[:, :, 0] += np.arange(12)[:, None]
    truth = points.copy()
    points[4:6, 3] = 0  # two frames at 8 a second
    points[5:10, 7] = 0  # five
    out, filled = smooth(points, fps=8)
    assert np.abs(out[4:6, 3, :2] - truth[4:6, 3, :2]).max() < 1
    assert (out[4:6, 3, 2] == 1).all() and (out[5:10, 7, 2] == 0).all()
    assert filled[4:6, 3].all() and filled.sum() == 2


def test_jitter_is_smoothed_and_fast_motion_preserved():
    """On puppets, with noise of half a percent of the frame: nearer to the truth, and where a
    limb crosses a third of the frame in a second, hardly further away than the reading."""
    random = np.random.default_rng(0)
    before, after, fast_before, fast_after = [], [], [], []
    for seed in range(6):
        truth = puppets.render(puppets.sample_spec(seed), 24, 64, 8).keypoints
        noisy = truth.copy()
        noisy[..., :2] += random.normal(0, 0.32, noisy[..., :2].shape)
        out, _ = smooth(noisy, fps=8)
        shown = truth[..., 2] >= 0.3
        speed = np.zeros(shown.shape)
        speed[1:] = np.hypot(*np.moveaxis(np.diff(truth[..., :2], axis=0), -1, 0)) * 8
        for moved, all_errors, fast_errors in (
            (noisy, before, fast_before), (out, after, fast_after),
        ):  # fmt: skip
            error = np.hypot(*np.moveaxis(moved[..., :2] - truth[..., :2], -1, 0))
            all_errors.append(error[shown])
            fast_errors.append(error[shown & (speed > 21)])
    assert np.concatenate(after).mean() < 0.93 * np.concatenate(before).mean()
    assert np.concatenate(fast_after).mean() < 1.15 * np.concatenate(fast_before).mean()


def test_smoothing_has_no_lag():
    points = pose(25)
    points[12, 4, 0] += 30
    out, _ = smooth(points, fps=8)
    assert np.abs(out - out[::-1]).max() < 1e-3
    assert out[12, 4, 0] - points[0, 4, 0] > 25


def test_no_person_and_a_single_frame():
    nobody = np.zeros((5, 18, 3), np.float32)
    out, filled = smooth(nobody, fps=8)
    assert not out.any() and not filled.any()
    assert np.array_equal(smooth(pose(1), fps=8)[0], pose(1))
