"""Which parts of a body, and which sides of it, keypoints show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from animateanywhere.data.openpose import VISIBLE

PARTS = {
    "head": (0, 14, 15, 16, 17), "arms": (3, 6), "hands": (4, 7), "legs": (9, 12),
    "feet": (10, 13),
}  # fmt: skip
VIEWS = ("front", "side", "back")
JOINTS = 6  # of 18 that make a person
TURNED = 0.4  # of the trunk: shoulders that look narrower are seen from the side (60 degrees)


def parts_shown(keypoints: np.ndarray) -> dict[str, float]:
    """Share of the frames with a person that show each of `PARTS`, one side being enough."""
    seen = keypoints[..., 2] >= VISIBLE
    somebody = seen[seen.sum(1) >= JOINTS]
    if not len(somebody):
        return dict.fromkeys(PARTS, 0.0)
    return {name: float(somebody[:, joints].any(1).mean()) for name, joints in PARTS.items()}


def views(keypoints: np.ndarray) -> list[str]:
    """The side each frame of (F, 18, 3) shows: one of `VIEWS`, "" where it cannot be told.

    From how wide the shoulders look against the trunk, and which of them is on the left: in a
    frontal view it is the right one. A face, seen or not, settles it where they are narrow.
    """
    seen = keypoints[..., 2] >= VISIBLE
    hips = keypoints[:, [8, 11], :2].mean(1)
    length = np.hypot(*(keypoints[:, 1, :2] - hips).T)
    whole = seen[:, [1, 2, 5, 8, 11]].all(1)
    trunk = np.quantile(length[whole], 0.8) if whole.any() else np.nan
    if not whole.any():  # the head and shoulders alone
        both = seen[:, [2, 5]].all(1)
        across = np.abs(keypoints[both, 5, 0] - keypoints[both, 2, 0])
        trunk = np.quantile(across, 0.9) / 0.75 if both.any() else np.nan
    out = []
    for pose, shown in zip(keypoints, seen, strict=True):
        face = shown[0] and shown[[14, 15]].any()
        if not shown[[2, 5]].all() or not np.isfinite(trunk):
            out.append("side" if face and not shown[[14, 15]].all() else "")
            continue
        wide = float(pose[5, 0] - pose[2, 0]) / max(float(trunk), 1e-3)
        if abs(wide) < TURNED:
            out.append("side")
        else:
            out.append("front" if wide > 0 else "back")
    return out


def shares(seen: Sequence[str]) -> dict[str, float]:
    """Share of each of `VIEWS` among the frames that could be told."""
    told = [view for view in seen if view]
    return {view: told.count(view) / max(len(told), 1) for view in VIEWS}
