"""Visibility of body parts, and view directions (front, side, back), from keypoints."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from animateanywhere.pose.keypoints import VISIBLE

PARTS = {
    "head": (0, 14, 15, 16, 17), "arms": (3, 6), "hands": (4, 7), "legs": (9, 12),
    "feet": (10, 13),
}  # fmt: skip
VIEWS = ("front", "side", "back")
JOINTS = 6  # minimum of visible keypoints, of 18, for a person
TURNED = 0.4  # of the trunk: narrower shoulders are a side view (60 degrees)
HIPS, ACROSS = 0.55, 0.75  # width of hips over shoulders, and of shoulders over trunk


def has_person(keypoints: np.ndarray) -> np.ndarray:
    """bool (F,): whether at least JOINTS keypoints of each pose of (F, 18, 3) are visible."""
    return (keypoints[..., 2] >= VISIBLE).sum(1) >= JOINTS


def parts_shown(keypoints: np.ndarray) -> dict[str, float]:
    """Share 0..1 of the frames with a person that show each of `PARTS`, on either side."""
    visible = keypoints[has_person(keypoints), :, 2] >= VISIBLE
    if not len(visible):
        return dict.fromkeys(PARTS, 0.0)
    return {name: float(visible[:, joints].any(1).mean()) for name, joints in PARTS.items()}


def view_directions(keypoints: np.ndarray) -> list[str]:
    """The view of each frame of (F, 18, 3): one of `VIEWS`, or "" if it is unknown.

    From the width of the shoulders, or else the hips, relative to the trunk, and which of them is
    on the left: in a front view it is the right one. With only one of each it is a side view.
    """
    visible = keypoints[..., 2] >= VISIBLE
    trunk = _trunk(keypoints, visible)
    out = []
    for pose, shown in zip(keypoints, visible, strict=True):
        view = "side" if shown[[2, 5, 8, 11]].any() else ""  # the far side is hidden
        for right, left, narrow in ((2, 5, TURNED), (8, 11, TURNED * HIPS)):
            if shown[[right, left]].all() and trunk > 0:
                across = float((pose[left, :2] - pose[right, :2]) @ sideways(pose)) / trunk
                view = "side" if abs(across) < narrow else "front" if across > 0 else "back"
                break
        out.append(view)
    return out


def sideways(pose: np.ndarray) -> np.ndarray:
    """To the left of a person who is seen from the front, (2,) in a pose (18, 3): across the trunk,
    also of who lies or stands on the head; to the right of the picture where no trunk is seen."""
    if pose[[1, 8, 11], 2].min() < VISIBLE:
        return np.array([1.0, 0.0])
    x, y = pose[[8, 11], :2].mean(0) - pose[1, :2]
    return np.array([y, -x]) / max(float(np.hypot(x, y)), 1e-6)


def _trunk(keypoints: np.ndarray, visible: np.ndarray) -> float:
    """Length from neck to hips in pixels, a high quantile since people bend; estimated from the
    shoulders without visible hips, 0 without both."""
    whole = visible[:, [1, 8, 11]].all(1)
    if whole.any():
        down = keypoints[whole, 1, :2] - keypoints[whole][:, [8, 11], :2].mean(1)
        return float(np.quantile(np.hypot(*down.T), 0.8))
    both = visible[:, [2, 5]].all(1)
    if not both.any():
        return 0.0
    return float(np.quantile(np.abs(keypoints[both, 5, 0] - keypoints[both, 2, 0]), 0.9)) / ACROSS


def view_shares(views: Sequence[str]) -> dict[str, float]:
    """Share 0..1 of each of `VIEWS` among the frames with a known view."""
    known = [view for view in views if view]
    return {view: known.count(view) / max(len(known), 1) for view in VIEWS}
