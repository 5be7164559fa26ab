"""Arms and legs that bend at their joints."""

import numpy as np
import pytest

from animateanywhere.collage.bending import (
    Piece,
    _across,
    _moved_back,
    bend_of,
    bent,
    is_folded,
)
from animateanywhere.collage.limbs import Ends, Limb, moved

SIDE, RADIUS, WIDE = 96, 6.0, 5
UPPER, FORE = ((20, 48), (48, 48)), ((48, 48), (76, 48))  # in the picture: straight


def ends(points: tuple[tuple[float, float], tuple[float, float]]) -> Ends:
    return np.array(points[0], float), np.array(points[1], float)


def limb(left: int, right: int) -> Limb:
    """The pixels of an arm along the row 48: red grows along it, green across."""
    planes = np.zeros((4, SIDE, SIDE), np.float32)
    rows = slice(48 - WIDE, 48 + WIDE)
    planes[0, rows, left:right] = 1
    planes[1] = planes[0] * np.arange(SIDE) * 2
    planes[2] = planes[0] * np.arange(SIDE)[:, None] * 2
    return Limb(planes, np.array([0, 0]))


def arm(degrees: float, scale: float = 1.0, start: tuple[float, float] = (20, 48)) -> list[Piece]:
    """An arm that is bent in the frame."""
    angle = np.radians(degrees)
    elbow = np.add(start, (28 * abs(scale), 0))
    wrist = elbow + 28 * abs(scale) * np.array([np.cos(angle), np.sin(angle)])
    here = (np.array(start, float), elbow), (elbow, wrist)
    parts = limb(20, 51), limb(45, 76)  # overlapping, as those of `limbs_of`
    return [Piece(part, ends(there), place, scale)
            for part, there, place in zip(parts, (UPPER, FORE), here, strict=True)]  # fmt: skip


def whole(pieces: list[Piece], radius: float = RADIUS) -> tuple[np.ndarray, np.ndarray]:
    parts = bent(pieces, radius, (SIDE, SIDE))
    assert len(parts) == len(pieces)
    cover, color = np.zeros((SIDE, SIDE)), np.zeros((SIDE, SIDE, 3))
    for laid in (one for one in parts if one is not None):
        (left, top), (height, width) = laid.corner, laid.cover.shape[:2]
        place = slice(top, top + height), slice(left, left + width)
        cover[place] = cover[place] * (1 - laid.cover[..., 0]) + laid.cover[..., 0]
        color[place] = color[place] * (1 - laid.cover) + laid.color
    assert 0 <= cover.min() <= cover.max() <= 1.001
    return cover, color


@pytest.mark.parametrize("scale", [1.0, 0.5, -1.0])
def test_an_arm_as_in_the_picture_is_moved_as_a_whole(scale: float) -> None:
    cover, color = whole(arm(0, scale, (10, 40)))
    one = Limb(limb(20, 76).planes, np.array([0, 0]))
    here = ends(((10, 40), (10 + 56 * abs(scale), 40)))
    rigid = moved(one, ends(((20, 48), (76, 48))), here, scale, (SIDE, SIDE))
    sure = np.abs(rigid[0][..., 0] - 0.5) > 0.49
    assert np.abs(cover - rigid[0][..., 0])[sure].max() < 0.02
    assert np.abs(color - rigid[1])[sure].max() < 2


@pytest.mark.parametrize("degrees", [-100, -60, 30, 90])
def test_a_bent_joint_has_no_gap_and_no_spike(degrees: float) -> None:
    pieces = arm(degrees)
    cover, _ = whole(pieces)
    elbow = pieces[1].here[0]
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    from_elbow = np.stack([columns, rows], -1) - elbow
    assert cover[np.hypot(*from_elbow.T).T < 0.6 * WIDE].min() > 0.9
    apart = []
    for start, end in (one.here for one in pieces):
        along = end - start
        share = ((np.stack([columns, rows], -1) - start) @ along / (along @ along)).clip(0, 1)
        nearest = start + share[..., None] * along
        apart.append(np.hypot(columns - nearest[..., 0], rows - nearest[..., 1]))
    assert cover[np.min(apart, 0) > 1.5 * WIDE].max() < 0.1


@pytest.mark.parametrize("shown, degrees", [(170, 182), (100, 210), (175, -175), (-100, -190)])
def test_a_joint_turns_the_same_way_in_the_frame_and_in_the_picture(
    shown: float, degrees: float
) -> None:
    """Also where the one is bent by more than a half turn, and the other by less."""
    angle = np.radians(shown)
    wrist = np.array([48, 48]) + 28 * np.array([np.cos(angle), np.sin(angle)])
    before, after = arm(degrees)
    after = after._replace(there=(np.array([48.0, 48.0]), wrist))
    points = after.here[0] + np.array([[0, -1.0], [0, 1], [-1, 0], [1, 0]])
    at = [_across(before, after, points, np.full(4, share)) for share in np.linspace(0, 1, 41)]
    steps = np.abs(np.diff(at, axis=0)).max((1, 2))
    assert steps.max() < 0.2  # never around the whole circle
    assert np.allclose(at[0], _moved_back(before, points), atol=1e-3)
    assert np.allclose(at[-1], _moved_back(after, points), atol=1e-3)


def test_a_folded_joint_is_known() -> None:
    assert is_folded(*arm(170)) and is_folded(*arm(-176)) and not is_folded(*arm(120))


def test_along_a_bent_arm_colors_go_on() -> None:
    pieces = arm(60)
    cover, color = whole(pieces)
    points = [one.here[0] + share * (one.here[1] - one.here[0])
              for one in pieces for share in np.linspace(0.1, 0.95, 20)]  # fmt: skip
    red = np.array([color[int(y), int(x), 0] / cover[int(y), int(x)] for x, y in points])
    assert (np.diff(red) > -1.5).all() and 40 < red[0] < 60 and 140 < red[-1] < 155


def test_a_torso_bends_limbs_and_lays_nothing() -> None:
    arm_alone = arm(40)[1:]
    torso = arm(40)[0]._replace(limb=None)
    cover, _ = whole([torso, *arm_alone])
    alone, _ = whole(arm_alone)
    far = np.s_[:, 64:]
    assert np.allclose(cover[far], alone[far], atol=0.02)
    assert cover[48, 30] == 0 and bent([torso], RADIUS, (SIDE, SIDE)) == [None]


def test_how_much_otherwise_a_joint_is_bent() -> None:
    assert bend_of(*arm(0)) == pytest.approx(0)
    assert bend_of(*arm(90)) == pytest.approx(np.pi / 2)
    assert bend_of(*arm(-120)) == pytest.approx(np.radians(120))
    before, after = arm(30)
    turned = after._replace(there=ends(((48, 48), (48 + 24, 48 + 14))))  # 30 degrees as well
    assert bend_of(before, turned) == pytest.approx(0, abs=0.02)
    mirrored = [one._replace(scale=-1.0) for one in (before, turned)]
    assert bend_of(*mirrored) == pytest.approx(np.radians(60), abs=0.03)


def test_what_is_outside_of_the_frame_is_nothing() -> None:
    assert bent(arm(20, 1.0, (400, 48)), RADIUS, (SIDE, SIDE)) == [None, None]
