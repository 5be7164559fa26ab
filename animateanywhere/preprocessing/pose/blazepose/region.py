"""A square of the frame, at any angle: from it into a network's input, and back.

Coordinates are MediaPipe's: pixel (i, j) of a crop lies at (i, j) / size of the square, without
half a pixel for its center, and beyond the frame its edge is repeated.
Bilinear samples are taken at multiples of 1/32 pixel, as by OpenCV, which it uses: without that,
landmarks differ by 0.2 pixels in the median and 41 at most.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

SUBPIXELS = 32
BODY = (
    1.25  # side of the square around a person, in diameters of the circle that the detector gives
)


class Region(NamedTuple):
    """Center and side in pixels of the frame; angle in radians, clockwise as seen."""

    x: float
    y: float
    side: float
    angle: float = 0.0

    @property
    def axes(self) -> np.ndarray:
        """float64 (2, 2): the square's two sides as vectors in the frame, in columns."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return self.side * np.array([[cos, -sin], [sin, cos]])

    @property
    def corner(self) -> np.ndarray:
        """float64 (2,): the corner at 0, 0 of the square."""
        return np.array([self.x, self.y]) - self.axes.sum(1) / 2

    def to_frame(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) in 0..1 of the square, in pixels of the frame."""
        return points @ self.axes.T + self.corner

    def from_frame(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) in pixels of the frame, in 0..1 of the square."""
        return (points - self.corner) @ np.linalg.inv(self.axes).T


def whole_frame(height: int, width: int) -> Region:
    """The smallest square around a frame."""
    return Region(width / 2, height / 2, max(height, width))


def around_person(hips: np.ndarray, rim: np.ndarray) -> Region:
    """The upright square around a person.

    hips: (2,) their center in pixels; rim: (2,) a point on the circle around the whole body, in the
    direction of the head.
    """
    right, down = rim - hips
    side = 2 * BODY * float(np.hypot(right, down))
    return Region(float(hips[0]), float(hips[1]), side, float(np.arctan2(right, -down)))


def crop(frame: np.ndarray, region: Region, size: int, outside: int | None = None) -> np.ndarray:
    """Bilinear samples of a frame, uint8 (H, W, 3), as uint8 (size, size, 3).

    outside: value of pixels beyond the frame; None repeats the frame's edge.
    """
    height, width = frame.shape[:2]
    steps = np.arange(size) / size
    grid = np.stack(np.meshgrid(steps, steps), axis=-1)  # (size, size, 2) x, y
    place = np.round(region.to_frame(grid) * SUBPIXELS) / SUBPIXELS
    base = np.floor(place).astype(np.intp)
    share = (place - base).astype(np.float32)
    out = np.zeros((size, size, 3), np.float32)
    for right in (0, 1):
        for down in (0, 1):
            x, y = base[..., 0] + right, base[..., 1] + down
            weight = np.abs(1 - right - share[..., 0]) * np.abs(1 - down - share[..., 1])
            taken = frame[y.clip(0, height - 1), x.clip(0, width - 1)].astype(np.float32)
            if outside is not None:
                taken[(x < 0) | (y < 0) | (x >= width) | (y >= height)] = outside
            out += weight[..., None] * taken
    return (out + 0.5).astype(np.uint8)


def paste(mask: np.ndarray, region: Region, height: int, width: int) -> np.ndarray:
    """A crop's mask, float32 (S, S), in the frame: float32 (height, width), 0 out of the square."""
    matrix = np.linalg.inv(region.axes) * len(mask)
    offset = -matrix @ region.corner
    # Pillow takes the centers of pixels at half; here they lie at whole numbers
    offset += 0.5 - matrix.sum(1) / 2
    (a, b), (d, e) = matrix.tolist()
    c, f = offset.tolist()
    image = Image.fromarray(mask).transform(
        (width, height), Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BILINEAR
    )
    return np.array(image)
