"""Soft segmentation masks of the person in a clip, by the selected backend."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image
from scipy.ndimage import label

from animateanywhere.core.errors import UsageError
from animateanywhere.preprocessing.crop import crop_frames, crop_keypoints
from animateanywhere.preprocessing.pose.blazepose.frames import pose_and_mask
from animateanywhere.preprocessing.weights import HUB, WeightsLocation

BACKENDS = ("mediapipe", "grounded-sam")
WORKING_SIZE = 384  # pixels a side for segmentation and cleaning, before downscaling


def extract(
    frames: np.ndarray,
    keypoints: np.ndarray,
    squares: np.ndarray,
    size: int,
    backend: str = "mediapipe",
    location: WeightsLocation = HUB,
) -> np.ndarray:
    """Segment the person in a square around them; small islands are removed.

    Args:
        frames: uint8 (F, H, W, 3).
        keypoints: (F, 18, 3) of the person, in pixels.
        squares: (F, 3), see `crop.crop_squares`.
        size: of the masks, in pixels a side.
        backend: "mediapipe" (BlazePose's segmentation of the most prominent person) or
            "grounded-sam".
        location: of the weights of "grounded-sam".

    Returns:
        float32 (F, size, size) in 0..1; all 0 in frames without a detected person.

    Raises:
        UsageError: unknown backend, or its package or weights are missing.
    """
    if backend not in BACKENDS:
        raise UsageError(f"--mask-backend {backend!r}: choose one of {', '.join(BACKENDS)}")
    fine = max(size, WORKING_SIZE)
    if backend == "grounded-sam":
        from animateanywhere.preprocessing.masks import grounded_sam

        crops, inside = crop_frames(frames, squares, fine), crop_keypoints(keypoints, squares, fine)
        masks = grounded_sam.extract(crops, inside, location)
    else:
        whole = np.stack([result["mask"] for result in pose_and_mask(frames)])  # (F, H, W)
        masks = crop_frames(whole, squares, fine).astype(np.float32) / 255
    with ThreadPoolExecutor(2) as pool:
        return np.stack(
            list(pool.map(lambda mask: _downscale(_without_islands(mask), size), masks))
        )


def _downscale(mask: np.ndarray, size: int) -> np.ndarray:
    """Area average of float32 (S, S) to (size, size)."""
    if len(mask) == size:
        return mask
    small = Image.fromarray(mask).resize((size, size), Image.Resampling.BOX)
    return np.array(small).clip(0, 1)


def _without_islands(mask: np.ndarray) -> np.ndarray:
    """Remove connected components under a tenth of the largest: furniture, never an arm."""
    islands, count = label(mask > 0.1)
    if count < 2:
        return mask
    sizes = np.bincount(islands.ravel())[1:]
    small = np.flatnonzero(sizes < 0.1 * sizes.max()) + 1
    return np.where(np.isin(islands, small), 0, mask)
