"""Copying of the reference picture, against what it must be."""

import numpy as np
import pytest

from animateanywhere.metrics.copying import flash, person_counts, pose_leak


@pytest.fixture
def poses() -> np.ndarray:
    points = np.random.default_rng(0).normal(0, 20, (12, 18, 3)) + 64
    points[..., 2] = 1
    return points


def test_the_pictures_pose_leaks_wholly_and_that_of_the_motion_does_not(poses: np.ndarray) -> None:
    picture, asked = poses[0], poses[1:]
    moved = picture * [0.5, 0.5, 1] + [9, -4, 0]  # elsewhere, and half as large
    assert pose_leak(np.stack([moved] * 3), picture, asked) == pytest.approx(1, abs=1e-5)
    assert pose_leak(asked, picture, asked) == 0
    halves = pose_leak(np.stack([moved, asked[0]]), picture, asked[:1])
    assert halves == pytest.approx(0.5, abs=1e-5)
    far = asked[0] * [-1, -1, 1]  # as unlike as can be
    assert pose_leak(far[None], asked[0], poses[2:]) < -0.2


def test_hidden_joints_do_not_count(poses: np.ndarray) -> None:
    picture, asked = poses[0], poses[1:]
    hidden = picture.copy()
    hidden[:9, :2], hidden[:9, 2] = 0, 0
    assert pose_leak(hidden[None], picture, asked) == pytest.approx(1, abs=1e-5)
    hidden[:, 2] = 0
    assert np.isnan(pose_leak(hidden[None], picture, asked))
    assert np.isnan(pose_leak(asked, picture, np.stack([picture])))


def test_a_picture_that_flashes_up_reads_its_share() -> None:
    rng = np.random.default_rng(1)
    still, picture = (rng.integers(0, 256, (16, 16, 3)) for _ in range(2))
    frames = np.repeat(still[None], 8, 0).astype(np.uint8)
    assert flash(frames, picture) == pytest.approx(0)
    for share in (0.3, 1.0):
        blend = frames.copy()
        blend[1] = (share * picture + (1 - share) * still).round()
        assert flash(blend, picture) == pytest.approx(share, abs=0.01)
    late = frames.copy()
    late[6] = picture
    assert flash(late, picture) == pytest.approx(0)
    other = frames.copy()  # a cut, but not to the picture
    other[0] = rng.integers(0, 256, (16, 16, 3))
    assert flash(other, picture) < 0.6
    assert np.isnan(flash(frames[:7], picture))


def test_people_are_counted_and_specks_are_not() -> None:
    masks = np.zeros((4, 64, 64), np.float32)
    masks[1:, 10:50, 5:15] = 1
    masks[2:, 10:50, 40:50] = 0.9
    masks[3, 2:4, 60:62] = 1
    assert person_counts(masks).tolist() == [0, 1, 2, 2]
