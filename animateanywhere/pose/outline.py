"""A generous outline of a clothed body around its keypoints."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import distance_transform_edt

from animateanywhere.pose.keypoints import VISIBLE

TRUNK, ARMS = (1, 8, 11), {"left": (6, 7), "right": (3, 4)}  # neck and hips; elbow and wrist
# Half the width of a clothed body around its bones, in lengths of the trunk
BONES = {
    (2, 3): 0.24, (3, 4): 0.22, (5, 6): 0.24, (6, 7): 0.22,
    (8, 9): 0.34, (9, 10): 0.3, (11, 12): 0.34, (12, 13): 0.3,
}  # fmt: skip
AREAS = ((2, 5, 11, 8), (8, 11, 12, 9), (9, 12, 13, 10))  # trunk, skirt, hem
PALM, HEAD, TORSO, FOOT = 0.3, 0.62, 0.3, 0.4  # radii
REACH = 0.4  # from the wrist to the middle of the hand, in lengths of the forearm
# How far a limb and its clothes reach from each of these joints, in lengths of the trunk
REACHES = {
    (1, 2, 3, 4): (1.8, 1.5, 1.0), (1, 5, 6, 7): (1.8, 1.5, 1.0),
    (8, 9, 10): (2.2, 1.3), (11, 12, 13): (2.2, 1.3),
}  # fmt: skip
ABOVE = 0.4  # of the trunk's length, by which a leg is above the hips at most
SHORTEST = 4  # pixels of a trunk around which an outline can be drawn


def placed(keypoints: np.ndarray, height: int, width: int) -> np.ndarray:
    """The joints that have a place in the frame, also where a thing hides them, bool (F, 18)."""
    at = keypoints[..., :2]
    inside = ((at >= 0) & (at <= (width, height))).all(-1)
    return np.asarray(at.any(-1) & inside)


def trunk_length(keypoints: np.ndarray, height: int, width: int) -> float:
    """The distance in pixels from the neck to the middle of the hips, where it is not
    foreshortened; 0 if the trunk is never seen. keypoints: (F, 18, 3) in pixels."""
    whole = (keypoints[:, TRUNK, 2] >= VISIBLE).all(1)
    if not whole.any():
        whole = placed(keypoints, height, width)[:, TRUNK].all(1)
    if not whole.any():
        return 0.0
    neck, *hips = keypoints[whole][:, TRUNK, :2].swapaxes(0, 1)
    return float(np.quantile(np.hypot(*(neck - np.mean(hips, 0)).T), 0.9))


def body_outlines(
    keypoints: np.ndarray, height: int, width: int, thickness: float = 1.0,
    trunk: float | None = None, skirt: bool = True,
) -> np.ndarray:  # fmt: skip
    """The pixels of a clothed body in each frame, bool (F, H, W); none where the trunk is never
    seen, or is shorter than `SHORTEST`.

    Args:
        keypoints: (F, 18, 3) in pixels.
        thickness: factor of the generous widths above.
        trunk: its length in pixels, if not by `trunk_length`.
        skirt: with what is between the legs.
    """
    unit = trunk_length(keypoints, height, width) if trunk is None else trunk
    seen = placed(keypoints, height, width)
    if not unit >= SHORTEST:  # or nan
        return np.zeros((len(keypoints), height, width), bool)
    areas = AREAS if skirt else AREAS[:1]
    rows = zip(keypoints, seen, strict=True)
    return np.stack([
        _outline(points, known, unit, height, width, thickness, areas) for points, known in rows
    ])  # fmt: skip


def unknown_limbs(pose: np.ndarray, height: int, width: int, trunk: float) -> np.ndarray:
    """Where limbs may be whose joints have no place in a pose (18, 3), as under a gown, bool
    (height, width). trunk: its length in pixels."""
    seen, at = placed(pose, height, width), pose[:, :2]
    rows, columns = np.mgrid[:height, :width]
    out = np.zeros((height, width), bool)
    if not seen[list(TRUNK)].all():
        return out
    neck, hips = at[1], at[[8, 11]].mean(0)
    down = (hips - neck) / max(float(np.hypot(*(hips - neck))), 1e-6)
    below = (columns - hips[0]) * down[0] + (rows - hips[1]) * down[1] > -ABOVE * trunk
    for joints, reaches in REACHES.items():
        known = [*takewhile(lambda joint: seen[joint], joints)]
        if len(known) < len(joints):
            x, y = at[known[-1]]
            near = np.hypot(columns - x, rows - y) <= reaches[len(known) - 1] * trunk
            out |= near & below if joints[0] in (8, 11) else near
    return out


def off_body(
    keypoints: np.ndarray, height: int, width: int, thickness: float, fall: float,
    trunk: float | None = None, skirt: bool = True,
) -> np.ndarray:  # fmt: skip
    """How far from the body each pixel is, float32 (F, H, W) in 0..1: 0 on it, and 1 from `fall`
    lengths of the trunk away on; 0 everywhere where the trunk is never seen. Arguments as for
    `body_outlines`."""
    unit = trunk_length(keypoints, height, width) if trunk is None else trunk
    away = max(fall * unit, 1)
    bodies = body_outlines(keypoints, height, width, thickness, unit, skirt)
    far = [(distance_transform_edt(~body) / away).clip(0, 1) if body.any() else body
           for body in bodies]  # fmt: skip
    return np.stack(far).astype(np.float32)


def hand(points: np.ndarray, elbow: int, wrist: int) -> np.ndarray:
    """The middle of a hand, (2,), from keypoints (18, 3)."""
    place: np.ndarray = points[wrist, :2] + REACH * (points[wrist, :2] - points[elbow, :2])
    return place


def _outline(
    points: np.ndarray, seen: np.ndarray, unit: float, height: int, width: int, thickness: float,
    areas: Sequence[tuple[int, ...]],
) -> np.ndarray:  # fmt: skip
    """The pixels of a clothed body, bool (H, W), around keypoints (18, 3); see `body_outlines`."""
    canvas = Image.new("1", (width, height))
    draw = ImageDraw.Draw(canvas)

    def disc(center: np.ndarray, radius: float) -> None:
        (x, y), r = center, radius * unit * thickness
        draw.ellipse((x - r, y - r, x + r, y + r), fill=1)

    def tube(a: np.ndarray, b: np.ndarray, radius: float) -> None:
        draw.line((*a, *b), fill=1, width=max(round(2 * radius * unit * thickness), 1))
        disc(a, radius)
        disc(b, radius)

    at = points[:, :2]
    for (a, b), radius in BONES.items():
        if seen[a] and seen[b]:
            tube(at[a], at[b], radius)
    for corners in areas:
        some = [joint for joint in corners if seen[joint]]
        if len(some) > 2:
            draw.polygon([tuple(at[joint]) for joint in some], fill=1)
            for a, b in zip(some, [*some[1:], some[0]], strict=True):
                tube(at[a], at[b], TORSO)
    for elbow, wrist in ARMS.values():
        if seen[elbow] and seen[wrist]:
            tube(at[wrist], hand(points, elbow, wrist), PALM)
    for ankle in (10, 13):
        if seen[ankle]:
            disc(at[ankle], FOOT)
    face = [joint for joint in (0, 14, 15, 16, 17) if seen[joint]]
    if face:
        disc(at[face].mean(0), HEAD)
    return np.asarray(canvas)
