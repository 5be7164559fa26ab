"""Whether a clip is upright, by the posture of the person in it."""

from __future__ import annotations

import numpy as np

from animateanywhere.core.findings import Finding
from animateanywhere.pose.body import joint_positions
from animateanywhere.pose.continuity import body_size

HEAD = (0, 14, 15, 16, 17)
LEVEL = 0.5  # sine of 30 degrees: a trunk nearer to the horizontal lies
SHORT = 0.12  # of the body's size: a trunk that short is seen from above, or crouches
MOST = 0.5  # share of the frames
TURNS = {
    "upside down": ("180 degrees", "hflip,vflip"),
    "left": ("90 degrees clockwise", "transpose=clock"),
    "right": ("90 degrees counterclockwise", "transpose=cclock"),
}  # fmt: skip


def rotation_findings(keypoints: np.ndarray) -> list[Finding]:
    """A warning where the head is below the hips, or the trunk lies, in most frames.

    keypoints: (F, 18, 3).
    """
    up = _trunks(keypoints)
    length = np.hypot(*up.T)
    known = np.isfinite(length) & (length > SHORT * body_size(keypoints))
    if not known.any():
        return []
    x, y = (up[known] / length[known, None]).T
    below, lying = y > LEVEL, np.abs(y) <= LEVEL
    if below.mean() > MOST:
        return [_finding("the head is below the hips", below, "upside down")]
    if lying.mean() > MOST:
        side = "left" if np.median(x[lying]) < 0 else "right"
        return [_finding(f"the person lies with the head to the {side}", lying, side)]
    return []


def _finding(what: str, where: np.ndarray, how: str) -> Finding:
    turn, command = TURNS[how]
    text = (
        f"{what} in {where.sum()} of {len(where)} frames: the video is probably rotated; unless it "
        f"was filmed so, turn it by {turn}: ffmpeg -i VIDEO -vf {command} TURNED.mp4"
    )
    return Finding("warning", "rotation", text)


def _trunks(keypoints: np.ndarray) -> np.ndarray:
    """Vectors (F, 2) from the hips to the neck, or without hips from the neck to the head; NaN
    where neither is visible."""
    neck, right, left = (joint_positions(keypoints, joint) for joint in (1, 8, 11))
    with np.errstate(invalid="ignore"):
        hips = np.where(np.isfinite(right) & np.isfinite(left), (right + left) / 2,
                        np.where(np.isfinite(right), right, left))  # fmt: skip
    head = np.full_like(neck, np.nan)
    for joint in reversed(HEAD):
        place = joint_positions(keypoints, joint)
        head = np.where(np.isfinite(place), place, head)
    trunk = neck - hips
    return np.where(np.isfinite(trunk), trunk, head - neck)
