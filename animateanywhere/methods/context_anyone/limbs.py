"""The picture's own limbs over the person that a small network drew.

Not in the paper. In 128 pixels that network draws a scene, and a blurred person in the colors of
the picture; the limbs of the picture, turned onto the bones of the motion, are that person.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter

from animateanywhere.collage.background import behind
from animateanywhere.collage.limb_collage import Collage, steadied, views_of
from animateanywhere.core.frame_size import Size
from animateanywhere.pose.outline import body_outlines

NEAR = 1.2  # of the widths of a generous outline (`pose.outline`): there, the network drew a person
SOFT = 0.008  # of a frame's height: the width of that outline's border


def with_limbs(
    frames: np.ndarray, poses: np.ndarray, collage: Collage,
    advance: Callable[[], None] = lambda: None,
) -> np.ndarray:  # fmt: skip
    """Frames uint8 (F, H, W, 3) of a person in poses (F, 18, 3), in their pixels, with the limbs of
    a collage. Beside them, where the network drew the person wider, is what other frames show, or
    the colors around. advance: called twice for each frame."""
    count, height, width = frames.shape[:3]
    size = Size(width, height)
    steady = steadied(poses)
    views = views_of(steady, poses)
    near = np.concatenate([
        body_outlines(steady[n : n + 1], height, width, NEAR, views.torso[n]) for n in range(count)
    ])  # fmt: skip
    empty = behind(frames, np.tile([0, 0, width], (count, 1)), near, advance=advance)
    soft = max(SOFT * height, 0.5)
    out = np.empty_like(frames)
    for index, own in enumerate(frames):
        view = views.one(index, 1.0)
        off = gaussian_filter(near[index].astype(np.float32), soft)
        off = (off * collage.beside(steady[index], size, view))[..., None]  # (H, W, 1)
        cover, color = collage.layer(steady[index], size, view)
        shown = (own + off * (empty[index].astype(np.float32) - own)) * (1 - cover) + color
        out[index] = (shown + 0.5).clip(0, 255)
        advance()
    return out
