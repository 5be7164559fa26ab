"""Drawing of flat antialiased shapes, of which the scenes are made."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from animateanywhere.puppets.spec import RGB

T = TypeVar("T")
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Canvas:
    """A picture being painted; x and y run over 0..1 (x a little beyond, for camera moves)."""

    image: Tensor  # (3, H, W) in 0..1
    x: Tensor  # (1, W)
    y: Tensor  # (H, 1)
    pixel: float


@dataclass(frozen=True)
class Light:
    """How a scene lights the person: tint RGB, ambient share, ground shadow 0..1."""

    tint: RGB
    ambient: float
    shadow: float


def shade(rgb: RGB, factor: float) -> RGB:
    """The color times `factor`, clipped to 0..1."""
    r, g, b = (float(min(1.0, max(0.0, v * factor))) for v in rgb)
    return r, g, b


def vary(rng: np.random.Generator, rgb: RGB, amount: float = 0.07) -> RGB:
    """A random color near `rgb`."""
    varied = np.array(rgb) * (1 + rng.normal(0, amount)) + rng.normal(0, amount / 3, 3)
    r, g, b = np.clip(varied, 0, 1).tolist()
    return r, g, b


def one(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of the options."""
    return options[int(rng.integers(len(options)))]


def canvas(size: int, margin: int, device: str) -> Canvas:
    """An empty canvas of `size` rows and `size + 2 * margin` columns."""
    x = (torch.arange(-margin, size + margin, device=device) + 0.5) / size
    y = (torch.arange(size, device=device) + 0.5) / size
    return Canvas(
        torch.zeros(3, size, size + 2 * margin, device=device), x[None], y[:, None], 1 / size
    )


def fill(
    c: Canvas, inside: Callable[[Tensor, Tensor], Tensor], color: RGB, box: Box | None = None,
    alpha: float = 1.0, soft: float = 0.0,
) -> None:  # fmt: skip
    """Blend `color` where the signed distance `inside(x, y)` is positive, over `box`'s pixels."""
    h, w = c.image.shape[1:]
    top, bottom, left, right = 0, h, 0, w
    if box is not None:
        pad = 1.5 * c.pixel + soft
        margin = (w - h) // 2
        left = max(0, int((box[0] - pad) / c.pixel) + margin)
        right = min(w, int((box[2] + pad) / c.pixel) + margin + 1)
        top = max(0, int((box[1] - pad) / c.pixel))
        bottom = min(h, int((box[3] + pad) / c.pixel) + 1)
    if left >= right or top >= bottom:
        return
    distance = inside(c.x[:, left:right], c.y[top:bottom])
    cover = (distance / (c.pixel + soft) + 0.5).clamp_(0, 1).mul_(alpha)
    part = c.image[:, top:bottom, left:right]
    part.lerp_(torch.tensor(color, dtype=part.dtype, device=part.device)[:, None, None], cover)


def rect(
    c: Canvas, x0: float, y0: float, x1: float, y1: float, color: RGB, alpha: float = 1.0
) -> None:
    """An upright rectangle."""

    def inside(x: Tensor, y: Tensor) -> Tensor:
        return torch.minimum(torch.minimum(x - x0, x1 - x), torch.minimum(y - y0, y1 - y))

    fill(c, inside, color, (x0, y0, x1, y1), alpha)


def ellipse(
    c: Canvas, cx: float, cy: float, rx: float, ry: float, color: RGB, alpha: float = 1.0,
    soft: float = 0.0,
) -> None:  # fmt: skip
    """An upright ellipse; `soft` widens its edge."""

    def inside(x: Tensor, y: Tensor) -> Tensor:
        return (1 - torch.sqrt(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2)) * min(rx, ry)

    fill(c, inside, color, (cx - rx, cy - ry, cx + rx, cy + ry), alpha, soft)


def line(
    c: Canvas, x0: float, y0: float, x1: float, y1: float, r: float, color: RGB,
    r1: float | None = None, alpha: float = 1.0,
) -> None:  # fmt: skip
    """A thick line with round ends, from radius `r` to `r1`."""
    end = r if r1 is None else r1
    length = (x1 - x0) ** 2 + (y1 - y0) ** 2 + 1e-9

    def inside(x: Tensor, y: Tensor) -> Tensor:
        t = (((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / length).clamp(0, 1)
        away = torch.sqrt((x - x0 - t * (x1 - x0)) ** 2 + (y - y0 - t * (y1 - y0)) ** 2)
        return r + (end - r) * t - away

    m = max(r, end)
    box = min(x0, x1) - m, min(y0, y1) - m, max(x0, x1) + m, max(y0, y1) + m
    fill(c, inside, color, box, alpha)


def polygon(c: Canvas, points: list[tuple[float, float]], color: RGB, alpha: float = 1.0) -> None:
    """A convex polygon, its corners in either order."""
    p = np.array(points)
    area = np.sum(p[:, 0] * np.roll(p[:, 1], -1) - np.roll(p[:, 0], -1) * p[:, 1])
    if area < 0:
        p = p[::-1]
    d = np.roll(p, -1, 0) - p
    d = d / np.maximum(np.linalg.norm(d, axis=1, keepdims=True), 1e-9)

    def inside(x: Tensor, y: Tensor) -> Tensor:
        out = None
        for (px, py), (dx, dy) in zip(p.tolist(), d.tolist(), strict=True):
            side = dx * (y - py) - dy * (x - px)
            out = side if out is None else torch.minimum(out, side)
        assert out is not None
        return out

    fill(c, inside, color, (p[:, 0].min(), p[:, 1].min(), p[:, 0].max(), p[:, 1].max()), alpha)


def below(c: Canvas, level: Callable[[Tensor], Tensor], color: RGB, alpha: float = 1.0) -> None:
    """Fill the area below the curve y = level(x): hills, dunes, waves."""
    fill(c, lambda x, y: y - level(x), color, None, alpha)


def waves(
    rng: np.random.Generator, base: float, height: float, rough: int
) -> Callable[[Tensor], Tensor]:
    """A random smooth curve about `base`, for `below`; `rough` waves to the width."""
    terms = [
        (height / (k + 1), (rough * (k + 1) * rng.uniform(0.7, 1.3)), rng.uniform(0, 7))
        for k in range(3)
    ]

    def level(x: Tensor) -> Tensor:
        out = torch.full_like(x, base)
        for a, f, p in terms:
            out = out + a * torch.sin(x * f * 2 * np.pi + p)
        return out

    return level


def lower(level: Callable[[Tensor], Tensor], by: float) -> Callable[[Tensor], Tensor]:
    """The same curve, `by` further down."""
    return lambda x: level(x) + by


def gradient(c: Canvas, y0: float, y1: float, top: RGB, bottom: RGB) -> None:
    """A vertical blend of two colors between heights y0 and y1, over the whole width."""
    h = c.image.shape[1]
    a, b = max(0, round(y0 * h)), min(h, round(y1 * h))
    if a >= b:
        return
    t = ((c.y[a:b] - y0) / max(y1 - y0, 1e-6)).clamp(0, 1)[None]
    first, last = (torch.tensor(v, device=c.image.device)[:, None, None] for v in (top, bottom))
    c.image[:, a:b] = first + (last - first) * t


def grain(
    c: Canvas, rng: np.random.Generator, y0: float, y1: float, amount: float,
    cells: tuple[int, int] = (40, 40),
) -> None:  # fmt: skip
    """Multiply smooth noise of rows x columns `cells` into the band between y0 and y1."""
    h, w = c.image.shape[1:]
    a, b = max(0, round(y0 * h)), min(h, round(y1 * h))
    if a >= b:
        return
    noise = torch.from_numpy(rng.normal(0, 1, (1, 1, *cells)).astype(np.float32)).to(c.image.device)
    noise = torch.nn.functional.interpolate(noise, (b - a, w), mode="bilinear", align_corners=True)
    c.image[:, a:b].mul_(1 + amount * noise[0])
