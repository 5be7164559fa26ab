"""Arms and legs that bend at their joints, as skin does.

Each bone moves its own pixels; near a joint, a frame's pixel takes its place in the picture from
both bones (linear blend skinning, inverse), so that nothing is cut and no gap opens.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
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
    here = _angle(after.here) - _angle(before.here)
    there = _angle(after.there) - _angle(before.there)
    return abs(_wrapped(here - np.sign(after.scale) * there))


def bent(pieces: Sequence[Piece], radius: float, size: tuple[int, int]) -> Laid | None:
    """The limbs of consecutive bones, each beginning where the one before ends, in a frame of a
    size (H, W); None where nothing is in it. radius: pixels of the frame on both sides of a joint
    in which it bends."""
    found = [place_of(one.limb, *one[1:], size, radius) for one in pieces if one.limb is not None]
    places = [place for place in found if place is not None]
    if not places:
        return None
    low = np.min([corner for corner, _ in places], 0)
    high = np.max([corner + extent[::-1] for corner, extent in places], 0)
    rows, columns = np.mgrid[low[1] : high[1], low[0] : high[0]]
    points = np.stack([columns, rows], -1).astype(np.float32) + 0.5  # (h, w, 2), x and y
    shares = [_beyond(*both, points, radius) for both in pairwise(pieces)]
    at = _in_picture(pieces, shares, points)
    cover = np.zeros((*at.shape[:2], 1), np.float32)
    color = np.zeros((*at.shape[:2], 3), np.float32)
    for number, piece in enumerate(pieces):
        if piece.limb is None:
            continue
        new = _sampled(piece.limb, at)
        if number:  # it ends at the joint that it begins at
            shown = FADE * shares[number - 1]
            if pieces[number - 1].limb is None:
                apart = np.linalg.norm(points - piece.here[0], axis=-1)
                shown = np.maximum(shown, 2 - apart / (NEAR * radius))
            new *= shown.clip(0, 1)[..., None]
        if number < len(shares):
            new *= (FADE * (1 - shares[number])).clip(0, 1)[..., None]
        cover += new[..., :1] * (1 - cover)
        color = color * (1 - new[..., :1]) + new[..., 1:]
    return Laid(low, cover, color)


def shown_at(piece: Piece, points: np.ndarray) -> np.ndarray:
    """What a bone brings to points (N, 2) of a frame: coverage and color times coverage, float32
    (N, 4). Its limb is not None."""
    assert piece.limb is not None
    return _sampled(piece.limb, _moved_back(piece, points))


def _in_picture(
    pieces: Sequence[Piece], shares: Sequence[np.ndarray], points: np.ndarray
) -> np.ndarray:
    """Where points (h, w, 2) of a frame are in the picture. shares: (h, w), as of `_beyond`, for
    each joint."""
    at = _moved_back(pieces[0], points)
    for (before, after), share in zip(pairwise(pieces), shares, strict=True):
        there = share > 0
        at[there] = _across(before, after, points[there], share[there])
    return at


def _across(before: Piece, after: Piece, points: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Where points (N, 2) at a joint are in the picture: the axes of one bone, turned into those of
    the next one, in the picture as in the frame. share: (N,), of the next bone."""
    here, there = (
        _angle(one) + share * _wrapped(_angle(other) - _angle(one))
        for one, other in ((before.here, after.here), (before.there, after.there))
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
    moved: np.ndarray = start + turned
    return moved


def _moved_back(piece: Piece, points: np.ndarray) -> np.ndarray:
    """Where points (..., 2) of a frame are in the picture, by one bone."""
    back = back_of(piece.there, piece.here, piece.scale)
    moved: np.ndarray = (points - piece.here[0]) @ back.T + piece.there[0]
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
    onwards = _unit(after.here[1] - joint)
    across = _unit(joint - before.here[0]) + onwards
    across = _unit(across) if np.hypot(*across) > FOLDED else onwards
    near = min(radius, HALF * length_of((before.here[0], joint)), HALF * length_of(after.here))
    share = (((points - joint) @ across) / max(2 * near, 1e-6) + 0.5).clip(0, 1)
    smooth: np.ndarray = share * share * (3 - 2 * share)
    return smooth


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
