"""How a person stands in the frames of a video, as far as laying limbs needs to know: poses without
gaps, turned how far, facing the camera or not, and how large.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d, median_filter

from animateanywhere.collage.limbs import TORSO, is_seen, torso_of
from animateanywhere.pose.body import interpolated
from animateanywhere.pose.keypoints import VISIBLE
from animateanywhere.pose.smoothing import fill_gaps
from animateanywhere.pose.visibility import sideways

FACE, FRONTAL, EARS = (0, 14, 15, 16, 17), (0, 14, 15), (16, 17)  # keypoints of a head
NECK, SHOULDERS, HIPS = 1, (2, 5), (8, 11)  # right, left
TO_NOSE = 0.35  # of the way from an ear to the nose, where only one is seen: the head's middle
NARROWER = 0.6  # hips than shoulders, about
STEADY = 2  # frames on both sides, over which views are steadied
GAP = 8  # frames
SHORT = 0.15  # of a pose's height or breadth: a shorter torso points at the camera
FLAT = 1e-3  # pixels, and times: less than that is no length


class Views(NamedTuple):
    """How a person stands in F frames, steadied: what a collage needs beside poses."""

    turned: np.ndarray  # (F,): from the front 0.85, from the side 0, from behind -0.85
    face: np.ndarray  # (F,) bool: whether nose or eyes are seen
    torso: np.ndarray  # (F,): its length in pixels; NaN if it is never seen

    def rows(self, some: slice) -> Views:
        """Those of some frames."""
        return Views(*(part[some] for part in self))

    def one(self, frame: int, scale: float) -> View:
        """That of a frame, which is enlarged."""
        return View(
            float(self.turned[frame]), bool(self.face[frame]), float(self.torso[frame]) * scale
        )


class View(NamedTuple):
    """`Views` of one frame."""

    turned: float
    face: bool
    torso: float


def steadied(poses: np.ndarray) -> np.ndarray:
    """Poses (F, 18, 3) of consecutive frames, of which keypoints that are not seen for at most
    `GAP` frames are between those before and after, and at the ends where the rest of the body
    takes them, so that no limb blinks."""
    out = poses.astype(np.float32, copy=True)
    fill_gaps(out, GAP)
    known = poses[..., 2] >= VISIBLE  # (F, 18)
    for joint in np.flatnonzero(known.any(0)):
        first, last = np.flatnonzero(known[:, joint])[[0, -1]]
        ends = [(n, first) for n in range(max(first - GAP, 0), first)]
        ends += [(n, last) for n in range(last + 1, min(last + GAP + 1, len(poses)))]
        for frame, nearest in ends:
            both = known[frame] & known[nearest]
            if both.any():
                moved = (poses[frame, both, :2] - poses[nearest, both, :2]).mean(0)
                out[frame, joint] = *(poses[nearest, joint, :2] + moved), VISIBLE
    return out


def shows_torso(poses: np.ndarray) -> bool:
    """Whether any of poses (F, 18, 3) shows a torso, without which no limbs are laid: nor with one
    that points at the camera, which tells no scale."""
    return any(_is_long(completed(one)) for one in poses)


def _is_long(points: np.ndarray) -> bool:
    """Whether a completed pose (18, 3) shows a torso that is not short beside the whole of it."""
    if not is_seen(points, *TORSO):
        return False
    known = points[points[:, 2] >= VISIBLE, :2]
    return torso_of(points) >= max(SHORT * float(np.ptp(known, 0).max()), FLAT)


def views_of(poses: np.ndarray, found: np.ndarray) -> Views:
    """How a person stands in consecutive frames, steadied over time: from side to back, and from
    frame to frame, nothing leaps. poses: (F, 18, 3), as of `steadied`. found: before that, as a
    nose that was filled in is not seen."""
    known = [completed(one) for one in poses]
    turned = np.array([turned_of(one) for one in known])
    torso = np.array([torso_of(one) if is_seen(one, *TORSO) else np.nan for one in known])
    face = np.array([shows_face(one) for one in found], float)
    known_at = np.flatnonzero((found[..., 2] >= VISIBLE).any(1))
    if len(known_at):  # frames that show nobody are between those that do
        apart = np.abs(np.arange(len(found))[:, None] - known_at)
        face = face[known_at[apart.argmin(1)]]
    near = 2 * STEADY + 1
    filled = [
        interpolated(part[:, None])[:, 0] if np.isfinite(part).any() else part
        for part in (turned, torso)
    ]
    return Views(
        gaussian_filter1d(median_filter(filled[0], near, mode="nearest"), STEADY / 2),
        median_filter(face, near, mode="nearest") > 0,
        median_filter(filled[1], near, mode="nearest"),
    )


def shows_face(pose: np.ndarray) -> bool:
    """Whether nose or eyes of a pose (18, 3) are seen."""
    return bool(pose[list(FRONTAL), 2].max() >= VISIBLE)


def completed(points: np.ndarray) -> np.ndarray:
    """A pose (18, 3) whose nose is the middle of the head, as seen by ears, eyes and nose, and with
    the neck between the shoulders and a hip beside the other one, if they are not seen."""
    out = points.astype(np.float32, copy=True)
    ears = [row for row in EARS if points[row, 2] >= VISIBLE]
    face = ears if len(ears) == 2 else [row for row in FACE if points[row, 2] >= VISIBLE]
    if face:
        out[0] = points[face].mean(0)
    if len(ears) == 1 and points[0, 2] >= VISIBLE:
        out[0] = points[ears[0]] + TO_NOSE * (points[0] - points[ears[0]])
    right, left = points[list(SHOULDERS)]
    if points[NECK, 2] < VISIBLE <= min(right[2], left[2]):  # as below a scarf
        out[NECK] = (right + left) / 2
    elif points[NECK, 2] < VISIBLE <= max(right[2], left[2]):  # from the side
        out[NECK] = right if right[2] >= VISIBLE else left
    if min(right[2], left[2]) >= VISIBLE:
        across = (right - left)[:2]
    elif max(right[2], left[2]) < VISIBLE or out[NECK, 2] < VISIBLE:
        return out
    else:
        seen, side = (right, 2) if right[2] >= VISIBLE else (left, -2)
        across = side * (seen - out[NECK])[:2]
    for own, other, side in ((0, 1, 1), (1, 0, -1)):
        hip, known = HIPS[own], points[HIPS[other]]
        if points[hip, 2] < VISIBLE <= known[2]:
            out[hip, :2] = known[:2] + side * NARROWER * across
            out[hip, 2] = VISIBLE
    return out


def turned_of(points: np.ndarray) -> float:
    """From right to left shoulder across the torso, as a share of its length: positive from the
    front, negative from behind, also of who lies or stands on the head; NaN if not seen."""
    right, left = points[list(SHOULDERS)]
    if min(right[2], left[2]) < VISIBLE or not is_seen(points, *TORSO):
        return float("nan")
    return float((left - right)[:2] @ sideways(points)) / max(torso_of(points), FLAT)
