"""Pictures of which a part is replaced by a plain ground."""

from __future__ import annotations

import numpy as np


def on_ground(pictures: np.ndarray, mask: np.ndarray, ground: int = 255) -> np.ndarray:
    """Pictures uint8 (..., H, W, 3) with a gray level where a mask (..., H, W) in [0, 1] is 0.
    By default the ground is white."""
    share = np.clip(mask, 0, 1)[..., None].astype(np.float32)
    mixed: np.ndarray = (pictures * share + ground * (1 - share) + 0.5).astype(np.uint8)
    return mixed
