"""Indoor scenes: room, stage, kitchen."""

import numpy as np

from animateanywhere.puppets.paint import (
    Canvas,
    Light,
    ellipse,
    gradient,
    line,
    polygon,
    rect,
    shade,
    vary,
)

Rng = np.random.Generator


def room(c: Canvas, rng: Rng) -> Light:
    """A living room: window, picture, sofa, rug."""
    h = rng.uniform(0.64, 0.72)
    wall = vary(
        rng,
        [(0.90, 0.84, 0.72), (0.70, 0.80, 0.80), (0.86, 0.72, 0.70), (0.78, 0.76, 0.86)][
            rng.integers(4)
        ],
    )
    gradient(c, 0, h, shade(wall, 1.04), shade(wall, 0.92))
    wood = vary(rng, (0.62, 0.42, 0.25))
    gradient(c, h, 1, shade(wood, 0.85), shade(wood, 1.1))
    for k in np.linspace(-0.6, 1.6, 13):
        line(c, 0.5 + (k - 0.5) * 0.6, h, k, 1.02, 0.003, shade(wood, 0.7), alpha=0.7)
    rect(c, -0.1, h - 0.025, 1.1, h, (0.96, 0.95, 0.93))
    side = rng.choice([0, 1])
    x, y = (0.05, 0.62)[side] + rng.uniform(0, 0.06), rng.uniform(0.1, 0.16)
    rect(c, x - 0.015, y - 0.015, x + 0.285, y + 0.335, (0.97, 0.96, 0.94))
    rect(c, x, y, x + 0.27, y + 0.32, (0.60, 0.80, 0.95))
    ellipse(c, x + 0.13, y + 0.32, 0.13, 0.08, (0.45, 0.68, 0.38))
    rect(c, x - 0.01, y + 0.32, x + 0.29, y + 0.36, wall)
    rect(c, x + 0.128, y, x + 0.142, y + 0.32, (0.97, 0.96, 0.94))
    rect(c, x, y + 0.15, x + 0.27, y + 0.163, (0.97, 0.96, 0.94))
    cloth = vary(
        rng,
        [(0.72, 0.22, 0.22), (0.25, 0.38, 0.62), (0.92, 0.88, 0.78), (0.35, 0.52, 0.38)][
            rng.integers(4)
        ],
    )
    for k in (-0.05, 0.255):
        rect(c, x + k, y - 0.03, x + k + 0.065, y + 0.4, cloth)
        line(c, x + k + 0.032, y, x + k + 0.032, y + 0.38, 0.005, shade(cloth, 0.8))
    px, py = (0.66, 0.1)[side] + rng.uniform(0, 0.08), rng.uniform(0.12, 0.24)
    rect(c, px, py, px + 0.2, py + 0.16, (0.25, 0.17, 0.1))
    rect(c, px + 0.015, py + 0.015, px + 0.185, py + 0.145, vary(rng, (0.85, 0.75, 0.5), 0.2))
    ellipse(
        c, px + rng.uniform(0.06, 0.14), py + 0.08, 0.04, 0.04, vary(rng, (0.8, 0.35, 0.25), 0.3)
    )
    sofa = vary(rng, [(0.25, 0.45, 0.50), (0.60, 0.32, 0.25), (0.45, 0.42, 0.50)][rng.integers(3)])
    sx = (0.58, -0.06)[side]
    rect(c, sx, h - 0.2, sx + 0.48, h + 0.02, shade(sofa, 0.85))
    rect(c, sx - 0.02, h - 0.1, sx + 0.5, h + 0.06, sofa)
    rect(c, sx + 0.235, h - 0.1, sx + 0.241, h + 0.03, shade(sofa, 0.75))
    ellipse(c, 0.5, h + 0.22, 0.42, 0.075, vary(rng, cloth, 0.2), 0.8)
    return Light((1.02, 1.0, 0.95), 0.64, 0.36)


def stage(c: Canvas, rng: Rng) -> Light:
    """Curtain, boards and spotlights."""
    h = rng.uniform(0.66, 0.72)
    red = vary(
        rng, [(0.55, 0.07, 0.10), (0.42, 0.08, 0.34), (0.55, 0.07, 0.10)][rng.integers(3)], 0.1
    )
    gradient(c, 0, h, shade(red, 0.7), red)
    phase = rng.uniform(0, 1)
    for k in range(-1, 13):
        x = (k + phase) / 12
        line(c, x, -0.05, x, h, 0.013, shade(red, 0.62))
        line(c, x + 0.035, -0.05, x + 0.035, h, 0.006, shade(red, 1.35), alpha=0.6)
    wood = vary(rng, (0.50, 0.31, 0.17))
    gradient(c, h, 1, shade(wood, 0.7), shade(wood, 1.0))
    for k in np.linspace(-0.5, 1.5, 12):
        line(c, 0.5 + (k - 0.5) * 0.7, h, k, 1.02, 0.003, shade(wood, 0.55))
    ellipse(c, 0.5, 0.9, 0.46, 0.12, (0.98, 0.88, 0.62), 0.55, soft=0.06)
    for x in (rng.uniform(0.08, 0.22), rng.uniform(0.78, 0.92)):
        foot = 0.5 + (x - 0.5) * 0.3
        polygon(
            c,
            [(x - 0.02, 0.05), (x + 0.02, 0.05), (foot + 0.2, 0.94), (foot - 0.2, 0.94)],
            (1, 0.93, 0.7),
            0.25,
        )
    for k in range(5):
        x = 0.1 + 0.2 * k
        ellipse(c, x, 0.035, 0.034, 0.03, (0.08, 0.08, 0.09))
        ellipse(c, x, 0.055, 0.023, 0.017, (1, 0.97, 0.8))
    for side in (0, 1):
        for k in range(3):
            rect(
                c,
                side * 0.9 + k * 0.035 - 0.02,
                0,
                side * 0.9 + k * 0.035 + 0.01,
                h + 0.08,
                shade(red, 1.15 - 0.25 * (k % 2)),
            )
    return Light((1.06, 1.0, 0.92), 0.52, 0.5)


def kitchen(c: Canvas, rng: Rng) -> Light:
    """Cabinets, tiles, stove, fridge, checkered floor."""
    h = rng.uniform(0.68, 0.74)
    gradient(c, 0, h, vary(rng, (0.93, 0.92, 0.87), 0.02), vary(rng, (0.86, 0.86, 0.83), 0.02))
    tile = vary(rng, [(0.58, 0.78, 0.82), (0.85, 0.88, 0.80), (0.92, 0.78, 0.62)][rng.integers(3)])
    wood = vary(
        rng,
        [(0.70, 0.48, 0.28), (0.92, 0.92, 0.90), (0.36, 0.50, 0.52), (0.78, 0.30, 0.24)][
            rng.integers(4)
        ],
    )
    rect(c, -0.1, 0.26, 1.1, 0.46, tile)
    for k in range(-2, 17):
        rect(c, k / 15, 0.26, k / 15 + 0.005, 0.46, (0.97, 0.97, 0.96))
    for k in range(4):
        rect(c, -0.1, 0.27 + k * 0.058, 1.1, 0.275 + k * 0.058, (0.97, 0.97, 0.96))
    shift = rng.uniform(0, 0.1)
    for k in range(-1, 6):
        x = k * 0.2 + shift
        rect(c, x, 0.0, x + 0.19, 0.25, wood)
        rect(c, x + 0.02, 0.02, x + 0.17, 0.225, shade(wood, 0.88))
        rect(c, x, 0.5, x + 0.19, h, wood)
        rect(c, x + 0.02, 0.53, x + 0.17, h - 0.03, shade(wood, 0.88))
        rect(c, x + 0.075, 0.545, x + 0.115, 0.556, (0.3, 0.3, 0.32))
    rect(c, -0.1, 0.46, 1.1, 0.5, vary(rng, (0.42, 0.40, 0.40), 0.2))
    side = rng.choice([0, 1])
    x = (0.02, 0.74)[side]
    rect(c, x, 0.5, x + 0.22, h, (0.82, 0.83, 0.85))
    rect(c, x + 0.025, 0.57, x + 0.195, h - 0.04, (0.12, 0.12, 0.14))
    for k in range(4):
        ellipse(c, x + 0.04 + 0.045 * k, 0.53, 0.011, 0.011, (0.15, 0.15, 0.17))
    rect(c, x + 0.06, 0.40, x + 0.16, 0.465, vary(rng, (0.75, 0.2, 0.18), 0.3))
    line(c, x + 0.16, 0.41, x + 0.22, 0.40, 0.008, (0.15, 0.15, 0.16))
    f = (0.76, 0.0)[side]
    rect(c, f, 0.14, f + 0.23, h + 0.02, (0.90, 0.91, 0.93))
    rect(c, f, 0.36, f + 0.23, 0.37, (0.6, 0.62, 0.64))
    for y in (0.22, 0.42):
        rect(c, f + 0.025, y, f + 0.037, y + 0.1, (0.45, 0.47, 0.5))
    gradient(c, h, 1, (0.74, 0.70, 0.64), (0.84, 0.80, 0.74))
    for i, y in enumerate((h, h + 0.06, h + 0.15, h + 0.29)):
        nxt = (h + 0.06, h + 0.15, h + 0.29, h + 0.5)[i]
        for k in range(-4, 14, 2):
            u = [
                0.5 + (k + (i % 2) + d - 5) * 0.13 * (1 + 1.9 * (v - h))
                for d, v in ((0, y), (1, y), (1, nxt), (0, nxt))
            ]
            polygon(c, [(u[0], y), (u[1], y), (u[2], nxt), (u[3], nxt)], (0.50, 0.46, 0.43), 0.75)
    return Light((1.0, 1.0, 0.98), 0.66, 0.34)
