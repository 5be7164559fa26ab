"""Masks of a scene that show no person's outline: all black where a pose is, or all white.

Both count as missing: there the pose alone says where the person is.
"""

from __future__ import annotations

import numpy as np

from animateanywhere.core.findings import Finding
from animateanywhere.pose.visibility import has_person
from animateanywhere.preprocessing.quality.clip import EMPTY, frame_ranges

WHITE = 0.98  # share of a square around a person, which has room on all sides
PERSON = 0.5  # of a mask: more is the person


def without_white(masks: np.ndarray) -> np.ndarray:
    """Masks (F, H, W) in 0..1 of a person's squares, all black where they are all white."""
    white = (masks > PERSON).mean((1, 2)) >= WHITE
    return np.where(white[:, None, None], np.float32(0), masks)


def missing_findings(masks: np.ndarray, keypoints: np.ndarray, advice: str) -> list[Finding]:
    """Warnings of masks (F, H, W) in 0..1 that are missing in frames with a pose (F, 18, 3).

    advice: what to do about it.
    """
    posed = has_person(keypoints)
    black = posed & (masks.mean((1, 2)) < EMPTY)
    white = posed & (without_white(masks) != masks).any((1, 2))
    found = []
    for frames, what in (
        (black, "the pose shows the person, and the mask is all black"),
        (white, "the mask is all white, which is no person's outline and is not used"),
    ):
        if frames.any():
            text = (
                f"{what}, in {frames.sum()} of {posed.sum()} frames "
                f"({frame_ranges(np.flatnonzero(frames))}): the pose alone says there who is "
                f"replaced, so parts of the old person may stay; {advice}"
            )
            found.append(Finding("warning", "masks", text))
    return found
