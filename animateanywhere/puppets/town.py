"""Outdoor scenes in a town: street, city, park."""

import numpy as np

from animateanywhere.puppets.nature import sky
from animateanywhere.puppets.paint import (
    Canvas,
    Light,
    below,
    ellipse,
    gradient,
    grain,
    line,
    polygon,
    rect,
    shade,
    vary,
    waves,
)

Rng = np.random.Generator


def _houses(c: Canvas, rng: Rng, base: float, night: bool) -> None:
    x = -0.12
    while x < 1.1:
        w, top = (
            rng.uniform(0.17, 0.3),
            rng.uniform(0.02, 0.24) if not night else rng.uniform(0.05, 0.38),
        )
        wall = (
            vary(
                rng,
                [
                    (0.76, 0.45, 0.36),
                    (0.88, 0.78, 0.60),
                    (0.66, 0.70, 0.76),
                    (0.85, 0.62, 0.45),
                    (0.93, 0.90, 0.84),
                ][rng.integers(5)],
            )
            if not night
            else vary(rng, (0.12, 0.13, 0.22), 0.2)
        )
        rect(c, x, top, x + w - 0.006, base, wall)
        if not night:
            rect(c, x - 0.006, top, x + w, top + 0.025, shade(wall, 0.62))
        cols, rows = int(w / 0.075), int((base - top) / 0.12)
        for i in range(cols):
            for k in range(rows):
                wx = x + (i + 0.5) * w / cols - 0.018
                wy = top + 0.05 + k * (base - top - 0.05) / rows
                lit = (0.99, 0.86, 0.45) if rng.random() < 0.55 else (0.2, 0.22, 0.34)
                glass = lit if night else (0.33, 0.45, 0.58)
                if not night:
                    rect(c, wx - 0.006, wy - 0.006, wx + 0.042, wy + 0.066, (0.95, 0.94, 0.92))
                rect(c, wx, wy, wx + 0.036, wy + 0.06, glass)
        if not night:
            d = x + rng.uniform(0.2, 0.7) * w
            rect(c, d, base - 0.13, d + 0.055, base, vary(rng, (0.35, 0.22, 0.18), 0.3))
        x += w


def street(c: Canvas, rng: Rng) -> Light:
    """Houses with windows, a sidewalk, a road."""
    h = rng.uniform(0.6, 0.68)
    sky(c, rng, 0.7, 2)
    _houses(c, rng, h, night=False)
    gradient(c, h, h + 0.07, vary(rng, (0.72, 0.71, 0.69)), (0.66, 0.65, 0.63))
    rect(c, -0.1, h + 0.06, 1.1, h + 0.078, (0.48, 0.48, 0.47))
    gradient(c, h + 0.078, 1, vary(rng, (0.34, 0.35, 0.37)), vary(rng, (0.42, 0.42, 0.44)))
    grain(c, rng, h + 0.08, 1, 0.03, (30, 44))
    shift = rng.uniform(0, 0.3)
    for k in range(-1, 5):
        x, y = k * 0.3 + shift, h + 0.2
        polygon(
            c,
            [(x, y), (x + 0.15, y), (x + 0.14, y + 0.022), (x - 0.015, y + 0.022)],
            (0.94, 0.93, 0.88),
        )
    x = rng.choice([rng.uniform(0.04, 0.2), rng.uniform(0.8, 0.96)])
    line(c, x, h + 0.06, x, 0.16, 0.008, (0.15, 0.17, 0.18))
    ellipse(c, x, 0.15, 0.026, 0.034, (0.98, 0.95, 0.8))
    return Light((1.0, 1.0, 1.0), 0.6, 0.42)


def city(c: Canvas, rng: Rng) -> Light:
    """A skyline with lit windows, moon, lamps and neon."""
    h = rng.uniform(0.64, 0.70)
    gradient(c, 0, h, vary(rng, (0.03, 0.04, 0.13)), vary(rng, (0.22, 0.16, 0.36)))
    for _ in range(16):
        ellipse(c, rng.uniform(0, 1), rng.uniform(0, 0.35), 0.004, 0.004, (1, 1, 0.95))
    x = rng.uniform(0.1, 0.9)
    ellipse(c, x, 0.1, 0.05, 0.05, (0.97, 0.95, 0.82))
    ellipse(c, x + 0.02, 0.09, 0.042, 0.042, (0.06, 0.06, 0.17))
    _houses(c, rng, h, night=True)
    for _ in range(2):
        x, y = rng.uniform(0, 0.85), rng.uniform(h - 0.2, h - 0.1)
        rect(
            c,
            x,
            y,
            x + 0.14,
            y + 0.045,
            [(0.98, 0.2, 0.5), (0.15, 0.85, 0.95), (0.4, 0.95, 0.4)][rng.integers(3)],
        )
    gradient(c, h, 1, (0.10, 0.10, 0.15), (0.19, 0.19, 0.25))
    for x in (rng.uniform(0.02, 0.2), rng.uniform(0.8, 0.98)):
        line(c, x, h + 0.05, x, 0.28, 0.008, (0.05, 0.05, 0.07))
        ellipse(c, x, 0.27, 0.085, 0.085, (1, 0.85, 0.5), 0.35, soft=0.07)
        ellipse(c, x, 0.27, 0.026, 0.026, (1, 0.95, 0.75))
        ellipse(c, x, h + 0.12, 0.17, 0.045, (1, 0.8, 0.45), 0.35, soft=0.04)
    ellipse(c, 0.5, 0.92, 0.4, 0.1, (0.55, 0.5, 0.5), 0.35, soft=0.06)
    return Light((0.84, 0.86, 1.0), 0.56, 0.4)


def park(c: Canvas, rng: Rng) -> Light:
    """Grass, a path, round trees, a bench, flowers."""
    h = rng.uniform(0.5, 0.58)
    sky(c, rng, h, 4)
    below(c, waves(rng, h - 0.05, 0.03, 1), vary(rng, (0.36, 0.58, 0.34)))
    grass = vary(rng, (0.36, 0.68, 0.24))
    gradient(c, h, 1, shade(grass, 0.85), shade(grass, 1.08))
    k = rng.uniform(-0.2, 0.2)
    polygon(
        c,
        [(0.47 + k, h), (0.52 + k, h), (0.85 - k, 1.02), (0.25 - k, 1.02)],
        vary(rng, (0.82, 0.74, 0.58)),
    )
    grain(c, rng, h, 1, 0.035, (30, 44))
    for _ in range(int(rng.integers(2, 5))):
        x, y, s = (
            rng.choice([rng.uniform(-0.02, 0.28), rng.uniform(0.72, 1.02)]),
            h + rng.uniform(0, 0.1),
            rng.uniform(0.8, 1.25),
        )
        line(c, x, y, x, y - 0.2 * s, 0.016 * s, (0.42, 0.28, 0.16))
        leaf = vary(rng, (0.20, 0.52, 0.18), 0.12)
        for dx, dy, r, f in (
            (-0.06, -0.22, 0.085, 0.85),
            (0.06, -0.22, 0.085, 0.9),
            (0, -0.29, 0.1, 1.0),
            (-0.03, -0.31, 0.05, 1.2),
        ):
            ellipse(c, x + dx * s, y + dy * s, r * s, r * s * 0.9, shade(leaf, f))
    x = rng.uniform(0.05, 0.75)
    for dy in (0.0, 0.03):
        rect(c, x, h + dy - 0.02, x + 0.2, h + dy, (0.55, 0.34, 0.18))
    rect(c, x, h + 0.045, x + 0.2, h + 0.06, (0.48, 0.3, 0.16))
    for dx in (0.02, 0.17):
        rect(c, x + dx, h + 0.01, x + dx + 0.012, h + 0.1, (0.25, 0.25, 0.27))
    for _ in range(14):
        ellipse(
            c,
            rng.uniform(0, 1),
            rng.uniform(h + 0.1, 1),
            0.009,
            0.009,
            [(0.98, 0.9, 0.3), (1, 1, 1), (0.95, 0.4, 0.5)][rng.integers(3)],
        )
    return Light((1.02, 1.0, 0.96), 0.62, 0.4)
