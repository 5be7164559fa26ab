"""Skeletons as OpenPose draws them for ControlNets.

`MEASURES` are of pictures by controlnet-aux 0.0.10 (`open_pose.util.draw_bodypose`, 512 x 512) of
some poses of the bundled driving clip: their lit area, and of each limb and joint the area and the
center (x, y) of its color where it is on top. Where that package is installed, whole pictures are
compared.
"""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from animateanywhere.core.paths import EXAMPLES
from animateanywhere.pose import openpose_drawing, skeleton, skeleton_video
from animateanywhere.pose.keypoints import COLORS

MEASURES = json.loads((Path(__file__).parent / "openpose_measures.json").read_text())


def poses() -> np.ndarray:
    """(F, 18, 3), in pixels of 512 x 512."""
    read = skeleton.read_poses(EXAMPLES / "driving.poses.json")
    points = read.keypoints[MEASURES["frames"]].copy()
    points[..., :2] *= 512 / read.width
    return points


def measure(picture: np.ndarray) -> dict[str, list[float]]:
    """Area and center of what has exactly the color of each joint and limb."""
    out = {}
    for number, color in enumerate(COLORS):
        for kind, own in (("joint", color), ("limb", (color * 0.6).astype(np.uint8))):
            ys, xs = np.nonzero((picture == own).all(-1))
            if len(xs):
                out[f"{kind} {number}"] = [float(len(xs)), float(xs.mean()), float(ys.mean())]
    return out


def test_every_limb_and_joint_is_where_and_as_wide_as_openpose_draws_it() -> None:
    for picture, theirs in zip(openpose_drawing.draw(poses(), 512, 512), MEASURES["pictures"],
                               strict=True):  # fmt: skip
        lit = int((picture > 0).any(-1).sum())
        assert lit == pytest.approx(theirs["lit"], rel=0.04)
        ours = measure(picture)
        assert ours.keys() == theirs["colors"].keys()
        for name, (area, x, y) in theirs["colors"].items():
            assert abs(ours[name][0] - area) <= max(0.08 * area, 12), name
            assert np.hypot(ours[name][1] - x, ours[name][2] - y) < 1.5, name
    assert (skeleton.draw(poses(), 512, 512) > 0).any(-1).mean() > 1.4 * lit / 512**2


@pytest.mark.skipif(
    not importlib.util.find_spec("controlnet_aux"), reason="controlnet-aux is not installed"
)
def test_pictures_are_those_of_controlnet_aux() -> None:
    from controlnet_aux.open_pose.util import Keypoint, draw_bodypose

    for pose, ours in zip(poses(), openpose_drawing.draw(poses(), 512, 512), strict=True):
        points = [Keypoint(x / 512, y / 512) if c >= 0.3 else None for x, y, c in pose]
        theirs = draw_bodypose(np.zeros((512, 512, 3), np.uint8), points)
        first, second = (theirs > 0).any(-1), (ours > 0).any(-1)
        assert (first & second).sum() > 0.95 * (first | second).sum()


def test_keypoints_are_recovered_from_it() -> None:
    points = poses()
    assert skeleton_video.recognize(openpose_drawing.draw(points, 512, 512)) == "openpose18"
    found = skeleton_video.recover(openpose_drawing.draw(points, 512, 512))
    both = (points[..., 2] >= 0.3) & (found[..., 2] > 0)
    assert both.sum() > 0.9 * (points[..., 2] >= 0.3).sum()
    apart = np.hypot(*(found - points)[both][:, :2].T)
    assert np.median(apart) < 1.5 and np.quantile(apart, 0.95) < 6


def test_what_is_hidden_or_out_of_the_picture_is_not_drawn() -> None:
    points = poses()[:1]
    assert not openpose_drawing.draw(points * (1, 1, 0), 512, 512).any()
    points[0, :, :2] += 10_000
    assert not openpose_drawing.draw(points, 512, 512).any()
    points[0, 3] = np.nan
    assert not openpose_drawing.draw(points, 512, 512).any()
    small = openpose_drawing.draw(poses() * (1 / 8, 1 / 8, 1), 64, 64)
    assert (small == COLORS[4]).all(-1).any()  # a wrist is still seen
