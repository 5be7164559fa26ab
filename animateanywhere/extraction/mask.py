"""Soft masks of the person in a clip."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import label

from animateanywhere.console import progress
from animateanywhere.errors import UsageError
from animateanywhere.extraction.mediapipe_graph import landmarks
from animateanywhere.extraction.weights import HUB, Place

BACKENDS = ("mediapipe", "grounded-sam")


def extract(
    frames: np.ndarray,
    keypoints: np.ndarray,
    backend: str = "mediapipe",
    place: Place = HUB,
) -> np.ndarray:
    """Where the person is; islands are dropped.

    Args:
        frames: uint8 (F, H, W, 3). keypoints: (F, 18, 3) of the person, in pixels.
        backend: "mediapipe" (the segmentation that comes with BlazePose, of the most prominent
            person) or "grounded-sam".
        place: of the latter's weights.

    Returns:
        float32 (F, H, W) in 0..1; all 0 in frames in which nobody was found.

    Raises:
        UsageError: unknown backend, or what it needs is not there.
    """
    if backend not in BACKENDS:
        raise UsageError(f"mask backend {backend!r}: choose one of {', '.join(BACKENDS)}")
    if backend == "grounded-sam":
        from animateanywhere.extraction import grounded_sam

        masks = grounded_sam.extract(frames, keypoints, place)
    else:
        masks = _mediapipe(frames)
    return np.stack([_largest(mask) for mask in masks])


def _mediapipe(frames: np.ndarray) -> np.ndarray:
    masks = np.zeros(frames.shape[:3], dtype=np.float32)
    with landmarks(segment=True) as look, progress("finding masks", total=len(frames)) as bar:
        for index, frame in enumerate(frames):
            found = look(frame).segmentation_mask
            if found is not None:
                masks[index] = np.clip(np.nan_to_num(found), 0, 1)
            bar.advance(1)
    return masks


def _largest(mask: np.ndarray) -> np.ndarray:
    """Drop islands under a tenth of the largest: bits of furniture, never an arm."""
    islands, count = label(mask > 0.1)
    if count < 2:
        return mask
    sizes = np.bincount(islands.ravel())[1:]
    small = np.flatnonzero(sizes < 0.1 * sizes.max()) + 1
    return np.where(np.isin(islands, small), 0, mask)
