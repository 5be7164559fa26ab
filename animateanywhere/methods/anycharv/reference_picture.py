"""The reference picture: the person cut out on a plain ground and cropped to the outline's box
(section 3.2 of the paper: without the background)."""

from __future__ import annotations

import numpy as np
from PIL import Image

from animateanywhere.core.frame_size import Size
from animateanywhere.methods.anycharv.masks import boxes

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
    person, corner = cropped(picture, mask, ground)
    scale = filled * min(size.width / person.width, size.height / person.height)
    width, height = (max(round(scale * side), 1) for side in person.size)
    shrunk = person.resize((width, height))
    x, y = (size.width - width) // 2, (size.height - height) // 2
    canvas = np.full((size.height, size.width, 3), ground, np.uint8)
    canvas[y : y + height, x : x + width] = np.asarray(shrunk)
    moved = pose.astype(np.float32)
    moved[:, :2] = (moved[:, :2] - corner) * (width, height) / person.size + (x, y)
    return canvas, moved


def cropped(picture: np.ndarray, mask: np.ndarray, ground: int) -> tuple[Image.Image, np.ndarray]:
    """A person on a ground of one gray level, in the outline's box, and left and top of that, int
    (2,). Raises ValueError for an empty mask."""
    (box,) = boxes(mask[None])
    if np.isnan(box).any():
        raise ValueError("the mask of the reference picture is empty")
    left, top, right, bottom = box.astype(int)
    cover = np.clip(mask, 0, 1)[top:bottom, left:right, None]
    person = picture[top:bottom, left:right] * cover + ground * (1 - cover)
    return Image.fromarray((person + 0.5).astype(np.uint8)), np.array([left, top])


def grayed(frames: np.ndarray, region: np.ndarray, ground: int = GRAY) -> np.ndarray:
    """Frames (F, H, W, 3) uint8 with one gray level where `region` (F, H, W) in [0, 1] is 1."""
    share = region[..., None].astype(np.float32)
    return (frames * (1 - share) + ground * share + 0.5).astype(np.uint8)
