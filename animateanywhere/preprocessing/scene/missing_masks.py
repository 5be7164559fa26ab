"""Masks of a scene that show no person's outline: all black where a pose is, all white, or of what
is around the person.

All count as missing: there the pose alone says where the person is.
"""

from __future__ import annotations

import numpy as np

from animateanywhere.core.findings import Finding
from animateanywhere.pose.keypoints import VISIBLE
from animateanywhere.pose.visibility import has_person
from animateanywhere.preprocessing.quality.clip import EMPTY, frame_ranges

WHITE = 0.98  # share of a square around a person, which has room on all sides
PERSON = 0.5  # of a mask: more is the person
MOST = 0.5  # of a square is no person's outline that holds less than FEW of the joints
FEW = 0.25


def usable_masks(masks: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """Masks (F, H, W) in 0..1 of a person's squares, all black where they are of something else.
    keypoints: (F, 18, 3) in their pixels."""
    other = _is_white(masks) | _is_around(masks, keypoints)
    return np.where(other[:, None, None], np.float32(0), masks)


def _is_white(masks: np.ndarray) -> np.ndarray:
    """Which masks are all white, bool (F,)."""
    return np.asarray((masks > PERSON).mean((1, 2)) >= WHITE)


def _is_around(masks: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """Which masks are of what is around the person, as inverted ones, bool (F,)."""
    height, width = masks.shape[1:]
    out = (masks > PERSON).mean((1, 2)) > MOST
    for index in np.flatnonzero(out):
        seen = keypoints[index, :, 2] >= VISIBLE
        x, y = keypoints[index, seen, :2].astype(int).T
        inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        held = masks[index, y[inside], x[inside]] > PERSON
        out[index] = len(held) > 0 and held.mean() < FEW
    return np.asarray(out)


def missing_findings(masks: np.ndarray, keypoints: np.ndarray, advice: str) -> list[Finding]:
    """Warnings of masks (F, H, W) in 0..1 that are missing in frames with a pose (F, 18, 3).

    advice: what to do about it.
    """
    posed = has_person(keypoints)
    black = posed & (masks.mean((1, 2)) < EMPTY)
    white = posed & _is_white(masks)
    around = posed & _is_around(masks, keypoints) & ~white
    found = []
    for frames, what in (
        (black, "the pose shows the person, and the mask is all black"),
        (white, "the mask is all white, which is no person's outline and is not used"),
        (around, "the mask is of what is around the person, as an inverted one, and is not used"),
    ):
        if frames.any():
            text = (
                f"{what}, in {frames.sum()} of {posed.sum()} frames "
                f"({frame_ranges(np.flatnonzero(frames))}): the pose alone says there who is "
                f"replaced, so parts of the old person may stay; {advice}"
            )
            found.append(Finding("warning", "masks", text))
    return found
