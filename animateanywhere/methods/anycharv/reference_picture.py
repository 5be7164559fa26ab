"""The reference picture: the person cut out on a plain ground and cropped to the outline's box
(section 3.2 of the paper: without the background)."""

from __future__ import annotations

import numpy as np
from PIL import Image

from animateanywhere.core.frame_size import Size

GRAY = 128  # gray level around the person, and of what is masked in scenes
FILLED = 0.96  # share of the picture's height or width that the person takes


def cut_out(
    picture: np.ndarray, mask: np.ndarray, pose: np.ndarray, size: Size, filled: float = FILLED,
    ground: int = GRAY,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """A person on a ground of one gray level, uint8 (height, width, 3) of `size`, and the pose
    (18, 3) in its pixels.

    picture: uint8 (H, W, 3). mask: (H, W) in [0, 1]. pose: (18, 3) in pixels of the picture. The
    person keeps the proportions. Raises ValueError for an empty mask.
    """
    rows, columns = (np.flatnonzero((mask > 0.5).any(axis)) for axis in (1, 0))
    if not len(rows):
        raise ValueError("the mask of the reference picture is empty")
    left, top, right, bottom = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    cover = np.clip(mask, 0, 1)[top:bottom, left:right, None]
    person = picture[top:bottom, left:right] * cover + ground * (1 - cover)
    scale = filled * min(size.width / (right - left), size.height / (bottom - top))
    width, height = (max(round(scale * int(side)), 1) for side in (right - left, bottom - top))
    shrunk = Image.fromarray((person + 0.5).astype(np.uint8)).resize((width, height))
    x, y = (size.width - width) // 2, (size.height - height) // 2
    canvas = np.full((size.height, size.width, 3), ground, np.uint8)
    canvas[y : y + height, x : x + width] = np.asarray(shrunk)
    moved = pose.astype(np.float32)
    moved[:, 0] = (moved[:, 0] - left) * width / (right - left) + x
    moved[:, 1] = (moved[:, 1] - top) * height / (bottom - top) + y
    return canvas, moved


def grayed(frames: np.ndarray, region: np.ndarray, ground: int = GRAY) -> np.ndarray:
    """Frames (F, H, W, 3) uint8 with one gray level where `region` (F, H, W) in [0, 1] is 1."""
    share = region[..., None].astype(np.float32)
    return (frames * (1 - share) + ground * share + 0.5).astype(np.uint8)
