"""Scenes without the person that the base generated in them, for another person to be laid over."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_dilation, distance_transform_edt, gaussian_filter

from animateanywhere.backbones.base import Base
from animateanywhere.evaluation.perception import load_perception, perceive

SOFT = 1 / 64  # of the frame's height: standard deviation of the blur of what is filled in
GROWN = 2  # pixels by which a person is dilated
SHARE = 0.03  # of the filmed person's area that the base's own may stick out


def without_own_person(base: Base, pictures: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Pictures uint8 (N, H, W, 3), changed where the base's own person, such as a hat or long hair,
    would stick out from behind the filmed one: there the scene around is continued.

    Only where it sticks out far: filling all pictures made likeness worse (docs/experiments.md).
    masks: of the filmed person, (N, H, W) in 0..1. Bases without a perception network, which knows
    their people, are left as they are.
    """
    folder = base.folder / "perception"
    if not folder.is_dir():
        return pictures
    own = perceive(load_perception(folder), pictures)["masks"] > 0.5
    out = pictures.copy()
    for index, (person, mask) in enumerate(zip(own, masks > 0.5, strict=True)):
        beyond = person & ~binary_dilation(mask, iterations=GROWN)
        if beyond.sum() > SHARE * max(mask.sum(), 1):
            hole = binary_dilation(person, iterations=GROWN) | (masks[index] > 0)
            out[index] = fill(pictures[index], hole)
    return out


def fill(picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) uint8 whose pixels in `hole`, bool (H, W), are the nearest others',
    blurred. It is unchanged if there are none or no others."""
    if not hole.any() or hole.all():
        return picture
    nearest = distance_transform_edt(hole, return_distances=False, return_indices=True)
    sigma = SOFT * len(picture)
    blurred = gaussian_filter(picture[tuple(nearest)].astype(np.float32), (sigma, sigma, 0))
    return np.where(hole[..., None], blurred.round().astype(np.uint8), picture)
