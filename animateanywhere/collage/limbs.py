"""The limbs of a person: which pixels of a picture belong to which bone, and how they lie on
another one.

Each pixel belongs to the limb that is nearest, a capsule around a bone. A limb is stretched along
its bone, and keeps its width relative to the body.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
from PIL import Image

from animateanywhere.pose.keypoints import VISIBLE

Bone = tuple[tuple[int, int], tuple[int, int]]  # of each end two keypoints, whose mean it is
Ends = tuple[np.ndarray, np.ndarray]  # of a bone in pixels, (2,) each

ROUND = 0.5  # pixels by which a limb reaches over its own, so that no gap opens at a joint
OVERLAP = 0.12  # of a bone's length, by which a limb reaches beyond both joints
# In the order in which they are laid
LEGS = (((8, 8), (9, 9)), ((11, 11), (12, 12)), ((9, 9), (10, 10)), ((12, 12), (13, 13)))
TORSO = (((1, 1), (8, 11)),)
HEAD = (((1, 1), (0, 0)),)
ARMS = (((2, 2), (3, 3)), ((5, 5), (6, 6)), ((3, 3), (4, 4)), ((6, 6), (7, 7)))
BONES = (*LEGS, *TORSO, *HEAD, *ARMS)
# Of limbs, about, as shares of the torso's length: pixels are theirs whose surface is the nearest
RADII = (0.17, 0.17, 0.13, 0.13, 0.33, 0.28, 0.11, 0.11, 0.12, 0.12)
# How far beyond its second end a bone reaches, of its length: heads, and forearms with their hands
BEYOND = (0, 0, 0, 0, 0, 0.6, 0, 0, 0.5, 0.5)
# Thighs over the torso: what is below the hips is theirs as well, as it moves with legs
GROIN = ((0, 4), (1, 4))
# The limbs that each may lie over at its ends; over others, which are only beside it, none lies
CHAINED = ((2, 4), (3, 4), (0,), (1,), (), (), (8, 4), (9, 4), (6,), (7,))
OTHER_SIDE = (1, 0, 3, 2, 4, 5, 7, 6, 9, 8)  # the bone of the other side, for each


class Limb(NamedTuple):
    """The pixels of a limb: coverage in 0..1 and color times coverage, float32 (4, h, w), in the
    rectangle of the picture that they need, and its corner int (2,), x and y."""

    planes: np.ndarray
    corner: np.ndarray


def is_seen(points: np.ndarray, bone: Bone) -> bool:
    """Whether all keypoints of a bone are seen, in a pose (18, 3)."""
    return all(points[list(joints), 2].min() >= VISIBLE for joints in bone)


def ends_of(points: np.ndarray, bone: Bone) -> Ends:
    """The ends of a bone of a pose (18, 3)."""
    start, end = (points[list(joints), :2].mean(0) for joints in bone)
    return start, end


def length_of(ends: Ends) -> float:
    """The distance of two ends, in pixels."""
    return float(np.hypot(*(ends[1] - ends[0])))


def torso_of(points: np.ndarray) -> float:
    """The length of the torso, in pixels, whose perspective foreshortening is the least."""
    return length_of(ends_of(points, TORSO[0]))


def limbs_of(
    picture: np.ndarray, mask: np.ndarray, pose: np.ndarray, seen_only: bool = False
) -> list[Limb | None]:
    """The limb of each bone: the pixels that it is nearest to, and a little beyond the joints; None
    if there are none. picture: uint8 (h, w, 3). mask: (h, w) in 0..1. seen_only: bones that are not
    seen have none."""
    there = [not seen_only or is_seen(pose, bone) for bone in BONES]
    rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]]
    grid = np.stack([columns, rows], -1) + 0.5  # (h, w, 2), x and y
    distances: list[np.ndarray] = []
    torso = torso_of(pose)
    for bone, radius, beyond in zip(BONES, RADII, BEYOND, strict=True):
        start, end = ends_of(pose, bone)
        along = end - start
        length = max(float(along @ along), 1e-6)
        share = ((grid - start) @ along / length).clip(0, 1 + beyond)
        apart = np.linalg.norm(grid - start - share[..., None] * along, axis=-1)
        distances.append(apart - radius * torso if there[len(distances)] else 1e9 + apart)
    neck, hips = ends_of(pose, TORSO[0])
    groin = ((grid - hips) @ (hips - neck) / max(torso, 1e-6)).clip(0)
    out = []
    for number, own in enumerate(distances):
        over = OVERLAP * length_of(ends_of(pose, BONES[number]))
        apart = np.stack([
            other + (over if n in CHAINED[number] else 0) + (groin if (number, n) in GROIN else 0)
            for n, other in enumerate(distances) if n != number
        ]).min(0)  # fmt: skip
        # Soft at the edges, so that no stairs show where it is enlarged; beyond all bones, nothing
        share = (apart + ROUND - own + 0.5).clip(0, 1) if there[number] else 0 * apart
        out.append(limb_of(picture, mask * share))
    return out


def limb_of(picture: np.ndarray, mask: np.ndarray) -> Limb | None:
    """The pixels of a picture uint8 (h, w, 3) that a mask (h, w) in 0..1 holds; None if none."""
    cover = mask.astype(np.float32)
    rows, columns = np.flatnonzero(cover.any(1)), np.flatnonzero(cover.any(0))
    if not len(rows):
        return None
    top, left = max(rows[0] - 1, 0), max(columns[0] - 1, 0)  # with zeros around, to fade to
    place = slice(top, rows[-1] + 2), slice(left, columns[-1] + 2)
    color = np.moveaxis(picture[place] * cover[place][..., None], -1, 0)
    return Limb(np.stack([cover[place], *color]).astype(np.float32), np.array([left, top]))


def moved(
    limb: Limb, there: Ends, here: Ends, scale: float, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Coverage (H, W, 1) and color times coverage (H, W, 3) of a limb moved from one bone to
    another, in a frame of a size (H, W). scale: of its width, negative for mirrored."""
    back = back_of(there, here, scale)
    offset = there[0] - back @ here[0] - limb.corner
    data = (*back[0], offset[0], *back[1], offset[1])
    layers = [
        np.asarray(
            Image.fromarray(layer).transform(
                size[::-1], Image.Transform.AFFINE, data, Image.Resampling.BILINEAR
            )
        )
        for layer in limb.planes
    ]
    return layers[0][..., None], np.stack(layers[1:], -1)


def back_of(there: Ends, here: Ends, scale: float) -> np.ndarray:
    """The map (2, 2) from pixels of a frame to those of a picture, about the starts of a bone."""
    back: np.ndarray = _axes(*there, 1.0) @ np.linalg.inv(_axes(*here, scale))
    return back


def place_of(
    limb: Limb, there: Ends, here: Ends, scale: float, size: tuple[int, int], more: float = 0.0
) -> tuple[np.ndarray, tuple[int, int]] | None:
    """The rectangle of a frame of a size (H, W) that a limb moved from one bone to another may
    cover, and `more` pixels around it: its corner int (2,), x and y, and its size; None for none.
    """
    height, width = limb.planes.shape[1:]
    corners = np.array([*product((0, width), (0, height))]) + limb.corner
    forth = _axes(*here, scale) @ np.linalg.inv(_axes(*there, 1.0))
    moved_to = (corners - there[0]) @ forth.T + here[0]
    low = np.floor(moved_to.min(0) - 1 - more).clip(0, size[::-1])
    high = np.ceil(moved_to.max(0) + 1 + more).clip(0, size[::-1])
    across, down = (high - low).astype(int)
    return (low.astype(int), (int(down), int(across))) if min(across, down) > 0 else None


def _axes(start: np.ndarray, end: np.ndarray, scale: float) -> np.ndarray:
    """The axes (2, 2) of a limb, as columns: along the bone, by its length, and across."""
    along = end - start
    across = np.array([-along[1], along[0]]) / max(np.hypot(*along), 1e-6)
    return np.stack([along, across * scale], 1)
