"""The reference picture: the person cut out on a plain ground and cropped to the outline's box
(section 3.2 of the paper: without the background)."""

from __future__ import annotations

import numpy as np
from PIL import Image

from animateanywhere.core.frame_size import Size
from animateanywhere.methods.anycharv.masks import boxes
from animateanywhere.preprocessing.ground import on_ground

GRAY = 128  # gray level around the person, and of what is masked in scenes
FILLED = 0.96  # share of the picture's height or width that the person takes


def cut_out(
    picture: np.ndarray, mask: np.ndarray, pose: np.ndarray, size: Size, filled: float = FILLED,
    ground: int = GRAY, background: bool = False,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """A person on a ground of one gray level, uint8 (height, width, 3) of `size`, and the pose
    (18, 3) in its pixels.

    picture: uint8 (H, W, 3). mask: (H, W) in [0, 1]. pose: (18, 3) in pixels of the picture. The
    person keeps the proportions. background: keep the picture's in the person's box. Raises
    ValueError for an empty mask.
    """
    person, corner = cropped(picture, mask, ground, background)
    scale = filled * min(size.width / person.width, size.height / person.height)
    width, height = (max(round(scale * side), 1) for side in person.size)
    shrunk = person.resize((width, height))
    x, y = (size.width - width) // 2, (size.height - height) // 2
    canvas = np.full((size.height, size.width, 3), ground, np.uint8)
    canvas[y : y + height, x : x + width] = np.asarray(shrunk)
    moved = pose.astype(np.float32)
    moved[:, :2] = (moved[:, :2] - corner) * (width, height) / person.size + (x, y)
    return canvas, moved


def cropped(
    picture: np.ndarray, mask: np.ndarray, ground: int, background: bool = False
) -> tuple[Image.Image, np.ndarray]:
    """A person on a ground of one gray level, or with the background, in the outline's box, and
    left and top of that, int (2,). Raises ValueError for an empty mask."""
    (box,) = boxes(mask[None])
    if np.isnan(box).any():
        raise ValueError("the mask of the reference picture is empty")
    left, top, right, bottom = box.astype(int)
    if background:
        return Image.fromarray(picture[top:bottom, left:right]), np.array([left, top])
    inside = slice(top, bottom), slice(left, right)
    person = on_ground(picture[inside], mask[inside], ground)
    return Image.fromarray(person), np.array([left, top])
