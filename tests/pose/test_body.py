import numpy as np
import pytest

from animateanywhere.core.frame_size import square
from animateanywhere.pose import body as bones
from animateanywhere.pose.retarget import fit
from tests.pose.test_retarget import SIZE
from tests.pose.test_skeleton import STANDING, pose


def test_a_wrong_detection_changes_no_other_bone():
    bad = pose(8)
    bad[:, [4, 7], :2] += 3 * (bad[:, [4, 7], :2] - bad[:, [3, 6], :2])
    body, found = bones.measure(pose(8)), bones.measure(bad)
    others = [bones.TRUNK, bones.THIGH, bones.SHIN, bones.ARM]
    assert found[others] == pytest.approx(body[others], rel=0.03)
    assert found[bones.FOREARM] < 1.5 * body[bones.FOREARM]


def test_the_hips_center_is_estimated_from_one_hip():
    half = pose(8)
    half[3:, 8, 2] = 0
    half[6:, 11, 2] = 0
    found = bones.path(half, bones.measure(half))
    assert np.abs(found - STANDING[[8, 11]].mean(0)).max() < 2.5


def test_approaching_the_camera_does_not_change_proportions():
    nearer = pose(16)
    grown = np.linspace(0.5, 1, 16)[:, None]
    for axis, vanishing in ((0, 64), (1, 60)):
        nearer[..., axis] = (nearer[..., axis] - vanishing) * grown + vanishing
    own, grew = bones.measure(pose(16)), bones.measure(nearer)
    assert grew / own == pytest.approx(np.ones(8), abs=0.1)
    made = fit(nearer, square(SIZE), square(SIZE), "bones", pose(2))
    assert np.abs(made[-1] - pose()[0]).max() < 0.06 * SIZE
