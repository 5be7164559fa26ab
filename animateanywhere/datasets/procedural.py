"""Procedural pictures with the statistics of photographs, so that an autoencoder trained on
rendered people also reconstructs real frames.

The dead leaves model (overlapping shapes whose sizes follow a power law; Lee, Mumford & Huang 2001)
has the edges and the scale invariance of photographs, 1/f noise has their texture. Networks for
restoration that are trained on such pictures generalize to photographs (Achddou et al. 2021,
Madhusudana et al. 2021).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from scipy import ndimage

Rng = np.random.Generator
Array = np.ndarray

_SAMPLES = 2  # samples per pixel and direction
_SMALLEST, _LARGEST = 0.008, 0.6  # radii of shapes, as shares of the side


def picture(seed: int, size: int = 128) -> Array:
    """The picture of a seed, uint8 (size, size, 3)."""
    rng = np.random.default_rng([seed, 2001])
    side = size * _SAMPLES
    x = _background(rng, side)
    if rng.random() < 0.85:
        _dead_leaves(rng, x)
    for _ in range(int(rng.integers(0, 4))):
        _stroke(rng, x)
    if rng.random() < 0.3:
        _writing(rng, x)
    x = _light(rng, x)
    if rng.random() < 0.4:
        x = ndimage.gaussian_filter(x, (*[rng.uniform(0.3, 2.5) * _SAMPLES / 2] * 2, 0))
    x = x.reshape(size, _SAMPLES, size, _SAMPLES, 3).mean((1, 3))
    if rng.random() < 0.4:  # noise of a camera sensor
        x = x + rng.normal(0, rng.uniform(0.003, 0.03), x.shape)
    return (x.clip(0, 1) * 255).round().astype(np.uint8)


def power_noise(rng: Rng, side: int, exponent: float) -> Array:
    """Noise (side, side) of unit variance whose amplitude falls as 1 / frequency^exponent."""
    across = np.fft.rfftfreq(side)
    down = np.fft.fftfreq(side)[:, None]
    amplitude = np.maximum(np.hypot(across, down), 1 / side) ** -exponent
    amplitude[0, 0] = 0
    phase = rng.uniform(0, 2 * np.pi, amplitude.shape)
    field = np.fft.irfft2(amplitude * np.exp(1j * phase), (side, side))
    return (field / field.std()).astype(np.float32)


def _color(rng: Rng) -> Array:
    """A random color (3,) in 0..1, mostly muted, sometimes vivid."""
    gray = rng.beta(1.1, 1.1)
    return np.clip(gray + rng.normal(0, rng.choice([0.03, 0.1, 0.3]), 3), 0, 1).astype(np.float32)


def _grid(rng: Rng, height: int, width: int) -> tuple[Array, Array]:
    """Coordinates (height, width) in samples, rotated by a random angle."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return c * x + s * y, c * y - s * x


def _pattern(rng: Rng, height: int, width: int) -> Array:
    """The share of the second color in a regular pattern, (height, width) in 0..1: stripes, checks,
    gingham, dots or waves."""
    u, v = _grid(rng, height, width)
    period = np.exp(rng.uniform(np.log(4), np.log(40))) * _SAMPLES / 2
    share = rng.uniform(0.25, 0.75)
    odd_u, odd_v = u / period % 1 < share, v / period % 1 < share
    kind = rng.integers(5)
    if kind == 0:
        return odd_u.astype(np.float32)
    if kind == 1:
        return (odd_u ^ odd_v).astype(np.float32)
    if kind == 2:
        return (0.5 * odd_u + 0.5 * odd_v).astype(np.float32)
    if kind == 3:
        return (np.hypot(u / period % 1 - 0.5, v / period % 1 - 0.5) < share / 2).astype(np.float32)
    return 0.5 + 0.5 * np.sin(u * (2 * np.pi / period))


def _surface(rng: Rng, height: int, width: int, noises: list[Array]) -> Array:
    """A surface with random pattern, shading and grain, (height, width, 3), about 0..1. noises:
    (side, side) each, from which the grain is cut."""
    color = _color(rng)
    out = np.broadcast_to(color, (height, width, 3))
    if rng.random() < 0.2 and min(height, width) > 8:
        out = out + _pattern(rng, height, width)[..., None] * (_color(rng) - color)
    if rng.random() < 0.5:
        u, _ = _grid(rng, height, width)
        out = out * (1 + rng.normal(0, 0.4) * (u - u.mean()) / max(height, width))[..., None]
    if rng.random() < 0.6:
        noise = noises[rng.integers(len(noises))]
        top = rng.integers(noise.shape[0] - height + 1)
        left = rng.integers(noise.shape[1] - width + 1)
        grain = noise[top : top + height, left : left + width, None]
        tint = _color(rng) - color if rng.random() < 0.3 else 1.0
        out = out + rng.choice([0.02, 0.05, 0.12]) * grain * tint
    return out


def _background(rng: Rng, side: int) -> Array:
    """A blend of two colors by 1/f noise and a gradient, (side, side, 3) in 0..1."""
    share = power_noise(rng, side, rng.uniform(0.8, 2.2)) * rng.uniform(0, 0.4)
    u, _ = _grid(rng, side, side)
    share = share + (u - u.mean()) / side * rng.uniform(0, 2)
    first, second = _color(rng), _color(rng)
    return first + (0.5 + share).clip(0, 1)[..., None] * (second - first)


def _outline(rng: Rng) -> Callable[[Array, Array], Array]:
    """A random shape of radius about 1, as a function that says whether points (x, y) are inside:
    an ellipse, box, convex polygon, blob or ring."""
    kind = rng.integers(5)
    ratio = rng.uniform(0.35, 1)
    if kind == 0:
        return lambda x, y: x**2 + (y / ratio) ** 2 < 1
    if kind == 1:
        return lambda x, y: (np.abs(x) < 1) & (np.abs(y) < ratio)
    if kind == 2:
        angles = rng.uniform(0, 2 * np.pi, rng.integers(3, 7))
        far = rng.uniform(0.4, 0.9, len(angles))

        def polygon(x: Array, y: Array) -> Array:
            inside = x**2 + y**2 < 1
            for angle, distance in zip(angles, far, strict=True):
                inside &= np.cos(angle) * x + np.sin(angle) * y < distance
            return inside

        return polygon
    waves = rng.normal(0, 0.25, 4) / np.arange(1, 5)
    phases = rng.uniform(0, 2 * np.pi, 4)
    inner = rng.uniform(0.4, 0.85) if kind == 4 else 0.0  # a ring, or a blob

    def blob(x: Array, y: Array) -> Array:
        angle, radius = np.arctan2(y, x), np.hypot(x, y)
        edge = 0.75 + sum(
            w * np.sin((k + 1) * angle + p)
            for k, (w, p) in enumerate(zip(waves, phases, strict=True))
        )
        return (radius < edge) & (radius >= inner * edge)

    return blob


def _dead_leaves(rng: Rng, x: Array) -> None:
    """Paint shapes over `x` (side, side, 3), in place, each with a surface of its own."""
    side = len(x)
    noises = [power_noise(rng, side, rng.uniform(0.3, 1.6)) for _ in range(2)]
    count = int(np.exp(rng.uniform(np.log(8), np.log(250))))
    least = rng.uniform(_SMALLEST, 0.06)
    # p(r) ~ r^-3 between the smallest and the largest
    u = rng.uniform(0, 1, count)
    radii = (least**-2 + u * (_LARGEST**-2 - least**-2)) ** -0.5
    for radius in radii * side:
        cx, cy = rng.uniform(-0.1, 1.1, 2) * side
        top, left = (max(0, int(c - radius)) for c in (cy, cx))
        bottom, right = (min(side, int(c + radius) + 1) for c in (cy, cx))
        if top >= bottom or left >= right:
            continue
        angle = rng.uniform(0, 2 * np.pi)
        c, s = np.cos(angle) / radius, np.sin(angle) / radius
        px = np.arange(left, right, dtype=np.float32) + 0.5 - cx
        py = (np.arange(top, bottom, dtype=np.float32) + 0.5 - cy)[:, None]
        inside = _outline(rng)(c * px + s * py, c * py - s * px)
        part = x[top:bottom, left:right]
        surface = _surface(rng, bottom - top, right - left, noises)
        np.copyto(part, surface, where=inside[..., None])


def _draw_line(x: Array, points: Array, radius: float, color: Array) -> None:
    """Paint a polyline of a color (3,) through `points` (N, 2), in samples, in place."""
    side = len(x)
    for (ax, ay), (bx, by) in pairwise(points):
        top, left = (max(0, int(min(p) - radius)) for p in ((ay, by), (ax, bx)))
        bottom, right = (min(side, int(max(p) + radius) + 2) for p in ((ay, by), (ax, bx)))
        if top >= bottom or left >= right:
            continue
        px = np.arange(left, right, dtype=np.float32) + 0.5 - ax
        py = (np.arange(top, bottom, dtype=np.float32) + 0.5 - ay)[:, None]
        dx, dy = bx - ax, by - ay
        t = ((px * dx + py * dy) / (dx * dx + dy * dy + 1e-6)).clip(0, 1)
        near = (px - t * dx) ** 2 + (py - t * dy) ** 2 < radius**2
        x[top:bottom, left:right][near] = color


def _stroke(rng: Rng, x: Array) -> None:
    """Paint a random curve in place: a wire, a branch, a hair, a limb of a pose image."""
    side, count = len(x), int(rng.integers(2, 12))
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.5, count))
    step = side * rng.uniform(0.02, 0.12)
    moves = np.stack([np.cos(heading), np.sin(heading)], 1) * step
    points = rng.uniform(0, side, 2) + np.cumsum(moves, 0)
    _draw_line(x, points, np.exp(rng.uniform(np.log(0.5), np.log(4))) * _SAMPLES, _color(rng))


def _writing(rng: Rng, x: Array) -> None:
    """Paint rows of random letters of a few strokes each in place."""
    side = len(x)
    height = rng.uniform(0.03, 0.14) * side
    left, y = rng.uniform(0, 0.6) * side, rng.uniform(0, 0.9) * side
    color, thick = _color(rng), max(0.6, height * rng.uniform(0.04, 0.1))
    for row in range(int(rng.integers(1, 4))):
        for letter in range(int(rng.integers(2, 12))):
            corner = np.array([left + letter * height * 0.75, y + row * height * 1.4])
            nodes = rng.integers(0, 3, (int(rng.integers(3, 6)), 2)) * [0.25, 0.5]
            _draw_line(x, corner + nodes * height, thick, color)


def _light(rng: Rng, x: Array) -> Array:
    """Apply uneven light, contrast and white balance to a picture (side, side, 3)."""
    side = len(x)
    u, _ = _grid(rng, side, side)
    x = x * (1 + rng.normal(0, 0.3) * (u - u.mean()) / side)[..., None]
    x = (x - 0.5) * rng.uniform(0.5, 1.3) + rng.normal(0.5, 0.1)
    return x.clip(0, 1) ** rng.uniform(0.7, 1.5) * (1 + rng.normal(0, 0.06, 3))
