"""Arms and legs that bend at their joints, as skin does.

Each bone moves its own pixels; near a joint, a frame's pixel takes its place in the picture from
both bones (linear blend skinning, inverse), so that nothing is cut and no gap opens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from animateanywhere.collage.limbs import Ends, Limb, back_of, length_of, place_of

FOLDED = 0.3  # of two unit vectors' sum: less is a joint so sharp that it has no bisector
HALF = 0.5  # of a bone's length, at most, is blended at a joint
FADE = 10  # times as fast as a joint bends, a limb ends beyond it
NEAR = 2.0  # radii: at the torso, limbs are shown so near to the joint, and end at twice that


class Piece(NamedTuple):
    """A bone in a picture, `there`, and in a frame, `here`. limb: the pixels that it moves; None
    if others lay these. scale: of its width, negative for mirrored."""

    limb: Limb | None
    there: Ends
    here: Ends
    scale: float


class Laid(NamedTuple):
    """What is laid over a part of a frame: its corner int (2,), x and y, coverage float32
    (h, w, 1) in 0..1, and color times coverage (h, w, 3)."""

    corner: np.ndarray
    cover: np.ndarray
    color: np.ndarray


def bend_of(before: Piece, after: Piece) -> float:
    """By how much two bones are bent otherwise in the frame than in the picture, in radians up to
    pi."""
    here, there = _turns(before, after)
    return float(abs(here - np.sign(after.scale) * there))


def is_folded(before: Piece, after: Piece) -> bool:
    """Whether a bone lies on the one before, in the frame or in the picture, so that nothing
    distinguishes what is beyond their joint."""
    ends = ((before.here, after.here), (before.there, after.there))
    return any(bool(np.hypot(*_bisector(*both)) < FOLDED) for both in ends)


def bent(pieces: Sequence[Piece], radius: float, size: tuple[int, int]) -> list[Laid | None]:
    """The limb of each of consecutive bones, which begin where the one before ends, in a frame of a
    size (H, W); None for one that lays nothing. radius: pixels of the frame on both sides of a
    joint in which it bends. No joint may be folded."""
    boxes = [
        None if one.limb is None else place_of(one.limb, *one[1:], size, radius) for one in pieces
    ]
    return [
        None if box is None else _laid(pieces, number, radius, *box)
        for number, box in enumerate(boxes)
    ]


def _laid(
    pieces: Sequence[Piece], number: int, radius: float, corner: np.ndarray, size: tuple[int, int]
) -> Laid:
    """The limb of one of the bones in a rectangle of the frame: its corner (2,) and size (h, w)."""
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float32)
    points = np.stack([columns + corner[0], rows + corner[1]], -1) + np.float32(0.5)  # x and y
    piece = pieces[number]
    assert piece.limb is not None
    at = _moved_back(piece, points)
    shown = np.ones(size, np.float32)
    if number:
        before = pieces[number - 1]
        share = _beyond(before, piece, points, radius)
        near = share < 1
        at[near] = _across(before, piece, points[near], share[near])
        begun = FADE * share  # it ends at the joint that it begins at
        if before.limb is None:
            away = np.linalg.norm(points - piece.here[0].astype(np.float32), axis=-1)
            begun = np.maximum(begun, 2 - away / (NEAR * radius))
        shown *= begun.clip(0, 1)
    if number + 1 < len(pieces):
        share = _beyond(piece, pieces[number + 1], points, radius)
        near = share > 0
        at[near] = _across(piece, pieces[number + 1], points[near], share[near])
        shown *= (FADE * (1 - share)).clip(0, 1)
    apart = at - piece.limb.corner
    inside = (shown > 0) & ((apart > -1) & (apart < piece.limb.planes.shape[:0:-1])).all(-1)
    new = np.zeros((*size, 4), np.float32)
    new[inside] = _sampled(piece.limb, at[inside]) * shown[inside, None]
    return Laid(corner, new[..., :1], new[..., 1:])


def shown_at(piece: Piece, points: np.ndarray) -> np.ndarray:
    """What a bone brings to points (N, 2) of a frame: coverage and color times coverage, float32
    (N, 4). Its limb is not None."""
    assert piece.limb is not None
    return _sampled(piece.limb, _moved_back(piece, points))


def _across(before: Piece, after: Piece, points: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Where points (N, 2) at a joint are in the picture: the axes of one bone, turned into those of
    the next one, in the picture as in the frame. share: (N,), of the next bone."""
    here, there = (
        _angle(ends) + share * turn
        for ends, turn in zip((before.here, before.there), _turns(before, after), strict=True)
    )
    along, across = (
        one + share * (other - one)
        for one, other in zip(_ratios(before), _ratios(after), strict=True)
    )
    joint = after.here[0]
    x, y = (points - joint).T
    forwards = along * (x * np.cos(here) + y * np.sin(here))
    sideways = across * (y * np.cos(here) - x * np.sin(here))
    start = _moved_back(before, joint)
    start = start + share[:, None] * (after.there[0] - start)
    turned = np.stack([
        forwards * np.cos(there) - sideways * np.sin(there),
        forwards * np.sin(there) + sideways * np.cos(there),
    ], -1)  # fmt: skip
    moved: np.ndarray = (start + turned).astype(np.float32)
    return moved


def _turns(before: Piece, after: Piece) -> tuple[float, float]:
    """By how much the second of two bones is turned against the first, in radians, in the frame and
    in the picture: the same way around."""
    there = _wrapped(_angle(after.there) - _angle(before.there))
    same = float(np.sign(after.scale)) * there
    return same + _wrapped(_angle(after.here) - _angle(before.here) - same), there


def _moved_back(piece: Piece, points: np.ndarray) -> np.ndarray:
    """Where points (..., 2) of a frame are in the picture, by one bone."""
    back, here, there = (
        one.astype(np.float32)
        for one in (back_of(piece.there, piece.here, piece.scale), piece.here[0], piece.there[0])
    )
    moved: np.ndarray = (points - here) @ back.T + there
    return moved


def _ratios(piece: Piece) -> tuple[float, float]:
    """How much larger a bone is in the picture, along and across it."""
    return length_of(piece.there) / max(length_of(piece.here), 1e-6), 1 / piece.scale


def _angle(ends: Ends) -> float:
    x, y = ends[1] - ends[0]
    return float(np.arctan2(y, x))


def _wrapped(angle: float) -> float:
    return float((angle + np.pi) % (2 * np.pi) - np.pi)


def _beyond(before: Piece, after: Piece, points: np.ndarray, radius: float) -> np.ndarray:
    """How far points (h, w, 2) are beyond the joint of two bones, (h, w): from 0 to 1 across it."""
    joint = after.here[0]
    across = _unit(_bisector(before.here, after.here)).astype(np.float32)
    near = min(radius, HALF * length_of((before.here[0], joint)), HALF * length_of(after.here))
    apart = (points - joint.astype(np.float32)) @ across
    share = (apart / max(2 * near, 1e-6) + 0.5).clip(0, 1)
    smooth: np.ndarray = share * share * (3 - 2 * share)
    return smooth


def _bisector(before: Ends, after: Ends) -> np.ndarray:
    """Between the directions of two bones at their joint, (2,), as long as they agree: up to 2."""
    between: np.ndarray = _unit(after[0] - before[0]) + _unit(after[1] - after[0])
    return between


def _unit(vector: np.ndarray) -> np.ndarray:
    return np.asarray(vector / max(float(np.hypot(*vector)), 1e-6))


def _sampled(limb: Limb, at: np.ndarray) -> np.ndarray:
    """A limb's planes at places (..., 2) of its picture, bilinear: float32 (..., 4)."""
    planes = np.pad(np.moveaxis(limb.planes, 0, -1), ((1, 1), (1, 1), (0, 0)))
    height, width = planes.shape[:2]
    x, y = np.moveaxis((at - limb.corner + 0.5).astype(np.float32), -1, 0)
    x, y = x.clip(0, width - 1.001), y.clip(0, height - 1.001)  # beyond the edge there is nothing
    left, top = x.astype(np.int32), y.astype(np.int32)
    across, down = (x - left)[..., None], (y - top)[..., None]
    upper = planes[top, left] * (1 - across) + planes[top, left + 1] * across
    lower = planes[top + 1, left] * (1 - across) + planes[top + 1, left + 1] * across
    out: np.ndarray = upper * (1 - down) + lower * down
    return out
