"""Scenes without the person that the base generated in them, for another person to be laid over."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_dilation, distance_transform_edt, gaussian_filter

from animateanywhere.backbones.base import Base
from animateanywhere.evaluation.perception import load_perception, perceive
from animateanywhere.pose.outline import body_outlines

SOFT = 1 / 64  # of the frame's height: standard deviation of the blur of what is filled in
GROWN = 2  # pixels by which a found person is dilated


def own_person(base: Base, pictures: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """Where the base's own person may be, bool (N, H, W): a generous outline around the keypoints,
    and on bases with a perception network, which knows their people, also where that sees one.

    pictures: uint8 (N, H, W, 3), generated with keypoints (N, 18, 3), in pixels, of one person of
    one size.
    """
    found = body_outlines(keypoints, *pictures.shape[1:3])
    if (base.folder / "perception").is_dir():
        seen = perceive(load_perception(base.folder / "perception"), pictures)["masks"] > 0.5
        found |= np.stack([binary_dilation(mask, iterations=GROWN) for mask in seen])
    return found


def fill(picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) uint8 whose pixels in `hole`, bool (H, W), are the nearest others',
    blurred. It is unchanged if there are none or no others."""
    if not hole.any() or hole.all():
        return picture
    nearest = distance_transform_edt(hole, return_distances=False, return_indices=True)
    sigma = SOFT * len(picture)
    blurred = gaussian_filter(picture[tuple(nearest)].astype(np.float32), (sigma, sigma, 0))
    return np.where(hole[..., None], blurred.round().astype(np.uint8), picture)
