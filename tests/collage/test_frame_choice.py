"""Which frames of a clip a collage is made of."""

import numpy as np
import pytest

from animateanywhere.collage.frame_choice import best_frames, held
from animateanywhere.collage.limbs import TORSO, is_seen
from animateanywhere.collage.views import completed
from animateanywhere.pose.outline import body_outlines
from animateanywhere.puppets import render, sample_spec
from tests.collage.test_limb_collage import SIDE, cutout, pose


def test_one_frame_from_each_side_there_is() -> None:
    views = [1.0, 0.95, 0.05, -1.0, 0.9]
    assert best_frames(np.stack([pose(view) for view in views])) == [0, 2, 3]
    assert best_frames(np.stack([pose(-1.0)] * 3)) == [0]


@pytest.mark.parametrize("change", ["wrist", "short", "crossed"])
def test_a_frame_that_shows_more_is_better(change: str) -> None:
    worse = pose()
    if change == "wrist":
        worse[4, 2] = 0
    elif change == "short":  # the leg points at the camera
        worse[9:11, :2] = worse[8, :2] + [[0, 4], [0, 8]]
    else:  # a forearm in front of the trunk
        worse[3, :2], worse[4, :2] = worse[2, :2] + [0, 12], worse[1, :2] + [0, 12]
    assert best_frames(np.stack([worse, pose()])) == [1]
    assert best_frames(np.stack([pose(), worse])) == [0]


def test_without_a_trunk_there_is_none() -> None:
    hidden = pose()
    hidden[[8, 11], 2] = 0
    assert best_frames(np.stack([hidden, np.zeros_like(hidden)])) == []
    assert best_frames(np.zeros((0, 18, 3), np.float32)) == []


@pytest.mark.parametrize("bad", ["black", "elsewhere", "everything"])
def test_a_frame_is_not_taken_whose_mask_holds_nothing_or_the_background(bad: str) -> None:
    good = cutout(pose()).mask
    worse = {"black": 0 * good, "elsewhere": np.roll(good, 60, 1), "everything": 0 * good + 1}[bad]
    poses = np.stack([pose()] * 2)
    assert best_frames(poses) == [0]
    assert best_frames(held(poses, np.stack([worse, good]))) == [1]
    assert best_frames(held(poses, np.stack([worse, worse]))) == []


def test_a_gown_to_the_floor_and_limbs_that_are_not_found_are_no_background() -> None:
    """But what is far from them is."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    gown = (rows > 40) & (rows < 92) & (np.abs(columns - 48) < 6 + (rows - 40) / 2.6)
    bare = cutout(pose()).mask > 0.5
    for mask, joints in ((gown | bare, [9, 10, 12, 13]), (bare, [3, 4, 6, 7, 10, 13])):
        points = pose()
        points[joints] = 0
        assert (mask & ~body_outlines(points[None], SIDE, SIDE)[0]).sum() > 0.3 * mask.sum()
        whole, background = held(np.stack([points] * 2), np.stack([mask, mask | True]) * 1.0)
        assert (whole == points).all() and not background[:, 2].any()


def test_a_limb_that_the_mask_lacks_is_not_seen() -> None:
    whole = cutout(pose()).mask
    no_arm, no_head = whole.copy(), whole.copy()
    no_arm[:, :30] = 0  # the right forearm, which begins at 28
    no_head[:20] = 0
    arm, head, all_of_it = held(np.stack([pose()] * 3), np.stack([no_arm, no_head, whole]))
    assert (arm[:, 2] == [1, 1, 1, 1, 0, *[1] * 13]).all()
    assert (head[:, 2] == [0, *[1] * 13, 0, 0, 0, 0]).all()
    assert (all_of_it == pose()).all()
    assert best_frames(np.stack([arm, head, all_of_it])) == [2]


@pytest.mark.parametrize("number", [0, 1, 2, 3, 7])
def test_true_masks_hold_all_limbs(number: int) -> None:
    clip = render(sample_spec(number), 4, 96, 8.0)
    found = held(clip.keypoints, clip.masks.astype(np.float32) / 255)
    seen = [is_seen(completed(one), *TORSO) for one in clip.keypoints]
    assert [is_seen(completed(one), *TORSO) for one in found] == seen and any(seen)
    assert (found[..., :2] == clip.keypoints[..., :2]).all()
    assert (found[..., 2] == clip.keypoints[..., 2]).mean() > 0.95
