"""Limbs of pictures on other bones."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from animateanywhere.collage.limb_collage import Collage, Cutout
from animateanywhere.collage.limbs import BONES, OTHER_SIDE
from animateanywhere.collage.views import (
    GAP,
    View,
    Views,
    completed,
    shows_torso,
    steadied,
    views_of,
)
from animateanywhere.core.frame_size import Size
from animateanywhere.pose.keypoints import VISIBLE
from animateanywhere.puppets import render, sample_spec

SIDE, GRAY = 96, 128
SIZE = Size(SIDE, SIDE)


def one_view(points: np.ndarray) -> Views:
    return views_of(points[None], points[None])


def laid(cutouts: Sequence[Cutout], points: np.ndarray, size: Size = SIZE) -> np.ndarray:
    """A gray frame (H, W, 3) with the limbs."""
    cover, color = Collage(cutouts).layer(points, size, one_view(points).one(0, 1.0))
    assert cover.shape == (size.height, size.width, 1) and 0 <= cover.min() <= cover.max() <= 1.001
    out: np.ndarray = np.round(GRAY * (1 - cover) + color).clip(0, 255).astype(np.uint8)
    return out


def beside(limbs: Collage, points: np.ndarray, view: View) -> np.ndarray:
    return limbs.beside(points, limbs.layer(points, SIZE, view)[0], view)


def test_who_is_not_seen_for_some_frames_keeps_the_face() -> None:
    points = np.stack([pose()] * 9)
    found = points.copy()
    found[3:6] = 0
    assert views_of(steadied(found), found).face.all()
    found[:, [0, 14, 15], 2] = 0  # from behind
    assert not views_of(steadied(found), found).face.any()


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
    frame = laid([one], one.pose)
    assert (frame[one.mask == 0] == GRAY).all()
    same = np.abs(frame.astype(int) - one.picture).max(-1)[one.mask > 0] < 2
    assert same.mean() > 0.97


def test_a_skirt_is_known_by_what_is_between_the_thighs() -> None:
    one = cutout(pose())
    assert not Collage([one]).skirt
    skirt = one.mask.copy()
    skirt[50:70, 40:56] = 1
    assert Collage([one._replace(mask=skirt)]).skirt
    assert Collage([one, one._replace(mask=skirt)]).skirt
    cut_off = one._replace(pose=pose())
    cut_off.pose[[9, 10], 2] = 0
    assert Collage([cut_off]).skirt  # it may be one
    assert not Collage([one, cut_off]).skirt  # the other one shows that it is none


def test_limbs_move_with_their_bones_and_grow_with_the_body() -> None:
    one = cutout(pose())
    moved = pose()
    moved[..., :2] = moved[..., :2] * 0.5 + (10, 40)
    frame = laid([one], moved)
    rows, columns = np.nonzero((frame != GRAY).any(-1))
    there = np.nonzero(one.mask)
    for found, before, start in ((rows, there[0], 40), (columns, there[1], 10)):
        assert abs(found.min() - (before.min() * 0.5 + start)) <= 1
        assert abs(found.max() - (before.max() * 0.5 + start)) <= 1
    bent = pose()
    bent[4, :2] = bent[3, :2] + (0, -12)  # the right hand up
    frame = laid([one], bent)
    assert (frame[14:22, 26:30] != GRAY).any() and (frame[26:34, 14:18] == GRAY).all()


def test_each_frame_has_the_picture_that_faces_alike() -> None:
    front, back = cutout(pose(), 1), cutout(pose(-1), 2)
    for points, one in ((pose(), front), (pose(-1), back)):
        found = laid([front, back], points).astype(int)
        assert np.abs(found - one.picture).max(-1)[one.mask > 0].mean() < 3


def test_a_limb_that_pointed_at_the_camera_is_not_stretched() -> None:
    """That of the other side is, or nothing."""
    points = pose()
    points[4, :2] = points[3, :2] + (0, 2)  # the right forearm
    one = cutout(points)
    hand = np.s_[26:33, 15:22]
    assert (laid([one], pose())[hand] != GRAY).any()
    points[7, :2] = points[6, :2] + (0, 2)  # and the left
    assert (laid([cutout(points)], pose())[hand] == GRAY).all()


def behind(turned: float = -1.0) -> np.ndarray:
    """A pose from the back, whose nose and eyes are not seen."""
    points = pose(turned)
    points[[0, 14, 15], 2] = 0
    return points


def test_who_turns_away_shows_no_face_and_the_torso_mirrored() -> None:
    one = cutout(pose())
    head, chest = np.s_[8:16, 46:50], np.s_[30:44, 46:50]
    assert (laid([one], pose())[head] != GRAY).any()
    away = laid([one], behind())
    assert (away[head] == GRAY).all()
    mirrored = np.abs(away[30:44, 45:51].astype(int) - one.picture[30:44, 45:51][:, ::-1])
    assert mirrored.mean() < 0.5 * np.abs(away[chest].astype(int) - one.picture[chest]).mean()
    side = pose(0.05)
    columns = np.flatnonzero((laid([one], side)[36] != GRAY).any(-1))
    wide = np.flatnonzero((laid([one], pose())[36] != GRAY).any(-1))
    assert 0.4 < len(columns) / len(wide) < 0.9


@pytest.mark.parametrize("degrees", [90, 180, -45])
def test_who_lies_or_stands_on_the_head_is_not_seen_from_behind(degrees: float) -> None:
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    one, points = cutout(pose()), pose()
    points[:, :2] = (points[:, :2] - SIDE / 2) @ turn.T + SIDE / 2
    assert one_view(points).turned[0] == pytest.approx(one_view(pose()).turned[0])
    frame = laid([one], points)
    mask = one.mask > 0
    if degrees % 90 == 0:
        wanted = np.rot90(one.picture, -degrees // 90)
        mask = np.rot90(mask, -degrees // 90)
        assert np.abs(frame.astype(int) - wanted).max(-1)[mask].mean() < 60
    assert (frame != GRAY).any(-1).sum() > 0.9 * mask.sum()


def test_who_turns_away_has_no_face_from_then_on() -> None:
    """A nose that was filled in, so that no limb blinks, is not seen."""
    poses = np.stack([pose()] * 8 + [behind()] * 8 + [pose()] * 8)
    views = views_of(steadied(poses), poses)
    assert views.face.tolist() == [True] * 8 + [False] * 8 + [True] * 8


def test_a_head_is_that_of_another_picture_where_the_nearest_shows_none() -> None:
    back, front = cutout(behind(-0.3), 1), cutout(pose(), 2)
    head = np.s_[8:16, 46:50]
    both, alone = (laid(some, pose(0.2))[head] for some in ([back, front], [front]))
    assert np.array_equal(both, alone) and (both != GRAY).any()
    hidden = pose(0.5)
    hidden[2, 2] = 0  # nobody knows how that one is turned
    chest = np.s_[30:44, 46:50]
    some = [cutout(hidden, 3), front]
    assert np.array_equal(laid(some, pose())[chest], laid([front], pose())[chest])


def test_views_do_not_leap() -> None:
    """A shoulder that is not seen, and a torso that is found short, for a frame; and to and fro
    about the side, the torso is not mirrored in between."""
    turns = [0.5, 0.4, 0.3, 0.2, 0.1, 0.0, -0.05, 0.05, -0.05, 0.0, 0.05, 0.0]
    poses = np.stack([pose(turned) for turned in turns])
    poses[3, 2, 2] = 0
    poses[5, [8, 11], 1] = 26
    views = views_of(steadied(poses), poses)
    assert np.isfinite(views.turned).all() and np.abs(np.diff(views.turned)).max() < 0.12
    assert views.torso == pytest.approx(26, abs=0.01) and views.face.all()
    one = cutout(pose())
    chest = [
        Collage([one]).layer(poses[n], SIZE, views.one(n, 1.0))[1][36:44, 46:50].mean(0)
        for n in (7, 8, 9)
    ]
    assert np.abs(chest[0] - chest[1]).mean() < 10 > np.abs(chest[1] - chest[2]).mean()
    gone = one_view(0 * pose())
    assert not gone.face.any() and np.isnan(gone.torso).all()


def test_a_head_keeps_its_size_and_stands_on_the_torso() -> None:
    one, ahead = cutout(pose()), pose()
    ahead[[0, 14, 15, 16, 17], 0] += 12  # far in front of the neck, as from the side
    before, after = (
        np.nonzero((laid([one], points)[2:18] != GRAY).any(-1)) for points in (pose(), ahead)
    )
    assert abs(len(after[0]) - len(before[0])) < 0.3 * len(before[0])
    assert abs(after[1].mean() - before[1].mean() - 12) < 2
    spread = [np.ptp(columns) for _, columns in (before, after)]
    assert spread[1] < spread[0] + 5  # it hardly leans


def test_a_limb_that_a_picture_lacks_is_anothers_or_that_of_the_other_side() -> None:
    whole, lacking = cutout(pose(), 1), pose()
    lacking[4, 2] = 0  # the right hand is not seen
    one = cutout(lacking, 2)
    hand = np.s_[26:33, 15:22]
    place = cutout(pose()).mask[hand] > 0
    both = laid([one, whole], pose())[hand][place]
    assert np.abs(both.astype(int) - whole.picture[hand][place]).mean() < 3
    alone = laid([one], pose())[hand][place]
    assert (alone != GRAY).any(-1).mean() > 0.9
    assert [(BONES[n], BONES[OTHER_SIDE[n]]) for n in (0, 2, 6)] == [
        (((8, 8), (9, 9)), ((11, 11), (12, 12))), (((9, 9), (10, 10)), ((12, 12), (13, 13))),
        (((2, 2), (3, 3)), ((5, 5), (6, 6))),
    ]  # fmt: skip


@pytest.mark.parametrize("gone", [[1, 2, 5], [8, 11], list(range(18))])
def test_without_a_torso_there_is_no_scale_and_nothing_is_laid(gone: list[int]) -> None:
    points = pose()
    points[gone] = 0
    one = cutout(pose())
    assert (laid([one], points) == GRAY).all()
    assert (laid([Cutout(one.picture, one.mask, points)], pose()) == GRAY).all()
    assert (laid([], pose()) == GRAY).all()


def test_from_the_side_the_neck_is_at_the_shoulder_that_is_seen() -> None:
    points = pose(0.0)
    points[[1, 5, 6, 7, 11, 12, 13, 15, 17], 2] = 0  # what is behind the body
    known = completed(points)
    assert np.allclose(known[1, :2], points[2, :2]) and known[1, 2] >= VISIBLE
    assert known[11, 2] >= VISIBLE and abs(known[11, 0] - points[8, 0]) < 1
    frame = laid([cutout(pose())], points)
    assert (frame[28:46, 46:50] != GRAY).any(-1).mean() > 0.9


def test_a_hidden_hip_and_nose_are_guessed_from_the_rest() -> None:
    one, points = cutout(pose()), pose()
    points[[0, 8]] = 0
    frame = laid([one], points)
    torso, head = frame[30:44, 46:50], frame[10:14, 46:50]
    assert (torso != GRAY).any(-1).mean() > 0.9 and (head != GRAY).any(-1).mean() > 0.9


@pytest.mark.parametrize("gone", [[1], [1, 8], [2, 8], [5, 8], [2, 11]])
def test_a_neck_below_a_scarf_and_a_hip_by_one_shoulder_are_guessed(gone: list[int]) -> None:
    points = pose()
    points[gone] = 0
    found = completed(points)
    wanted = [joint for joint in gone if joint in (1, 8, 11)]
    assert np.abs(found - pose())[wanted].max() < 2
    assert (laid([cutout(pose())], points)[30:44, 46:50] != GRAY).any(-1).mean() > 0.9


def test_a_head_is_laid_by_the_middle_of_the_ears() -> None:
    points = pose()
    points[0, 0] += 6  # looks to the side
    assert completed(points)[0].tolist() == [48, 11, 1]
    points[17, 2] = 0  # one ear: on the way from it to the nose
    assert 44 < completed(points)[0, 0] < 50
    points[[0, 16], 2] = 0
    np.testing.assert_allclose(completed(points)[0, :2], [48, 10], rtol=1e-6)


def test_limbs_do_not_blink() -> None:
    poses = np.stack([pose() + np.float32([2 * n, 0, 0]) for n in range(14)])
    blinking = poses.copy()
    blinking[[0, 5, 6, 13], 4] = 0
    blinking[2:, 7] = 0  # not seen for longer
    found = steadied(blinking)
    np.testing.assert_allclose(found[:, 4, :2], poses[:, 4, :2], atol=1e-4)
    assert (found[:, 4, 2] >= VISIBLE).all()
    np.testing.assert_allclose(found[: GAP + 2, 7, :2], poses[: GAP + 2, 7, :2], atol=1e-4)
    assert (found[GAP + 2 :, 7, 2] == 0).all()
    assert (steadied(poses) == poses).all() and (steadied(0 * poses) == 0).all()


def test_large_pictures_are_halved_not_skipped_over() -> None:
    """A fine pattern becomes its mean on a small person, and stays on a large one."""
    large = pose() * np.float32([6, 6, 1])
    mask = np.kron(cutout(pose()).mask, np.ones((6, 6), np.float32))
    fine = np.kron(np.indices((SIDE * 3, SIDE * 3)).sum(0) % 2, np.ones((2, 2)))
    checked = np.repeat(255 * fine[..., None], 3, -1).astype(np.uint8)
    one = Cutout(checked, mask, large)
    chest = laid([one], pose())[30:44, 46:50]
    assert np.abs(chest.astype(int) - 127).max() < 30
    frame = laid([one], large, Size(6 * SIDE, 6 * SIDE))
    assert frame[190:250, 280:296].std() > 100


def test_what_is_not_seen_of_a_scene_is_left_out() -> None:
    points = pose()
    points[[3, 4], 2] = VISIBLE / 2
    frame = laid([cutout(pose())], points)
    assert (frame[22:36, 8:30] == GRAY).all() and (frame[22:36, 66:86] != GRAY).any()


def test_the_rim_of_a_large_pictures_mask_is_left_out() -> None:
    """It may show the picture's background."""
    scale = np.float32([6, 6, 1])
    mask = np.kron(cutout(pose()).mask, np.ones((6, 6), np.float32))
    picture = np.full((6 * SIDE, 6 * SIDE, 3), 255, np.uint8)
    picture[binary_erosion(mask > 0, iterations=2)] = 0
    frame = laid([Cutout(picture, mask, pose() * scale)], pose() * scale, Size(6 * SIDE, 6 * SIDE))
    assert frame.max() == GRAY and (frame == 0).any()


def test_poses_far_beyond_the_frame_and_of_no_length_are_no_trouble() -> None:
    far, flat, half = pose(), pose(), pose()
    far[..., :2] += 1e4
    flat[..., :2] = 50
    half[..., :2] -= 40
    assert (laid([cutout(pose())], far) == GRAY).all()
    assert (laid([cutout(pose())], flat) == GRAY).all()
    whole = laid([cutout(pose())], pose())
    assert np.array_equal(laid([cutout(pose())], half)[:50, :50], whole[40:90, 40:90])


def test_a_rendered_person_is_nearer_to_the_truth_than_gray() -> None:
    spec = sample_spec(3, "held-out")
    motion = replace(spec.motion, name="walk", yaw=0.2)
    spec = replace(spec, motion=motion, object=replace(spec.object, name="none"), occluder=None)
    clip = render(spec, 4, SIDE)
    one = Cutout(clip.frames[0], clip.masks[0] / np.float32(255), clip.keypoints[0])
    made = laid([one], clip.keypoints[3]).astype(float)
    person = clip.masks[3] > 127
    truth = clip.frames[3][person]
    assert np.abs(made[person] - truth).mean() < 0.6 * np.abs(GRAY - truth.astype(float)).mean()


def test_beside_laid_limbs_nothing_of_the_network_is_shown() -> None:
    points = pose()
    view = one_view(points).one(0, 1.0)
    limbs = Collage([cutout(points)])
    assert (beside(limbs, points, view) > 0.9).mean() > 0.97
    no_arm = points.copy()
    no_arm[[3, 4, 6, 7], 2] = 0
    off = beside(Collage([cutout(no_arm)]), points, view)
    assert off[28, 70] < 0.5 and off[60, 43] == 1 and off[12, 48] == 1  # arm, leg, head
    behind = points.copy()
    behind[[0, 14, 15], 2] = 0
    off = beside(limbs, behind, one_view(behind).one(0, 1.0))
    assert off[12, 48] == 0 and off[60, 43] == 1  # no picture shows the back of the head
    assert beside(Collage([]), points, view)[60, 43] == 0


def test_slits_between_limbs_show_what_the_picture_has_there() -> None:
    """Arms that hang close to the trunk in the picture, and a little off it in the frame."""
    close = pose()
    for side, sign in ((2, -1), (5, 1)):
        close[side : side + 3, :2] = [[48 + sign * 9, y] for y in (26, 38, 50)]
    one = cutout(close)
    body = one.mask.copy()
    body[26:52, 38:58] = 1
    picture = np.where(body[..., None] > 0, np.uint8(40), np.uint8(200)).repeat(3, -1)
    off = close.copy()
    off[[3, 4], 0] -= 2
    off[[6, 7], 0] += 2
    slit = np.s_[36:48, 40:44]
    view = one_view(off).one(0, 1.0)
    cover, color = Collage([Cutout(picture, body, close)]).layer(off, SIZE, view)
    assert cover[slit].min() > 0.9 and np.abs(color[slit] - 40 * cover[slit]).max() < 3
    beside = Collage([Cutout(picture, one.mask, close)])  # where nothing was, nothing is filled
    assert beside.layer(close, SIZE, view)[0][60:64, 47:49].max() < 0.1


def test_hands_and_feet_are_not_stretched() -> None:
    one = cutout(pose())
    feet = one.mask.copy()
    feet[88:94, 36:44] = 1  # a shoe
    longer = pose()
    longer[[10, 13], 1] += 12  # shins of half as much again
    picture = np.where(feet[..., None] > 0, np.uint8(40), np.uint8(200)).repeat(3, -1)
    shown = [
        Collage([Cutout(picture, feet, pose())]).layer(points, Size(SIDE, 120), view)[0][..., 0]
        for points, view in ((one, one_view(one).one(0, 1.0)) for one in (pose(), longer))
    ]
    shoes = [int((cover[88 + more : 110, 34:46] > 0.5).sum()) for cover, more in
             zip(shown, (0, 12), strict=True)]  # fmt: skip
    assert shoes[0] > 20 and abs(shoes[0] - shoes[1]) <= 0.15 * shoes[0]


def test_what_a_limb_lacks_is_the_networks_in_the_core_of_the_body() -> None:
    one, points = cutout(pose()), pose()
    mask = one.mask.copy()
    mask[20:34, 60:76] = 0  # of the left arm the hand is left
    view = one_view(points).one(0, 1.0)
    whole, lacking = (
        beside(Collage([one._replace(mask=some)]), points, view) for some in (one.mask, mask)
    )
    arm = np.s_[26:30, 66]
    assert whole[arm].min() > 0.9 and lacking[arm].min() < 0.2 and lacking[40, 66] == 1
    apart = points.copy()
    apart[[8, 9, 10], 0] -= 6
    apart[[11, 12, 13], 0] += 6
    legs, skirt = (Collage([one]) for _ in range(2))
    skirt.skirt = True
    assert beside(legs, apart, view)[60, 48] == 1 > beside(skirt, apart, view)[60, 48]


def test_forearms_lie_over_both_upper_arms() -> None:
    """The right hand on the left upper arm."""
    points = pose()
    points[[3, 4], :2] = [44, 38], [62, 27]
    picture = np.full((SIDE, SIDE, 3), 200, np.uint8)
    picture[:, :34] = 40  # the right forearm
    frame = laid([cutout(pose())._replace(picture=picture)], points)
    assert frame[27, 60].max() < 90


def test_knees_bend_without_a_gap() -> None:
    one, points = cutout(pose()), pose()
    points[10, :2] = points[9, :2] + (-14, 14)  # the right shin
    points[[11, 12, 13], 0] += 10
    cover = Collage([one]).layer(points, SIZE, one_view(points).one(0, 1.0))[0][..., 0]
    x, y = points[9, :2]
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    assert cover[np.hypot(columns - x, rows - y) < 3].min() > 0.9
    beside = (np.hypot(columns - x, rows - y) < 9) & (cover > 0.1)
    shin = points[10, :2] - (x, y)
    share = (((columns - x) * shin[0] + (rows - y) * shin[1]) / (shin @ shin)).clip(0, 1)
    apart = np.hypot(columns - x - share * shin[0], rows - y - share * shin[1])
    apart = np.minimum(apart, np.where(rows < y, np.abs(columns - x), np.inf))
    assert apart[beside].max() < 6


def test_a_torso_that_points_at_the_camera_tells_no_scale() -> None:
    bowing = pose()
    bowing[[8, 11], 1] = bowing[1, 1] + 4  # hips close below the neck
    assert not Collage([cutout(bowing)]) and not shows_torso(bowing[None])
    sitting = pose()
    sitting[[9, 10, 12, 13], 1] -= 18
    assert Collage([cutout(sitting)]) and shows_torso(sitting[None])


def test_where_an_arm_is_not_found_the_network_shows_none() -> None:
    """A detector gives places also for joints of which it is not sure."""
    points = pose()
    points[[6, 7], 2] = 0.1
    off = beside(Collage([cutout(pose())]), points, one_view(points).one(0, 1.0))
    assert off[20:34, 62:78].min() > 0.9
