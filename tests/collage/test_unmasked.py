"""Somebody whom masks lack in some frames is no background in the others."""

import numpy as np
import pytest

from animateanywhere.collage.background import behind
from animateanywhere.collage.unmasked import stand_ins, unmasked
from animateanywhere.pose.outline import body_outlines

SIDE, FRAMES, ARM = 96, 12, np.s_[:, :36]
JOINTS = [
    (48, 20),
    (48, 28),
    (40, 28),
    (32, 38),
    (26, 48),
    (56, 28),
    (60, 40),
    (60, 50),
    (44, 52),
    (43, 66),
    (42, 80),
    (52, 52),
    (53, 66),
    (54, 80),
    (46, 18),
    (50, 18),
    (44, 20),
    (52, 20),
]


def filmed() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A still room, dark on the left, in which a white person sways: with the person, without,
    where the person is, and the poses."""
    room = np.tile(np.linspace(30, 150, SIDE).astype(np.uint8)[None, :, None], (SIDE, 1, 3))
    poses = np.ones((FRAMES, 18, 3), np.float32)
    poses[..., :2] = np.array(JOINTS) + np.sin(np.arange(FRAMES))[:, None, None] * (1.5, 0)
    masks = body_outlines(poses, SIDE, SIDE, 0.6)
    truth = np.tile(room, (FRAMES, 1, 1, 1))
    return np.where(masks[..., None], np.uint8(250), truth), truth, masks, poses


def wrong(found: np.ndarray, poses: np.ndarray, unsure: bool = True) -> float:
    """Gray levels by which what is found behind differs from the truth, where masks are whole."""
    scene, truth, masks, _ = filmed()
    places = np.tile([0, 0, SIDE], (FRAMES, 1))
    out = behind(scene, places, found, unmasked(found, poses) if unsure else None)
    whole = (found == masks).all((1, 2))
    return float(np.abs(out.astype(int) - truth)[whole][masks[whole]].mean())


@pytest.mark.parametrize("joints", [True, False])
@pytest.mark.parametrize("frames", [[5], [0], [FRAMES - 1], [4, 5, 6], [2, 9]])
def test_frames_without_a_mask(frames: list[int], joints: bool) -> None:
    """Also where no joint was found in them."""
    *_, masks, poses = filmed()
    least = wrong(masks, poses)
    masks[frames] = False
    if not joints:
        poses[frames] = 0
    assert wrong(masks, poses) < least + 1 < 20 < wrong(masks, poses, unsure=False)


@pytest.mark.parametrize("frames", [[5], [4, 5, 6]])
def test_frames_in_which_the_mask_lacks_an_arm(frames: list[int]) -> None:
    """Though it is nearly as large as usual: the joints tell."""
    *_, masks, poses = filmed()
    least = wrong(masks, poses)
    for frame in frames:
        masks[frame][ARM] = False
    assert wrong(masks, poses) < least + 1 < least + 5 < wrong(masks, poses, unsure=False)


@pytest.mark.parametrize("frames", [[5], [4, 5, 6], list(range(FRAMES))])
def test_the_pose_and_masks_nearby_stand_in_for_a_missing_one(frames: list[int]) -> None:
    *_, truth, poses = filmed()
    masks = truth.copy()
    masks[frames] = False
    found = stand_ins(masks, poses)
    others = np.delete(np.arange(FRAMES), frames)
    assert not found[others].any() and found[frames][truth[frames]].mean() > 0.98
    assert (found[frames] & ~truth[frames]).mean() < 0.25
    poses[frames] = 0  # nobody is there
    assert not stand_ins(masks, poses).any()


@pytest.mark.parametrize("legs", [True, False])
def test_a_stand_in_for_several_masks_in_a_row_does_not_grow(legs: bool) -> None:
    """It holds a gown all the same, under which no legs are found."""
    *_, truth, poses = filmed()
    if not legs:
        poses[:, [9, 10, 12, 13]] = 0
    masks, frames = truth.copy(), np.arange(3, 8)
    masks[frames] = False
    found, true = stand_ins(masks, poses)[frames], truth[frames]
    assert found[true].mean() > 0.98
    assert not legs or found.sum() < 1.5 * true.sum()


def test_who_walks_away_has_a_mask() -> None:
    *_, poses = filmed()
    scale = 0.85 ** np.clip(np.arange(22) - 13, 0, None)
    poses = np.repeat(poses[:1], 22, 0)
    poses[..., :2] = SIDE / 2 + scale[:, None, None] * (poses[..., :2] - SIDE / 2)
    masks = np.concatenate([body_outlines(one[None], SIDE, SIDE, 0.6) for one in poses])
    assert masks[-1].sum() < 0.1 * np.median(masks.sum((1, 2)))
    assert not stand_ins(masks, poses).any()
    far = masks[-2].copy()
    masks[-2] = False
    found = stand_ins(masks, poses)[-2]
    assert found[far].mean() > 0.98 and found.sum() < 3 * far.sum()


def test_many_masks_in_a_row_of_which_specks_are_left_are_missing() -> None:
    *_, truth, poses = filmed()
    masks, poses = np.tile(truth, (4, 1, 1)), np.tile(poses, (4, 1, 1))
    masks[20:34] = False
    masks[20:34, 40, 40:44] = True
    assert stand_ins(masks, poses)[20:34].sum((1, 2)).min() > 0.8 * truth[0].sum()


def test_whole_masks_lack_nobody() -> None:
    *_, masks, poses = filmed()
    assert not stand_ins(masks, poses).any()
    assert not unmasked(masks, poses).any()
    assert not unmasked(masks & False, poses * 0).any()


def test_who_leaves_the_scene_for_long_is_not_missed() -> None:
    """Most of those frames show what stood behind."""
    *_, masks, poses = filmed()
    masks[4:], poses[4:] = False, 0
    assert not unmasked(masks, poses)[7:].any()


def test_poses_of_a_larger_build_lack_nobody() -> None:
    """They leave the masks in all frames."""
    *_, masks, poses = filmed()
    feet = poses[:, 10:11, :2].copy()
    poses[..., :2] = feet + 1.2 * (poses[..., :2] - feet)
    assert unmasked(masks, poses).mean() < 0.03
