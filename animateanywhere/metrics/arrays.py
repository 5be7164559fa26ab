"""Array functions shared by the metrics."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def soft(masks: NDArray) -> Array:
    """Masks of any dtype as float32 in 0..1; uint8 is divided by 255."""
    scale = 255.0 if masks.dtype == np.uint8 else 1.0
    return masks.astype(np.float32) / np.float32(scale)


def evenly_spaced(count: int, most: int) -> NDArray:
    """At most `most` of `count` indices, evenly spaced and in order."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))
