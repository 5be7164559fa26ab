"""The person that the base itself generated in a synthetic background, behind the filmed one."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_dilation

from animateanywhere.backbones.base import Base
from animateanywhere.evaluation.perception import load_perception, perceive

SPARE = 1 / 6  # share of pictures that are generated beyond those that are used
GROWN = 2  # pixels by which the filmed person is dilated


def spare(base: Base, count: int) -> int:
    """How many pictures to generate beyond `count`, so that the worst can be left out; 0 on bases
    without a perception network, which knows their people."""
    return round(SPARE * count) if (base.folder / "perception").is_dir() else 0


def least_visible(base: Base, pictures: np.ndarray, masks: np.ndarray, count: int) -> np.ndarray:
    """The `count` pictures, by their numbers in order, in which the base's own person sticks out
    least from behind the filmed one, such as by a hat or long hair.

    pictures: uint8 (N, H, W, 3), as generated; masks: of the filmed person, (N, H, W) in 0..1.
    """
    if len(pictures) <= count:
        return np.arange(len(pictures))
    own = perceive(load_perception(base.folder / "perception"), pictures)["masks"] > 0.5
    shares = []
    for person, mask in zip(own, masks > 0.5, strict=True):
        beyond = person & ~binary_dilation(mask, iterations=GROWN)
        shares.append(beyond.sum() / max(mask.sum(), 1))
    return np.sort(np.argsort(shares, kind="stable")[:count])
