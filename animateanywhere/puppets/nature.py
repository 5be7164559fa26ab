"""Outdoor scenes in nature: beach, forest, mountains, desert."""

import numpy as np

from animateanywhere.puppets.paint import (
    Canvas,
    Light,
    below,
    ellipse,
    gradient,
    grain,
    line,
    lower,
    polygon,
    shade,
    vary,
    waves,
)

Rng = np.random.Generator


def sky(c: Canvas, rng: Rng, horizon: float, clouds: int = 3) -> None:
    """A blue sky with clouds, and its lowest color below the horizon."""
    gradient(c, 0, horizon, vary(rng, (0.30, 0.57, 0.90)), low := vary(rng, (0.76, 0.88, 0.97)))
    gradient(c, horizon, 1, low, low)
    for _ in range(int(rng.integers(0, clouds + 1))):
        x, y, s = rng.uniform(0, 1), rng.uniform(0.05, horizon * 0.6), rng.uniform(0.05, 0.09)
        for k in (-1, 0, 1):
            ellipse(
                c, x + k * s, y + abs(k) * s * 0.2, s * 1.2, s * 0.5, (1, 1, 1), 0.75, soft=0.02
            )


def beach(c: Canvas, rng: Rng) -> Light:
    """Sea, sand, sometimes a palm and a boat."""
    h = rng.uniform(0.42, 0.52)
    sky(c, rng, h)
    shore = h + rng.uniform(0.13, 0.2)
    gradient(c, h, shore + 0.03, vary(rng, (0.08, 0.36, 0.62)), vary(rng, (0.22, 0.68, 0.74)))
    for _ in range(5):
        x, y = rng.uniform(0, 1), rng.uniform(h + 0.02, shore - 0.02)
        line(c, x, y, x + 0.1, y, 0.004, (0.8, 0.93, 0.96), alpha=0.8)
    edge = waves(rng, shore, 0.012, 2)
    below(c, lambda x: edge(x) - 0.018, (0.96, 0.98, 0.97))
    sand = vary(rng, (0.93, 0.81, 0.58), 0.04)
    below(c, edge, shade(sand, 0.84))
    below(c, lambda x: edge(x) + 0.035, sand)
    grain(c, rng, shore + 0.03, 1, 0.025, (26, 40))
    if rng.random() < 0.75:
        side = rng.choice([-1, 1])
        x, lean, y = (
            0.5 + side * rng.uniform(0.3, 0.42),
            rng.uniform(-0.06, 0.06),
            rng.uniform(0.12, 0.22),
        )
        line(c, x, shore + 0.08, x + lean, y, 0.018, (0.48, 0.33, 0.18), 0.011)
        for a in np.linspace(0.1, 6.1, 8) + rng.uniform(0, 0.5):
            mx, my = x + lean + 0.1 * np.cos(a), y - 0.05 + 0.06 * np.sin(a)
            line(c, x + lean, y, mx, my, 0.016, vary(rng, (0.14, 0.48, 0.16), 0.15), 0.012)
            line(
                c,
                mx,
                my,
                mx + 0.05 * np.cos(a),
                my + 0.05,
                0.012,
                vary(rng, (0.12, 0.42, 0.14), 0.15),
                0.003,
            )
    if rng.random() < 0.5:
        x, y = rng.uniform(0.05, 0.95), rng.uniform(h - 0.01, h + 0.03)
        polygon(
            c,
            [(x - 0.05, y), (x + 0.05, y), (x + 0.03, y + 0.02), (x - 0.03, y + 0.02)],
            (0.5, 0.2, 0.15),
        )
        polygon(c, [(x, y - 0.005), (x, y - 0.1), (x + 0.045, y - 0.015)], (0.98, 0.97, 0.95))
    return Light((1.03, 1.0, 0.95), 0.6, 0.4)


def forest(c: Canvas, rng: Rng) -> Light:
    """Trunks in three depths under leaves."""
    h = rng.uniform(0.56, 0.66)
    gradient(c, 0, h + 0.08, vary(rng, (0.16, 0.36, 0.18)), vary(rng, (0.62, 0.76, 0.46)))
    for layer in range(3):
        f = layer / 2
        tone = (0.34 - 0.16 * f, 0.30 - 0.12 * f, 0.20 - 0.10 * f)
        for _ in range(6 - layer):
            x, w = rng.uniform(-0.05, 1.05), (0.012 + 0.03 * f) * rng.uniform(0.7, 1.2)
            line(
                c,
                x,
                -0.1,
                x + rng.normal(0, 0.01),
                h + 0.02 + 0.06 * f,
                w,
                vary(rng, tone),
                w * 1.3,
            )
        for _ in range(9):
            ellipse(
                c,
                rng.uniform(0, 1),
                rng.uniform(-0.05, 0.26 - 0.1 * f),
                rng.uniform(0.07, 0.15),
                rng.uniform(0.05, 0.1),
                vary(rng, (0.22 - 0.08 * f, 0.46 - 0.12 * f, 0.18 - 0.06 * f), 0.15),
                soft=0.012,
            )
        ground = waves(rng, h + 0.05 * f, 0.012, 3)
        below(c, ground, vary(rng, (0.26 - 0.03 * layer, 0.40 - 0.04 * layer, 0.14)))
    gradient(c, h + 0.09, 1, vary(rng, (0.24, 0.33, 0.12)), vary(rng, (0.33, 0.27, 0.14)))
    grain(c, rng, 0, 1, 0.05, (40, 44))
    for _ in range(10):
        x, y = rng.uniform(0, 1), rng.uniform(h + 0.04, 1)
        for k in (-1, 0, 1):
            line(
                c, x, y, x + k * 0.02, y - 0.045, 0.006, vary(rng, (0.18, 0.44, 0.12), 0.15), 0.002
            )
    return Light((0.92, 1.0, 0.88), 0.56, 0.42)


def mountains(c: Canvas, rng: Rng) -> Light:
    """Snowy peaks, firs and a field of snow."""
    h = rng.uniform(0.56, 0.64)
    sky(c, rng, h, 2)
    for layer in range(2):
        for i in range(4):
            x, top = (i + rng.uniform(0, 1)) / 3.6, rng.uniform(0.1, 0.28) + 0.14 * layer
            w, base = rng.uniform(0.26, 0.38), h + 0.03
            rock = vary(rng, (0.48, 0.54, 0.66) if layer == 0 else (0.34, 0.40, 0.52))
            polygon(c, [(x, top), (x + w, base), (x - w, base)], rock)
            polygon(c, [(x, top), (x + 0.3 * w, base), (x - w, base)], shade(rock, 1.18), 0.6)
            f = 0.42
            cap = top + f * (base - top)
            polygon(
                c,
                [
                    (x, top),
                    (x + w * f, cap),
                    (x + w * f * 0.4, cap - 0.02),
                    (x, cap + 0.03),
                    (x - w * f * 0.5, cap - 0.015),
                    (x - w * f, cap),
                ],
                (0.97, 0.98, 1.0),
            )
    below(c, waves(rng, h, 0.015, 1), (0.86, 0.91, 0.97))
    gradient(c, h + 0.05, 1, (0.90, 0.94, 0.99), vary(rng, (0.97, 0.98, 1.0), 0.01))
    below(c, waves(rng, h + 0.15, 0.02, 1), (0.93, 0.95, 0.99), 0.7)
    for _ in range(int(rng.integers(2, 6))):
        x, y, s = rng.uniform(0, 1), h + rng.uniform(0.02, 0.1), rng.uniform(0.7, 1.3)
        green = vary(rng, (0.12, 0.32, 0.24), 0.12)
        for k in range(3):
            t = y - (0.08 + 0.055 * k) * s
            polygon(
                c,
                [
                    (x, t - 0.05 * s),
                    (x + (0.065 - 0.015 * k) * s, t + 0.06 * s),
                    (x - (0.065 - 0.015 * k) * s, t + 0.06 * s),
                ],
                green,
            )
            polygon(
                c,
                [(x, t - 0.05 * s), (x + 0.02 * s, t - 0.012 * s), (x - 0.024 * s, t - 0.008 * s)],
                (0.95, 0.97, 1),
            )
    return Light((0.97, 1.0, 1.06), 0.66, 0.3)


def desert(c: Canvas, rng: Rng) -> Light:
    """Dunes, cactuses, the sun, sometimes a mesa."""
    h = rng.uniform(0.48, 0.56)
    gradient(c, 0, h + 0.12, vary(rng, (0.42, 0.66, 0.90)), vary(rng, (0.99, 0.82, 0.60)))
    ellipse(
        c, rng.uniform(0.1, 0.9), rng.uniform(0.08, 0.24), 0.055, 0.055, (1, 0.96, 0.78), soft=0.015
    )
    sand = vary(rng, (0.88, 0.56, 0.28), 0.05)
    if rng.random() < 0.6:
        x = rng.uniform(0.1, 0.9)
        polygon(
            c,
            [(x - 0.14, h - 0.15), (x + 0.1, h - 0.16), (x + 0.2, h + 0.03), (x - 0.22, h + 0.03)],
            vary(rng, (0.70, 0.36, 0.22)),
        )
    for k in range(4):
        level = waves(rng, h + 0.02 + 0.1 * k, 0.035, 1)
        below(c, level, shade(sand, 0.82 + 0.08 * k))
        below(c, lower(level, 0.02), shade(sand, 0.9 + 0.08 * k), 0.6)
    grain(c, rng, h, 1, 0.025, (24, 36))
    for _ in range(int(rng.integers(2, 4))):
        x, y, s = (
            rng.choice([rng.uniform(0.02, 0.3), rng.uniform(0.7, 0.98)]),
            h + rng.uniform(0.06, 0.22),
            rng.uniform(0.7, 1.3),
        )
        green = vary(rng, (0.20, 0.46, 0.22), 0.1)
        line(c, x, y, x, y - 0.24 * s, 0.026 * s, green)
        for k in (-1, 1):
            top = rng.uniform(0.1, 0.17) * s
            line(c, x, y - top * 0.7, x + k * 0.06 * s, y - top * 0.7, 0.015 * s, green)
            line(
                c,
                x + k * 0.06 * s,
                y - top * 0.7,
                x + k * 0.06 * s,
                y - top * 1.3,
                0.015 * s,
                green,
            )
        line(c, x + 0.008 * s, y, x + 0.008 * s, y - 0.24 * s, 0.003, shade(green, 0.7))
    return Light((1.05, 0.98, 0.88), 0.56, 0.45)
