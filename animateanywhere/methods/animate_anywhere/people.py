"""Rendered people in frames of any shape, for regularization."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from animateanywhere import puppets
from animateanywhere.core.frame_size import Size


def render_person(
    spec: puppets.Spec, frames: int, frame: Size, fps: float, start: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Frames uint8 (F, H, W, 3) of a rendered person, and keypoints (F, 18, 3) in their pixels.

    Puppets are rendered in squares, so another shape is cut out of the middle of the smallest
    square around it, with the person as large in pixels as in a square of the same area, or as the
    frame's height allows.
    """
    side = max(frame)
    camera, shrunk = spec.camera, min(frame.side, frame.height) / side
    placed = replace(
        camera, scale=camera.scale * shrunk, ground=0.5 + (camera.ground - 0.5) * shrunk,
        x=camera.x * min(shrunk, frame.width / side),
        pan=camera.pan * min(shrunk, frame.width / side),
    )  # fmt: skip
    clip = puppets.render(replace(spec, camera=placed), frames, side, fps, start)
    left, top = (side - frame.width) // 2, (side - frame.height) // 2
    keypoints: np.ndarray = clip.keypoints - np.array([left, top, 0], np.float32)
    outside = ((keypoints[..., :2] < 0) | (keypoints[..., :2] >= np.array(frame))).any(-1)
    keypoints[outside, 2] = 0
    return clip.frames[:, top : top + frame.height, left : left + frame.width], keypoints
