"""The reference picture: a person cut out, on a plain ground, in a frame of the video's size."""

from __future__ import annotations

import numpy as np
from PIL import Image

from animateanywhere.core.frame_size import Size
from animateanywhere.preprocessing.ground import on_ground

WHITE = 255  # gray level of the ground; users of other systems find that others come along
GRAY = 128
ROOM = 0.05  # around a person, as a share of the longer side


def reference_picture(
    picture: np.ndarray, mask: np.ndarray, size: Size, ground: int = WHITE, room: float = ROOM
) -> np.ndarray:
    """A person as the network sees it, uint8 (height, width, 3) of `size`: what a mask (H, W) in
    [0, 1] shows of a picture uint8 (H, W, 3), on one gray level, as large as fits, in the middle.
    room: around the person, as a share of the longer side.

    So all people are seen at one size and place, without which a small picture encoder learns
    hardly anything of people that it has not seen (docs/experiments.md).
    """
    box = _box(mask)
    person = on_ground(picture[box], mask[box], ground)
    height, width = person.shape[:2]
    around = round(max(height, width) * (1 + 2 * room))
    shrink = min(size) / around
    tall, wide = (max(round(shrink * side), 1) for side in (height, width))
    resized = Image.fromarray(person).resize((wide, tall), Image.Resampling.LANCZOS)
    canvas = np.full((size.height, size.width, 3), ground, np.uint8)
    y, x = (size.height - tall) // 2, (size.width - wide) // 2
    canvas[y : y + tall, x : x + wide] = np.asarray(resized)
    return canvas


def _box(mask: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of what a mask shows; all of them if it shows nothing."""
    if not (shown := mask > 0.5).any():
        shown = np.ones_like(shown)
    rows, columns = (np.flatnonzero(shown.any(axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
