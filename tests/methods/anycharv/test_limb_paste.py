"""Limbs of pictures on other bones."""

from dataclasses import replace

import numpy as np
import pytest

from animateanywhere.core.frame_size import Size
from animateanywhere.methods.anycharv.limb_paste import BONES, OTHER_SIDE, collage, facing_alike
from animateanywhere.methods.anycharv.reference_picture import GRAY, Cutout
from animateanywhere.pose.keypoints import VISIBLE
from animateanywhere.puppets import render, sample_spec

SIDE = 96
SIZE = Size(SIDE, SIDE)
RIGHT_FOREARM = (3, 4)


def pose(turned: float = 1.0) -> np.ndarray:
    """Standing upright with both arms out; turned: 1 to the front, -1 to the back."""
    points = np.zeros((18, 3), np.float32)
    points[:, 2] = 1
    points[[0, 14, 15, 16, 17], :2] = [[48, 12], [46, 10], [50, 10], [44, 11], [52, 11]]
    points[1, :2] = 48, 24
    for side, sign in ((2, -1), (5, 1)):
        points[side : side + 3, :2] = np.array([48, 24]) + np.outer(
            [8, 20, 32], [sign * turned, 0.2]
        )
    for side, sign in ((8, -1), (11, 1)):
        points[side : side + 3, :2] = [[48 + sign * turned * 5, y] for y in (50, 68, 88)]
    return points


def cutout(points: np.ndarray, seed: int = 0) -> Cutout:
    """Noise within four pixels of the bones."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    mask = np.zeros((SIDE, SIDE), bool)
    for bone in BONES:
        start, end = (points[list(joints), :2].mean(0) for joints in bone)
        for share in np.linspace(0, 1, 30):
            x, y = start + share * (end - start)
            mask |= np.hypot(columns + 0.5 - x, rows + 0.5 - y) < 4
    picture = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    picture[~mask] = GRAY
    return Cutout(picture, mask.astype(np.float32), points)


def test_a_person_on_its_own_bones_stays() -> None:
    one = cutout(pose())
    (frame,) = collage([one], one.pose[None], SIZE)
    assert frame.dtype == np.uint8 and frame.shape == (SIDE, SIDE, 3)
    assert (frame[one.mask == 0] == GRAY).all()
    same = np.abs(frame.astype(int) - one.picture).max(-1)[one.mask > 0] < 2
    assert same.mean() > 0.97


def test_limbs_move_with_their_bones_and_grow_with_the_body() -> None:
    one = cutout(pose())
    moved = pose()
    moved[..., :2] = moved[..., :2] * 0.5 + (10, 40)
    (frame,) = collage([one], moved[None], SIZE)
    rows, columns = np.nonzero((frame != GRAY).any(-1))
    there = np.nonzero(one.mask)
    for found, before, start in ((rows, there[0], 40), (columns, there[1], 10)):
        assert abs(found.min() - (before.min() * 0.5 + start)) <= 1
        assert abs(found.max() - (before.max() * 0.5 + start)) <= 1
    bent = pose()
    bent[4, :2] = bent[3, :2] + (0, -12)  # the right hand up
    (frame,) = collage([one], bent[None], SIZE)
    assert (frame[14:22, 26:30] != GRAY).any() and (frame[26:34, 14:18] == GRAY).all()


def test_each_frame_has_the_picture_that_faces_alike() -> None:
    front, back = cutout(pose(), 1), cutout(pose(-1), 2)
    poses = np.stack([pose(), pose(-1), pose(-0.4)])
    found = collage([front, back], poses, SIZE)
    assert np.abs(found[0].astype(int) - front.picture).max(-1)[front.mask > 0].mean() < 3
    assert np.abs(found[1].astype(int) - back.picture).max(-1)[back.mask > 0].mean() < 3
    bodies = [front.pose, back.pose]
    assert [facing_alike(bodies, points) for points in poses] == [0, 1, 1]
    hidden = pose(-1)
    hidden[2, 2] = 0
    assert facing_alike(bodies, hidden) == 0  # nobody knows


def test_a_limb_that_a_picture_lacks_is_anothers_or_that_of_the_other_side() -> None:
    whole, lacking = cutout(pose(), 1), pose()
    lacking[4, 2] = 0  # the right hand is not seen
    one = cutout(lacking, 2)
    hand = np.s_[26:33, 15:22]
    place = cutout(pose()).mask[hand] > 0
    both = collage([one, whole], pose()[None], SIZE)[0][hand][place]
    assert np.abs(both.astype(int) - whole.picture[hand][place]).mean() < 3
    alone = collage([one], pose()[None], SIZE)[0][hand][place]
    assert (alone != GRAY).any(-1).mean() > 0.9
    assert [(BONES[n], BONES[OTHER_SIDE[n]]) for n in (0, 2, 6)] == [
        (((8, 8), (9, 9)), ((11, 11), (12, 12))), (((9, 9), (10, 10)), ((12, 12), (13, 13))),
        (((2, 2), (3, 3)), ((5, 5), (6, 6))),
    ]  # fmt: skip


@pytest.mark.parametrize("gone", [[1], [8, 11], list(range(18))])
def test_without_a_torso_there_is_no_scale_and_nothing_is_laid(gone: list[int]) -> None:
    points = pose()
    points[gone] = 0
    one = cutout(pose())
    assert (collage([one], points[None], SIZE) == GRAY).all()
    assert (collage([Cutout(one.picture, one.mask, points)], pose()[None], SIZE) == GRAY).all()


def test_a_hidden_hip_and_nose_are_guessed_from_the_rest() -> None:
    one, points = cutout(pose()), pose()
    points[[0, 8]] = 0
    (frame,) = collage([one], points[None], SIZE)
    torso, head = frame[30:44, 46:50], frame[10:14, 46:50]
    assert (torso != GRAY).any(-1).mean() > 0.9 and (head != GRAY).any(-1).mean() > 0.9


def test_what_is_not_seen_of_a_scene_is_left_out() -> None:
    points = pose()
    points[[3, 4], 2] = VISIBLE / 2
    (frame,) = collage([cutout(pose())], points[None], SIZE)
    assert (frame[22:36, 8:30] == GRAY).all() and (frame[22:36, 66:86] != GRAY).any()


def test_poses_far_beyond_the_frame_and_of_no_length_are_no_trouble() -> None:
    far, flat = pose(), pose()
    far[..., :2] += 1e4
    flat[..., :2] = 50
    found = collage([cutout(pose())], np.stack([far, flat]), SIZE)
    assert (found[0] == GRAY).all() and (found[1] == GRAY).all()


def test_a_rendered_person_is_nearer_to_the_truth_than_gray() -> None:
    spec = sample_spec(3, "held-out")
    motion = replace(spec.motion, name="walk", yaw=0.2)
    spec = replace(spec, motion=motion, object=replace(spec.object, name="none"), occluder=None)
    clip = render(spec, 4, SIDE)
    one = Cutout(clip.frames[0], clip.masks[0] / np.float32(255), clip.keypoints[0])
    made = collage([one], clip.keypoints[3:], SIZE)[0].astype(float)
    person = clip.masks[3] > 127
    truth = clip.frames[3][person]
    assert np.abs(made[person] - truth).mean() < 0.6 * np.abs(GRAY - truth.astype(float)).mean()
