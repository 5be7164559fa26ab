"""Soft masks of the person in a clip."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import label

from animateanywhere.console import progress
from animateanywhere.errors import UsageError
from animateanywhere.extraction.mediapipe_graph import landmarks

BACKENDS = ("mediapipe",)


def extract(frames: np.ndarray, backend: str = "mediapipe") -> np.ndarray:
    """Where the most prominent person is.

    Args:
        frames: uint8 (F, H, W, 3).
        backend: "mediapipe" (the segmentation that comes with BlazePose).

    Returns:
        float32 (F, H, W) in 0..1; all 0 in frames in which nobody was found.

    Raises:
        UsageError: unknown backend, or mediapipe is not installed.
    """
    if backend not in BACKENDS:
        raise UsageError(f"mask backend {backend!r}: choose one of {', '.join(BACKENDS)}")
    masks = np.zeros(frames.shape[:3], dtype=np.float32)
    with landmarks(segment=True) as look, progress("finding masks", total=len(frames)) as bar:
        for index, frame in enumerate(frames):
            found = look(frame).segmentation_mask
            if found is not None:
                masks[index] = _largest(np.clip(np.nan_to_num(found), 0, 1))
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
