"""Prints on tops: patterns over the whole garment, and pictures or words on the chest."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from animateanywhere.puppets.paint import (
    Canvas,
    canvas,
    ellipse,
    fill,
    line,
    one,
    polygon,
    rect,
)
from animateanywhere.puppets.spec import RGB, Identity

Rng = np.random.Generator

PRINT = 64  # pixels per side of a print
# The part of the torso, in its local coordinates, that a print covers: left, right, bottom, top
_BOX = (-0.14, 0.14, -0.03, 0.33)


def paint_print(who: Identity, device: str) -> Tensor:
    """The print of a person's top, float32 (4, PRINT, PRINT): color in 0..1, and 1 where it covers
    the cloth. An odd seed covers the whole garment, an even one the chest."""
    c = canvas(PRINT, 0, device)
    if who.detail is None or not who.detail.print_seed:
        return torch.zeros(4, PRINT, PRINT, device=device)
    rng = np.random.default_rng(who.detail.print_seed)
    colors: list[RGB] = [who.accent_rgb, *[any_color(rng) for _ in range(rng.integers(1, 4))]]
    everywhere = bool(who.detail.print_seed % 2)
    c.image[:] = -1.0  # not painted
    (_garment if everywhere else _chest)(c, rng, who.top_rgb, colors)
    cover = (c.image[:1] > -0.5).float()
    return torch.cat([c.image.clamp(0, 1), cover])


def print_at(prints: Tensor, frame: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Colors (N, 3) of prints (F, 4, PRINT, PRINT) at points u, v (N,) of the torso in frames
    `frame` (N,), and whether they cover the cloth there, bool (N,)."""
    left, right, bottom, top = _BOX
    x = ((u - left) / (right - left) * PRINT).long().clamp(0, PRINT - 1)
    y = ((top - v) / (top - bottom) * PRINT).long().clamp(0, PRINT - 1)
    found = prints[frame, :, y, x]
    return found[:, :3], found[:, 3] > 0.5


def any_color(rng: Rng) -> RGB:
    """Draw a color, of all that RGB has; strong ones are more frequent."""
    r, g, b = np.clip(rng.beta(0.8, 0.8) + rng.normal(0, 0.35, 3), 0.03, 1)
    return float(r), float(g), float(b)


def _garment(c: Canvas, rng: Rng, cloth: RGB, colors: list[RGB]) -> None:
    """Color blocks, tartan, spots, camouflage or diagonal bands."""
    kind = rng.integers(5)
    if kind == 0:
        rect(c, -0.1, -0.1, 1.1, rng.uniform(0.25, 0.75), colors[0])
        if rng.random() < 0.5:
            y, h = rng.uniform(0.2, 0.8), rng.uniform(0.04, 0.12)
            rect(c, -0.1, y - h, 1.1, y + h, colors[-1])
        return
    rect(c, -0.1, -0.1, 1.1, 1.1, cloth)
    if kind == 1:
        for color in colors:
            period, width, phase = rng.uniform(0.12, 0.4), rng.uniform(0.01, 0.06), rng.uniform()
            for k in range(-1, int(1 / period) + 2):
                at = (k + phase) * period
                rect(c, at - width, -0.1, at + width, 1.1, color, 0.6)
                rect(c, -0.1, at - width, 1.1, at + width, color, 0.6)
    elif kind == 2:
        for _ in range(int(rng.integers(15, 60))):
            x, y = rng.uniform(0, 1, 2)
            r = rng.uniform(0.015, 0.07)
            ellipse(c, x, y, r, r * rng.uniform(0.5, 1), one(rng, colors))
    elif kind == 3:
        for color in colors:
            waves = [(*rng.normal(0, 16, 2), rng.uniform(0, 7)) for _ in range(5)]
            fill(c, partial(_camouflage, waves), color)
    else:
        slope, period = rng.uniform(-1.5, 1.5), rng.uniform(0.1, 0.4)
        for k in range(-12, 24):
            x = k * period
            corners = [(x, 0.0), (x + period / 2, 0.0)]
            corners += [(a + slope, b + 1) for a, b in reversed(corners)]
            polygon(c, corners, colors[k % len(colors)])


def _camouflage(waves: list[tuple[float, float, float]], x: Tensor, y: Tensor) -> Tensor:
    """A random smooth field, positive in half of the picture. waves: frequencies in x and y, and
    phases, in radians."""
    return 0.03 * torch.stack([torch.sin(a * x + b * y + p) for a, b, p in waves]).sum(0)


def _chest(c: Canvas, rng: Rng, _cloth: RGB, colors: list[RGB]) -> None:
    """A picture or a word on the chest."""
    cx, cy = 0.5 + rng.normal(0, 0.04), rng.uniform(0.3, 0.5)
    if rng.random() < 0.4:
        _word(c, rng, cx, cy, colors[0])
        return
    r = rng.uniform(0.12, 0.24)
    for k in range(int(rng.integers(2, 7))):
        color, size = one(rng, colors), r * (1 if k == 0 else rng.uniform(0.2, 0.6))
        x, y = (cx, cy) if k == 0 else (cx + rng.normal(0, r / 2), cy + rng.normal(0, r / 2))
        kind = rng.integers(3)
        if kind == 0:
            ellipse(c, x, y, size, size * rng.uniform(0.5, 1), color)
        elif kind == 1:
            count, turn = int(rng.integers(3, 7)), rng.uniform(0, 7)
            around = [turn + 2 * np.pi * i / count for i in range(count)]
            corners = [(x + size * np.cos(a), y + size * np.sin(a)) for a in around]
            polygon(c, corners, color)
        else:
            x1, y1 = x + rng.normal(0, size), y + rng.normal(0, size)
            line(c, x, y, x1, y1, 0.25 * size, color, 0.1 * size)


def _word(c: Canvas, rng: Rng, cx: float, cy: float, color: RGB) -> None:
    """A row of random letters of three strokes each, centered at cx, with its top at cy."""
    h = rng.uniform(0.08, 0.16)
    letters = int(rng.integers(3, 7))
    for k in range(letters):
        left = cx + (k - letters / 2) * 0.55 * h * 1.5
        nodes = rng.integers(0, 3, (4, 2)) * [0.25 * h, 0.5 * h]
        for (ax, ay), (bx, by) in pairwise(nodes):
            line(c, left + ax, cy + ay, left + bx, cy + by, 0.1 * h, color)
