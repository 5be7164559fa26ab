"""Which parts of a body, and which sides of it, keypoints show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from animateanywhere.pose.keypoints import VISIBLE

PARTS = {
    "head": (0, 14, 15, 16, 17), "arms": (3, 6), "hands": (4, 7), "legs": (9, 12),
    "feet": (10, 13),
}  # fmt: skip
VIEWS = ("front", "side", "back")
JOINTS = 6  # of 18 that make a person
TURNED = 0.4  # of the trunk: shoulders that look narrower are seen from the side (60 degrees)
HIPS, ACROSS = 0.55, 0.75  # width of the hips against the shoulders', of these against the trunk


def has_person(keypoints: np.ndarray) -> np.ndarray:
    """bool (F,): whether so many joints of each pose of (F, 18, 3) are seen that it is a person."""
    return (keypoints[..., 2] >= VISIBLE).sum(1) >= JOINTS


def parts_shown(keypoints: np.ndarray) -> dict[str, float]:
    """Share of the frames with a person that show each of `PARTS`, one side being enough."""
    seen = keypoints[has_person(keypoints), :, 2] >= VISIBLE
    if not len(seen):
        return dict.fromkeys(PARTS, 0.0)
    return {name: float(seen[:, joints].any(1).mean()) for name, joints in PARTS.items()}


def view_directions(keypoints: np.ndarray) -> list[str]:
    """The side each frame of (F, 18, 3) shows: one of `VIEWS`, "" where it cannot be told.

    From how wide the shoulders, or else the hips, look against the trunk, and which of them is on
    the left: in a frontal view it is the right one. With one of each only, it is a profile.
    """
    seen = keypoints[..., 2] >= VISIBLE
    trunk = _trunk(keypoints, seen)
    out = []
    for pose, shown in zip(keypoints, seen, strict=True):
        view = "side" if shown[[2, 5, 8, 11]].any() else ""  # the far side is hidden
        for right, left, narrow in ((2, 5, TURNED), (8, 11, TURNED * HIPS)):
            if shown[[right, left]].all() and trunk > 0:
                across = float(pose[left, 0] - pose[right, 0]) / trunk
                view = "side" if abs(across) < narrow else "front" if across > 0 else "back"
                break
        out.append(view)
    return out


def _trunk(keypoints: np.ndarray, seen: np.ndarray) -> float:
    """Length from neck to hips in pixels, a high quantile as people bend; told from the shoulders
    where hips are out of the picture, 0 where neither is seen."""
    whole = seen[:, [1, 8, 11]].all(1)
    if whole.any():
        down = keypoints[whole, 1, :2] - keypoints[whole][:, [8, 11], :2].mean(1)
        return float(np.quantile(np.hypot(*down.T), 0.8))
    both = seen[:, [2, 5]].all(1)
    if not both.any():
        return 0.0
    return float(np.quantile(np.abs(keypoints[both, 5, 0] - keypoints[both, 2, 0]), 0.9)) / ACROSS


def view_shares(seen: Sequence[str]) -> dict[str, float]:
    """Share of each of `VIEWS` among the frames that could be told."""
    told = [view for view in seen if view]
    return {view: told.count(view) / max(len(told), 1) for view in VIEWS}
