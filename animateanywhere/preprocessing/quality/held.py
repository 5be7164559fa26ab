"""What the mask of a person contains beside a hand that no body has there: things the person holds.

Nothing is recognized. A generous outline of a clothed body is drawn around the keypoints, and what
of the mask near a hand lies outside of it, in most frames, is reported as "something".
"""

from __future__ import annotations

import numpy as np

from animateanywhere.pose.outline import (
    ARMS,
    SHORTEST,
    body_outlines,
    hand,
    placed,
    trunk_length,
)

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
    out = {side: np.full(len(masks), np.nan) for side in ARMS}
    shape = masks.shape[1:]
    unit, seen = trunk_length(keypoints, *shape), placed(keypoints, *shape)
    if unit < SHORTEST:
        return out
    beyond = (masks > 0.5) & ~body_outlines(keypoints, *shape)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    for index, points in enumerate(keypoints):
        for side, (elbow, wrist) in ARMS.items():
            if seen[index, [elbow, wrist]].all():
                x, y = hand(points, elbow, wrist)
                close = (columns - x) ** 2 + (rows - y) ** 2 < (NEAR * unit) ** 2
                out[side][index] = (beyond[index] & close).sum() / unit**2
    return out


def holding(areas: np.ndarray) -> np.ndarray:
    """The frames with something at a hand, of its areas (F,); none unless they are most of those
    that show the hand."""
    found = np.flatnonzero(areas > SIZE)  # NaN is not
    return found if len(found) > FRAMES * np.isfinite(areas).sum() else found[:0]
