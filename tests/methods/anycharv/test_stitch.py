"""The network's squares back into the scene: nothing but what was meant to change does."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from animateanywhere.collage.limb_collage import Collage, Cutout
from animateanywhere.core.frame_size import square
from animateanywhere.methods.anycharv.stitch import changed_share, cut_out, paste, patches
from animateanywhere.preprocessing.crop import crop_corners, following_squares

SIDE, FRAMES = 48, 6


def scene(height: int = 80, width: int = 120, seed: int = 0) -> np.ndarray:
    """Frames of soft noise, in which every shift of a pixel shows."""
    rng = np.random.default_rng(seed)
    rough = rng.integers(0, 255, (FRAMES, height, width, 3))
    return ((rough + np.roll(rough, 1, 1) + np.roll(rough, 1, 2)) // 3).astype(np.uint8)


def masks(left: int, right: int, top: int = 8, bottom: int = 40) -> np.ndarray:
    out = np.zeros((FRAMES, SIDE, SIDE), np.float32)
    out[:, top:bottom, left:right] = 1
    return out


BOX, OLD, NOBODY = masks(6, 40, 2, 46), masks(16, 30), np.zeros((FRAMES, SIDE, SIDE), np.float32)
# An old person who stood beside the box; with no mask at all, the pose stands in for it
BESIDE = masks(42, 46, 44, 47)
SQUARES = np.tile([0, 0, SIDE], (FRAMES, 1))
UNKNOWN = np.zeros((FRAMES, 18, 3), np.float32)  # poses of which no joint is seen


@pytest.mark.parametrize("keep", ["changed", "box"])
@pytest.mark.parametrize("left, top, side", [(30, 20, SIDE), (-17, -9, SIDE), (90, 50, SIDE)])
def test_a_person_swapped_with_himself_gives_the_scene(keep, left, top, side):
    frames = scene()
    squares = np.tile([left, top, side], (FRAMES, 1))
    cut = cut_out(frames, squares, SIDE)
    patch = patches(cut, cut, cut, SQUARES, BOX, OLD, NOBODY, UNKNOWN, keep)
    for index, frame in enumerate(frames):
        assert (paste(frame, squares[index], cut[index], patch, index) == frame).all()


@pytest.mark.parametrize("side", [31, 64, 77])
def test_what_did_not_change_is_the_scenes_at_any_size(side):
    """Also where the VAE loses detail: nothing is pasted that the network did not change."""
    frames = scene()
    squares = np.tile([20, 5, side], (FRAMES, 1))
    cut = cut_out(frames, squares, SIDE)
    plain = (cut * 0.8 + 20).astype(np.uint8)
    patch = patches(plain, plain, cut, SQUARES, BOX, OLD, NOBODY, UNKNOWN)
    assert not patch.matte.any() and not changed_share(plain, plain, BOX).any()
    assert (paste(frames[0], squares[0], plain[0], patch, 0) == frames[0]).all()


@pytest.mark.parametrize("side", [48, 77])
@pytest.mark.parametrize("keep", ["changed", "box"])
def test_outside_of_the_region_and_on_others_every_byte_is_the_scenes(keep, side):
    frames = scene(height=90)
    squares = np.tile([20, 5, side], (FRAMES, 1))
    cut = cut_out(frames, squares, SIDE)
    made, someone = 255 - cut, masks(34, 48)
    patch = patches(made, cut, cut, SQUARES, BOX, OLD, someone, UNKNOWN, keep)
    out = paste(frames[0], squares[0], made[0], patch, 0)
    changed = (out != frames[0]).any(-1)
    place = np.zeros(frames.shape[1:3])
    place[5 : 5 + side, 20 : 20 + side] = _scaled(BOX[0] - someone[0], side)
    assert changed.any() and not changed[place <= 0].any()
    # and where the old person stood, nothing of the old picture is left
    middle = changed[5 + side // 3 : 5 + side // 2, 20 + side * 20 // SIDE : 20 + side * 26 // SIDE]
    assert middle.mean() > 0.95


def _scaled(mask: np.ndarray, side: int) -> np.ndarray:
    index = ((np.arange(side) + 0.5) * SIDE / side).astype(int)
    return mask[index][:, index]


def test_a_change_beside_the_old_person_is_in_the_matte_and_the_ground_is_not():
    cut = cut_out(scene(), np.tile([20, 5, SIDE], (FRAMES, 1)), SIDE)
    made = cut.copy()
    made[:, 10:30, 31:38] = 255 - made[:, 10:30, 31:38]  # an arm that the old person lacks
    patch = patches(made, cut, cut, SQUARES, BOX, OLD, NOBODY, UNKNOWN)
    assert patch.matte[:, 12:28, 33:36].mean() > 0.9
    assert patch.matte[:, 12:38, 18:28].mean() > 0.95  # the old person goes as a whole
    assert patch.matte[:, 8:40, 7:12].mean() < 0.05
    for keep in ("changed", "box", "none"):  # however much is laid over the scene
        patch = patches(made, cut, cut, SQUARES, BOX, OLD, NOBODY, UNKNOWN, keep)
        assert patch.matte.any()
    share = changed_share(made, cut, BOX)
    assert share.min() > 0.08 and share.max() < 0.3


@pytest.mark.parametrize("where", [(-SIDE, 0), (-500, -500), (120, 0), (0, 80), (0, -90)])
def test_a_square_beyond_the_frame_leaves_it_as_it_is(where: tuple[int, int]) -> None:
    frames, cut = scene(), cut_out(scene(), SQUARES, SIDE)
    patch = patches(255 - cut, cut, cut, SQUARES, BOX, OLD, NOBODY, standing(14))
    for limbs in (None, Collage([])):
        out = paste(frames[0], np.array([*where, SIDE]), 255 - cut[0], patch, 0, limbs)
        assert np.array_equal(out, frames[0])


def test_an_old_person_who_leaps_goes_in_each_frame():
    """In frame 2 he is where he is not in the frames beside it."""
    cut = cut_out(scene(), np.tile([20, 5, SIDE], (FRAMES, 1)), SIDE)
    old = masks(8, 16)
    old[2] = masks(28, 36)[2]
    made = np.where(old[..., None] > 0, 255 - cut, cut)
    matte = patches(made, cut, cut, SQUARES, BOX, old, NOBODY, UNKNOWN).matte
    assert matte[2, 12:36, 30:34].min() > 0.9 and matte[1, 12:36, 10:14].min() > 0.9


def test_the_tint_of_the_vae_is_taken_off():
    cut = np.full((FRAMES, SIDE, SIDE, 3), 120, np.uint8)
    cut += np.random.default_rng(0).integers(-20, 20, cut.shape).astype(np.uint8)
    plain = (cut * 0.9 + 20).astype(np.uint8)
    made = plain.copy()
    made[:, 10:40, 18:30] = (np.array([60, 200, 90]) * 0.9 + 20).astype(np.uint8)
    patch = patches(made, plain, cut, SQUARES, BOX, OLD, NOBODY, UNKNOWN)
    matched = patch.matched(made).astype(int)
    assert np.abs(matched[:, 20, 24] - [60, 200, 90]).max() <= 2
    assert np.abs(matched[:, 4, 4] - cut[:, 4, 4]).max() <= 2


def test_all_of_the_square_as_the_vae_gives_it():
    frames = scene()
    squares = np.tile([20, 5, SIDE], (FRAMES, 1))
    made = cut_out(scene(seed=1), squares, SIDE)
    patch = patches(made, made, made, SQUARES, BOX, OLD, NOBODY, UNKNOWN, "none")
    out = paste(frames[2], squares[2], made[2], patch, 2)
    assert (out[5 : 5 + SIDE, 20 : 20 + SIDE] == made[2]).all()


def test_squares_follow_without_jumps_and_hold_every_box():
    rng = np.random.default_rng(1)
    steps = np.linspace(0, 600, 90)
    low = np.column_stack([steps, 40 + 5 * np.sin(steps / 40)]) + rng.normal(0, 3, (90, 2))
    zoom = np.linspace(60, 110, 90)[:, None] + rng.normal(0, 2, (90, 1))
    boxes = np.concatenate([low, low + zoom * [0.5, 1]], 1)
    found = following_squares(boxes, 30)
    edges = np.concatenate([found[:, :2] - found[:, 2:] / 2, found[:, :2] + found[:, 2:] / 2], 1)
    assert (edges[:, :2] <= boxes[:, :2] + 1e-6).all() and (
        edges[:, 2:] >= boxes[:, 2:] - 1e-6
    ).all()
    assert np.abs(np.diff(found, 2, axis=0)).max() < 1.5 < np.abs(np.diff(boxes, 2, axis=0)).max()
    assert found[:, 2].max() < 1.8 * zoom.max() and found[0, 2] < 0.8 * found[-1, 2]
    still = following_squares(boxes - steps[:, None] * [1, 0, 1, 0], 30)
    assert len(np.unique(crop_corners(still, square(SIDE)), axis=0)) == 1


def standing(middle: float) -> np.ndarray:
    """A person who stands upright in the squares, (FRAMES, 18, 3)."""
    pose = np.zeros((18, 3), np.float32)
    places = {0: (0, 10), 1: (0, 14), 2: (-3, 14), 5: (3, 14), 8: (-2, 26), 11: (2, 26),
              9: (-2, 34), 12: (2, 34), 10: (-2, 42), 13: (2, 42)}  # fmt: skip
    for joint, (x, y) in places.items():
        pose[joint] = middle + x, y, 1
    return np.tile(pose, (FRAMES, 1, 1))


def test_with_a_collage_the_old_person_leaves_the_colors_around() -> None:
    """Off the new one's body, whatever the network drew there."""
    frames = np.full((FRAMES, 80, 120, 3), 60, np.uint8)
    squares = np.tile([20, 5, SIDE], (FRAMES, 1))
    old = masks(26, 40, 14, 34)
    cut = cut_out(frames, squares, SIDE)
    cut[old > 0] = 220
    for frame, one in zip(frames, cut, strict=True):
        frame[5 : 5 + SIDE, 20 : 20 + SIDE] = one
    made = np.where(old[..., None] > 0, np.uint8(160), cut)
    made[:, 14:34, 10:18] = 200  # the new one
    patch = patches(made, cut, cut, SQUARES, BOX, old, NOBODY, standing(14))
    nothing = Collage([])
    without, out = (paste(frames[1], squares[1], made[1], patch, 1, some)
                    for some in (None, nothing))  # fmt: skip
    middle = np.s_[5 + 20 : 5 + 30, 20 + 30 : 20 + 36]
    assert without[middle].min() > 120 and out[middle].max() < 80
    assert np.array_equal(out[:, :25], without[:, :25])


def test_with_a_collage_what_stood_behind_the_old_person_comes_back() -> None:
    """As other frames show it, in squares that move over the scene and grow."""
    blobs = gaussian_filter(scene()[:1].astype(np.float32), (0, 4, 4, 0))
    frames = np.repeat(((blobs - 127) * 8 + 127).clip(0, 255).astype(np.uint8), FRAMES, 0)
    squares = np.array([[20 - n, 5 - n, SIDE + 4 * n] for n in range(FRAMES)])
    old = np.stack([masks(30 - 4 * n, 36 - 4 * n, 14, 34)[0] for n in range(FRAMES)])
    truth = cut_out(frames, squares, SIDE)
    shown = np.where(old[..., None] > 0, np.uint8(220), truth)
    made = np.where(old[..., None] > 0, np.uint8(20), truth)
    patch = patches(made, shown, shown, squares, BOX, old, NOBODY, standing(44))
    for n in range(FRAMES):
        out = paste(frames[n], squares[n], made[n], patch, n, Collage([]))
        hole = np.s_[16:32, 31 - 4 * n : 35 - 4 * n]
        pasted = cut_out(out[None], squares[n : n + 1], SIDE)[0]
        assert np.abs(pasted[hole] - truth[n][hole].astype(int)).mean() < 6


def test_a_frame_without_a_mask_does_not_bring_the_old_person_back() -> None:
    """In the others, where no frame shows what stood behind."""
    old = masks(20, 36, 4, 46)
    slope = np.linspace(20, 100, SIDE).astype(np.uint8)
    cut = np.tile(slope[None, None, :, None], (FRAMES, SIDE, 1, 3))
    cut[old > 0] = 220
    old[2] = 0
    patch = patches(cut, cut, cut, SQUARES, BOX, old, NOBODY, standing(28))
    assert patch.behind[[0, 1, 3, 4, 5], 12:38, 22:34].max() < 100


@pytest.mark.parametrize("lacking", [[2], [2, 3]])
def test_the_old_person_goes_also_in_frames_without_a_mask(lacking: list[int]) -> None:
    """White before a dark wall: what the new body does not hide would show beside it."""
    old, new = masks(20, 36, 4, 46), masks(24, 32, 4, 46)
    cut = np.full((FRAMES, SIDE, SIDE, 3), 60, np.uint8)
    cut[old > 0] = 250
    made = cut.copy()
    made[new > 0] = (200, 0, 0)
    old[lacking] = 0
    poses = standing(28)
    patch = patches(made, cut, cut, SQUARES, BOX, old, NOBODY, poses)
    red = np.full((SIDE, SIDE, 3), (200, 0, 0), np.uint8)
    limbs = Collage([Cutout(red, new[0], poses[0])])
    for index in lacking:
        out = paste(cut[index], SQUARES[index], made[index], patch, index, limbs)
        assert out[12:40, [21, 22, 33, 34]].max(-1).mean() < 120


@pytest.mark.parametrize("keep, kept", [("changed", True), ("box", False), ("none", False)])
def test_with_a_collage_the_scene_is_its_own_off_the_body(keep: str, kept: bool) -> None:
    """Also where the network drew something, unless more of that is asked for."""
    frames = scene()
    squares = np.tile([20, 5, SIDE], (FRAMES, 1))
    cut = cut_out(frames, squares, SIDE)
    made = cut.copy()
    made[:, 10:42, 8:36] = 255 - made[:, 10:42, 8:36]  # a body at 14, and far beside it
    patch = patches(made, cut, cut, squares, BOX, NOBODY, NOBODY, standing(14), keep)
    without, out = (paste(frames[1], squares[1], made[1], patch, 1, some)
                    for some in (None, Collage([])))  # fmt: skip
    far, body = np.s_[5 + 16 : 5 + 36, 20 + 26 : 20 + 34], np.s_[5 + 16 : 5 + 24, 20 + 13 : 20 + 16]
    assert (without[far] != frames[1][far]).any(-1).mean() > 0.9
    assert np.array_equal(out[far], frames[1][far]) == kept
    assert np.array_equal(out[body], without[body]) and (out[body] != frames[1][body]).any()


@pytest.mark.parametrize("keep", ["changed", "box", "none"])
def test_the_mark_is_on_what_is_not_the_scenes_own_and_nowhere_else(keep: str) -> None:
    frames = scene()
    squares = np.tile([20, 5, SIDE], (FRAMES, 1))
    cut = cut_out(frames, squares, SIDE)
    made = cut.copy()
    made[:, 10:42, 8:36] = 255 - made[:, 10:42, 8:36]
    patch = patches(made, cut, cut, squares, BOX, NOBODY, NOBODY, standing(14), keep)
    for some in (None, Collage([])):
        out = paste(frames[1], squares[1], made[1], patch, 1, some)
        marked = paste(frames[1], squares[1], made[1], patch, 1, some, (255, 40, 40))
        changed, red = ((one != frames[1]).any(-1) for one in (out, marked))
        assert changed.sum() > 100 and (red | ~changed).all()  # all that changed is marked
        whole = (marked == (255, 40, 40)).all(-1)
        drawn = np.abs(made[1].astype(int) - cut[1]).min(-1) > 30
        shown = whole[5 : 5 + SIDE, 20 : 20 + SIDE] & drawn
        assert shown.any() and changed[5 : 5 + SIDE, 20 : 20 + SIDE][shown].all()
        if keep == "changed" and some is not None:  # off the body
            assert not red[5 + 16 : 5 + 36, 20 + 26 : 20 + 34].any()


@pytest.mark.parametrize("skirt", [False, True])
def test_between_the_legs_the_scene_is_its_own_but_with_a_skirt(skirt: bool) -> None:
    frames = scene()
    squares = np.tile([20, 5, SIDE], (FRAMES, 1))
    cut = cut_out(frames, squares, SIDE)
    made = 255 - cut
    poses = standing(23)
    poses[:, [8, 9, 10], 0] -= 6
    poses[:, [11, 12, 13], 0] += 6
    patch = patches(made, cut, cut, squares, BOX, BESIDE, NOBODY, poses)
    limbs = Collage([])
    limbs.skirt = skirt
    out = paste(frames[1], squares[1], made[1], patch, 1, limbs)
    between, leg = (np.s_[5 + 31 : 5 + 36, 20 + x : 20 + x + 2] for x in (22, 15))
    assert np.array_equal(out[between], frames[1][between]) != skirt
    assert (out[leg] != frames[1][leg]).any(-1).all()


def test_a_head_that_no_picture_shows_is_the_networks_with_its_hair() -> None:
    frames = scene()
    squares = np.tile([20, 5, SIDE], (FRAMES, 1))
    cut = cut_out(frames, squares, SIDE)
    made = 255 - cut
    poses = standing(23)  # with a nose: from the front
    patch = patches(made, cut, cut, squares, BOX, BESIDE, NOBODY, poses)
    front, back = poses[0].copy(), poses[0].copy()
    back[0] = 0
    back[16] = 23, 10, 1
    changed = []
    for points in (front, back):
        limbs = Collage([Cutout(cut[1], np.ones((SIDE, SIDE), np.float32), points)])
        limbs.layer = lambda pose, size, view: (  # type: ignore[method-assign]
            np.zeros((SIDE, SIDE, 1), np.float32), np.zeros((SIDE, SIDE, 3), np.float32)
        )  # fmt: skip
        out = paste(frames[1], squares[1], made[1], patch, 1, limbs)
        changed.append(int((out != frames[1])[5 : 5 + 13].any(-1).sum()))
    assert changed[1] > 10 * changed[0]  # beside a head that is laid, the scene is its own


def test_what_stands_in_front_of_the_person_stays_the_scenes() -> None:
    """A rail across the legs: on the body, not in the mask of the old person, and left as it was
    by the network. What it did change there is the new person."""
    cut = np.full((FRAMES, SIDE, SIDE, 3), 80, np.uint8)
    old = masks(4, 24)
    rail = np.zeros((FRAMES, SIDE, SIDE), bool)
    rail[:, 29:35] = True
    old[rail], cut[rail] = 0, 240
    made = np.where((old > 0)[..., None], np.uint8(180), cut)
    patch = patches(made, cut, cut, SQUARES, BOX, old, NOBODY, standing(14))
    trunk, bar = np.s_[:, 18:24, 12:16], np.s_[:, 31:33, 12:16]
    assert patch.matte[trunk].min() > 0.9 and not patch.matte[bar].any()
    assert not patch.region[bar].any() and patch.region[trunk].all()
    made[rail] = 180
    changed = patches(made, cut, cut, SQUARES, BOX, old, NOBODY, standing(14))
    assert changed.matte[bar].min() > 0.9


@pytest.mark.parametrize("left", [0, 20])
def test_a_frame_without_a_mask_has_nothing_on_the_body_in_front(left: int) -> None:
    """Though the others have masks. left: pixels of a mask that is hardly there."""
    cut, made = np.full((2, FRAMES, SIDE, SIDE, 3), 60, np.uint8)
    made[:, 2:46, 16:40] = (200, 0, 0)
    made[:, 20:28, 24:32] = 60  # as it was
    old = masks(20, 36, 4, 46)
    old[2:4] = 0
    old[2:4, 40, 20 : 20 + left] = 1
    patch = patches(made, cut, cut, SQUARES, BOX, old, NOBODY, standing(28))
    assert patch.region[2:4, 8:40, 24:32].all()


def test_without_any_mask_nothing_on_the_body_counts_as_in_front() -> None:
    """What a network left of the old person would show as spots on the new one."""
    cut, made = np.full((2, FRAMES, SIDE, SIDE, 3), 60, np.uint8)
    made[:, 2:46, 16:40] = (200, 0, 0)
    made[:, 20:28, 24:32] = 60  # as it was
    patch = patches(made, cut, cut, SQUARES, BOX, NOBODY, NOBODY, standing(28))
    assert patch.region[:, 8:40, 24:32].all()
    patch = patches(made, cut, cut, SQUARES, BOX, BESIDE, NOBODY, standing(28))
    assert not patch.region[:, 20:28, 24:32].all()


def test_far_from_the_body_only_much_that_changed_is_laid_over_the_scene():
    cut = np.full((FRAMES, SIDE, SIDE, 3), 80, np.uint8)
    whole, poses = masks(0, SIDE, 0, SIDE), standing(14)
    nobody = np.zeros_like(OLD)

    def laid(gray: int, where: np.ndarray) -> np.ndarray:
        made = cut.copy()
        made[where > 0] = gray
        matte: np.ndarray = patches(made, cut, cut, SQUARES, whole, nobody, nobody, poses).matte
        return matte[2]

    body, beside = masks(12, 16, 14, 40), masks(36, 44, 14, 40)
    a_little, much = 110, 230
    assert laid(a_little, body)[27, 14] > 0.9
    assert not laid(a_little, beside).any()
    assert laid(much, beside)[27, 40] > 0.9
    assert not laid(a_little, np.maximum(body, beside))[27, 40]


@pytest.mark.parametrize("side", [SIDE, 77])
def test_a_collage_is_laid_whole_but_on_others_and_at_the_scenes_size(side: int) -> None:
    frames = scene()
    squares = np.tile([20, 5, side], (FRAMES, 1))
    cut = cut_out(frames, squares, SIDE)
    made, points = cut.copy(), standing(24)[0]
    made[:, :, :22] = 255 - made[:, :, :22]  # the network drew half of the body only
    poses = np.tile(points, (FRAMES, 1, 1))
    poses[2, 1] = 0  # the neck is not seen for a frame
    body, other = masks(16, 32, 8, 34), masks(29, 48)  # the old person, and somebody beside
    red = np.full((SIDE, SIDE, 3), (250, 0, 0), np.uint8)
    limbs = Collage([Cutout(red, np.ones((SIDE, SIDE), np.float32), points)])
    scale = side / SIDE

    def at(x: int, y: int) -> tuple[int, int]:
        return 5 + int(scale * y), 20 + int(scale * x)

    for keep in ("changed", "box"):
        patch = patches(made, cut, cut, squares, masks(6, 40, 2, 36), body, other, poses, keep)
        for index in (0, 2):
            out = paste(frames[index], squares[index], made[index], patch, index, limbs)
            is_red = (out[..., 0] > 180) & (out[..., 1:].max(-1) < 90)
            assert is_red[at(22, 22)] and is_red[at(26, 22)]  # also where nothing was drawn
            assert is_red[at(24, 38)] == (keep == "changed")  # below the box
            top, left = at(31, 9)
            beside = slice(top, 5 + int(scale * 39)), slice(left, None)
            assert (out[beside] == frames[index][beside]).all()
    assert np.array_equal(paste(frames[0], squares[0], cut[0], patches(
        cut, cut, cut, SQUARES, BOX, OLD, NOBODY, poses), 0, limbs), frames[0])  # fmt: skip
