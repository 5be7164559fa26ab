"""What the mask of a person contains beside a hand that no body has there: things the person holds.

Nothing is recognized. A generous outline of a clothed body is drawn around the keypoints, and what
of the mask near a hand lies outside of it, in most frames, is reported as "something".
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from animateanywhere.pose.keypoints import VISIBLE

TRUNK, HANDS = (1, 8, 11), {"left": (6, 7), "right": (3, 4)}  # neck and hips; elbow and wrist
# Half the width of a clothed body around its bones, in lengths of the trunk
BONES = {
    (2, 3): 0.24, (3, 4): 0.22, (5, 6): 0.24, (6, 7): 0.22,
    (8, 9): 0.34, (9, 10): 0.3, (11, 12): 0.34, (12, 13): 0.3,
}  # fmt: skip
PALM, HEAD, TORSO, FOOT = 0.3, 0.62, 0.3, 0.4  # radii
REACH = 0.4  # from the wrist to the middle of the hand, in lengths of the forearm
NEAR = 1.2  # lengths of the trunk around the hand within which a thing is looked for
SIZE = 0.08  # area of a thing beyond the outline, in squares of the trunk's length
FRAMES = 0.5  # of those that show the hand


def held_areas(masks: np.ndarray, keypoints: np.ndarray) -> dict[str, np.ndarray]:
    """What of the masks lies beside each hand, beyond a body's outline.

    Args:
        masks: (F, H, W) in 0..1.
        keypoints: (F, 18, 3) in pixels of the masks.

    Returns:
        For "left" and "right", the person's own, areas (F,) in squares of the trunk's length; NaN
        where the hand has no place, and everywhere if the trunk is never seen or a few pixels long.
    """
    out = {side: np.full(len(masks), np.nan) for side in HANDS}
    at = keypoints[..., :2]
    # Also of joints that a thing hides, where a place is known
    seen = at.any(-1) & ((at >= 0) & (at <= masks.shape[:0:-1])).all(-1)
    whole = (keypoints[:, TRUNK, 2] >= VISIBLE).all(1)
    if not whole.any():
        whole = seen[:, TRUNK].all(1)
    if not whole.any():
        return out
    neck, *hips = keypoints[whole][:, TRUNK, :2].swapaxes(0, 1)
    unit = float(np.quantile(np.hypot(*(neck - np.mean(hips, 0)).T), 0.9))  # foreshortened at times
    if unit < 4:  # pixels
        return out
    for index, (mask, points) in enumerate(zip(masks, keypoints, strict=True)):
        beyond = (mask > 0.5) & ~_outline(points, seen[index], unit, *mask.shape)
        for side, (elbow, wrist) in HANDS.items():
            if seen[index, [elbow, wrist]].all():
                x, y = _hand(points, elbow, wrist)
                rows, columns = np.ogrid[: mask.shape[0], : mask.shape[1]]
                close = (columns - x) ** 2 + (rows - y) ** 2 < (NEAR * unit) ** 2
                out[side][index] = (beyond & close).sum() / unit**2
    return out


def holding(areas: np.ndarray) -> np.ndarray:
    """The frames with something at a hand, of its areas (F,); none unless they are most of those
    that show the hand."""
    found = np.flatnonzero(areas > SIZE)  # NaN is not
    return found if len(found) > FRAMES * np.isfinite(areas).sum() else found[:0]


def _hand(points: np.ndarray, elbow: int, wrist: int) -> np.ndarray:
    return points[wrist, :2] + REACH * (points[wrist, :2] - points[elbow, :2])


def _outline(
    points: np.ndarray, seen: np.ndarray, unit: float, height: int, width: int
) -> np.ndarray:
    """The pixels of a generous clothed body, bool (H, W), around keypoints (18, 3)."""
    canvas = Image.new("1", (width, height))
    draw = ImageDraw.Draw(canvas)

    def disc(center: np.ndarray, radius: float) -> None:
        (x, y), r = center, radius * unit
        draw.ellipse((x - r, y - r, x + r, y + r), fill=1)

    def tube(a: np.ndarray, b: np.ndarray, radius: float) -> None:
        draw.line((*a, *b), fill=1, width=max(round(2 * radius * unit), 1))
        disc(a, radius)
        disc(b, radius)

    at = points[:, :2]
    for (a, b), radius in BONES.items():
        if seen[a] and seen[b]:
            tube(at[a], at[b], radius)
    for corners in ((2, 5, 11, 8), (8, 11, 12, 9), (9, 12, 13, 10)):  # trunk, skirt, hem
        some = [joint for joint in corners if seen[joint]]
        if len(some) > 2:
            draw.polygon([tuple(at[joint]) for joint in some], fill=1)
            for a, b in zip(some, [*some[1:], some[0]], strict=True):
                tube(at[a], at[b], TORSO)
    for elbow, wrist in HANDS.values():
        if seen[elbow] and seen[wrist]:
            tube(at[wrist], _hand(points, elbow, wrist), PALM)
    for ankle in (10, 13):
        if seen[ankle]:
            disc(at[ankle], FOOT)
    face = [joint for joint in (0, 14, 15, 16, 17) if seen[joint]]
    if face:
        disc(at[face].mean(0), HEAD)
    return np.asarray(canvas)
