"""Soft segmentation masks of the person in a clip, by the selected backend."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image
from scipy.ndimage import label

from animateanywhere.core.errors import UsageError
from animateanywhere.core.frame_size import Size
from animateanywhere.pose import skeleton
from animateanywhere.pose.keypoints import VISIBLE
from animateanywhere.preprocessing.crop import crop_frames, crop_keypoints
from animateanywhere.preprocessing.pose import mediapipe
from animateanywhere.preprocessing.weights import HUB, WeightsLocation

BACKENDS = ("mediapipe", "grounded-sam")
CELLS = 96  # a side, at which the pixels of several people are distinguished
WORKING_SIDE = 384  # of a square: pixels for segmentation and cleaning, before downscaling


def extract(
    frames: np.ndarray,
    keypoints: np.ndarray,
    boxes: np.ndarray,
    size: Size,
    backend: str = "mediapipe",
    location: WeightsLocation = HUB,
    others: Sequence[np.ndarray] = (),
) -> np.ndarray:
    """Segment the person in a box around them; small islands and other people are removed.

    Args:
        frames: uint8 (F, H, W, 3).
        keypoints: (F, 18, 3) of the person, in pixels.
        boxes: (F, 3), see `crop.crop_boxes`.
        size: of the masks.
        backend: "mediapipe" (BlazePose's segmentation in a square around the person) or
            "grounded-sam".
        location: of the weights of "grounded-sam".
        others: keypoints (F, 18, 3) of the other people in the clip, whose pixels are left out.

    Returns:
        float32 (F, H, W) in 0..1; all 0 in frames without a detected person.

    Raises:
        UsageError: unknown backend, or its package or weights are missing.
    """
    if backend not in BACKENDS:
        raise UsageError(f"--mask-backend {backend!r}: choose one of {', '.join(BACKENDS)}")
    fine = size.scaled(max(WORKING_SIDE / size.side, 1))
    if backend == "grounded-sam":
        from animateanywhere.preprocessing.masks import grounded_sam

        crops, inside = crop_frames(frames, boxes, fine), crop_keypoints(keypoints, boxes, fine)
        masks = grounded_sam.extract(crops, inside, location)
    else:
        masks = crop_frames(mediapipe.masks(frames, keypoints), boxes, fine) / np.float32(255)
    own, *rest = (crop_keypoints(one, boxes, fine) for one in (keypoints, *others))
    masks = np.stack([_without_others(mask, own[index], [one[index] for one in rest])
                      for index, mask in enumerate(masks)])  # fmt: skip
    with ThreadPoolExecutor(2) as pool:
        return np.stack(
            list(pool.map(lambda mask: _downscale(_without_islands(mask), size), masks))
        )


def _without_others(mask: np.ndarray, own: np.ndarray, others: list[np.ndarray]) -> np.ndarray:
    """A mask (H, W) without the pixels that are nearer to the limbs of another person than to the
    person's own. own, others: keypoints (18, 3) in its pixels."""
    near = [pose for pose in others if (pose[:, 2] >= VISIBLE).sum() >= 2]
    if not near:
        return mask
    (height, width), side = mask.shape, max(mask.shape)
    away, *rest = (skeleton.limb_distances(pose, side, CELLS) for pose in (own, *near))
    foreign = Image.fromarray(np.minimum.reduce(rest) < away).resize((side, side))
    return np.where(np.array(foreign)[:height, :width], np.float32(0), mask)


def _downscale(mask: np.ndarray, size: Size) -> np.ndarray:
    """Area average of a float32 mask to `size`."""
    if mask.shape == size[::-1]:
        return mask
    small = Image.fromarray(mask).resize(size, Image.Resampling.BOX)
    return np.array(small).clip(0, 1)


def _without_islands(mask: np.ndarray) -> np.ndarray:
    """Remove connected components under a tenth of the largest: furniture, never an arm."""
    islands, count = label(mask > 0.1)
    if count < 2:
        return mask
    sizes = np.bincount(islands.ravel())[1:]
    small = np.flatnonzero(sizes < 0.1 * sizes.max()) + 1
    return np.where(np.isin(islands, small), 0, mask)
