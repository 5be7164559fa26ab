"""The reference picture: a person cut out, on a plain ground, in a frame of the video's size."""

from __future__ import annotations

import numpy as np
from PIL import Image

from animateanywhere.core.frame_size import Size
from animateanywhere.preprocessing.ground import on_ground

WHITE = 255  # gray level of the ground; users of other systems find that others come along
GRAY = 128


def reference_picture(picture: np.ndarray, mask: np.ndarray, size: Size) -> np.ndarray:
    """The square crop (S, S, 3) uint8 of a person with a mask (S, S) in [0, 1], as the network sees
    it: on white, as large as fits in the middle of a frame of `size`, uint8 (height, width, 3)."""
    side = min(size)
    canvas = np.full((size.height, size.width, 3), WHITE, np.uint8)
    y, x = (size.height - side) // 2, (size.width - side) // 2
    cut = Image.fromarray(on_ground(picture, mask)).resize((side, side), Image.Resampling.LANCZOS)
    canvas[y : y + side, x : x + side] = np.asarray(cut)
    return canvas
