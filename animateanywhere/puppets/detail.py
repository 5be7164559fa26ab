"""What words cannot say of a person: a print on the top, and a face of his or her own.

Drawn from a continuous space and painted over the plain look of `shade.py`; people without a
`Detail` are rendered as ever.
"""

from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from animateanywhere.puppets.body import FACE, HAIR
from animateanywhere.puppets.paint import Canvas, canvas, ellipse, fill, line, polygon, rect
from animateanywhere.puppets.spec import RGB, SKINS, Detail, Identity

Rng = np.random.Generator

PRINT = 64  # pixels of a print
PRINT_BOX = (-0.14, 0.14, -0.03, 0.33)  # of the torso: left, right, bottom, top
# columns of the per-frame table; "detailed" is 0 where a person has none
COLUMNS = (
    "detailed", "everywhere", "eye_gap", "eye_width", "eye_height", "brow_height", "brow_tilt",
    "brow_width", "mouth_width", "mouth_height", "mouth_place", "nose", "freckles", "stubble",
    "hairline", "fringe", "square", "iris_r", "iris_g", "iris_b", "lip_r", "lip_g", "lip_b",
)  # fmt: skip
AT = {name: i for i, name in enumerate(COLUMNS)}


def sample_detail(rng: Rng, who: Identity) -> Detail:
    """Draw the details of a person."""
    irises = ((0.30, 0.18, 0.10), (0.16, 0.10, 0.07), (0.30, 0.45, 0.62), (0.30, 0.42, 0.28))
    red = rng.uniform(0.1, 0.9) if who.gender == "woman" else rng.uniform(0, 0.3)
    skin = np.array(SKINS[who.skin])
    lip = skin * (0.85, 0.55, 0.55) * (1 - red) + red * np.array([0.72, 0.12, 0.2])

    def near(value: float, spread: float) -> float:
        return float(value * np.exp(rng.normal(0, spread)))

    return Detail(
        print=int(rng.integers(1, 2**31)) if rng.random() < 0.8 else 0,
        eye_gap=near(0.0265, 0.07), eye_width=near(0.0135, 0.12), eye_height=near(0.0080, 0.18),
        brow_height=float(rng.normal(0.0225, 0.0025)), brow_tilt=float(rng.normal(0.12, 0.15)),
        brow_width=near(0.0034, 0.3), mouth_width=near(0.021, 0.15),
        mouth_height=near(0.0075 if who.gender == "woman" else 0.0055, 0.25),
        mouth_place=float(rng.normal(-0.044, 0.002)), nose=float(rng.normal(0.0, 0.004)),
        freckles=float(rng.uniform(0.2, 1)) if rng.random() < 0.2 and who.skin < 3 else 0.0,
        stubble=float(rng.uniform(0, 0.5)) if who.gender == "man" and rng.random() < 0.5 else 0.0,
        hairline=float(rng.normal(0.045, 0.006)), fringe=float(rng.normal(0, 0.35)),
        square=float(rng.uniform(2, 6)),
        iris_rgb=_varied(rng, irises[rng.integers(len(irises))]),
        lip_rgb=_varied(rng, lip),
    )  # fmt: skip


def _varied(rng: Rng, rgb: np.ndarray | RGB) -> RGB:
    r, g, b = np.clip(np.asarray(rgb) * (1 + rng.normal(0, 0.08, 3)), 0.02, 1)
    return float(r), float(g), float(b)


def detail_row(who: Identity) -> list[float]:
    """The person's row of the table, as COLUMNS."""
    d = who.detail
    if d is None:
        return [0.0] * len(COLUMNS)
    return [
        1.0, float(d.print % 2), d.eye_gap, d.eye_width, d.eye_height, d.brow_height, d.brow_tilt,
        d.brow_width, d.mouth_width, d.mouth_height, d.mouth_place, d.nose, d.freckles, d.stubble,
        d.hairline, d.fringe, d.square, *d.iris_rgb, *d.lip_rgb,
    ]  # fmt: skip


def paint_print(who: Identity, device: str) -> Tensor:
    """The print of a person's top, (4, PRINT, PRINT): color and where it covers the cloth; an odd
    seed covers all of the garment, an even one the chest."""
    c = canvas(PRINT, 0, device)
    if who.detail is None or not who.detail.print:
        return torch.zeros(4, PRINT, PRINT, device=device)
    rng = np.random.default_rng(who.detail.print)
    colors: list[RGB] = [who.accent_rgb, *[_any_color(rng) for _ in range(rng.integers(1, 4))]]
    everywhere = bool(who.detail.print % 2)
    c.image[:] = -1.0  # nothing there
    (_all_over if everywhere else _emblem)(c, rng, who.top_rgb, colors)
    cover = (c.image[:1] > -0.5).float()
    return torch.cat([c.image.clamp(0, 1), cover])


def _any_color(rng: Rng) -> RGB:
    r, g, b = np.clip(rng.beta(0.8, 0.8) + rng.normal(0, 0.35, 3), 0.03, 1)
    return float(r), float(g), float(b)


def _one(rng: Rng, colors: list[RGB]) -> RGB:
    return colors[rng.integers(len(colors))]


def _all_over(c: Canvas, rng: Rng, cloth: RGB, colors: list[RGB]) -> None:
    """Color blocks, tartan, spots, camouflage or slanting bands."""
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
            ellipse(c, x, y, r, r * rng.uniform(0.5, 1), _one(rng, colors))
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
    """A random smooth field, positive in half of the picture."""
    return 0.03 * torch.stack([torch.sin(a * x + b * y + p) for a, b, p in waves]).sum(0)


def _emblem(c: Canvas, rng: Rng, cloth: RGB, colors: list[RGB]) -> None:
    """A picture or a word on the chest."""
    cx, cy = 0.5 + rng.normal(0, 0.04), rng.uniform(0.3, 0.5)
    if rng.random() < 0.4:  # a word of signs
        h, color = rng.uniform(0.08, 0.16), colors[0]
        signs = int(rng.integers(3, 7))
        for s in range(signs):
            left = cx + (s - signs / 2) * 0.55 * h * 1.5
            nodes = rng.integers(0, 3, (4, 2)) * [0.25 * h, 0.5 * h]
            for (ax, ay), (bx, by) in pairwise(nodes):
                line(c, left + ax, cy + ay, left + bx, cy + by, 0.1 * h, color)
        return
    r = rng.uniform(0.12, 0.24)
    for k in range(int(rng.integers(2, 7))):
        color, size = _one(rng, colors), r * (1 if k == 0 else rng.uniform(0.2, 0.6))
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


def printed(
    prints: Tensor, frame: Tensor, u: Tensor, v: Tensor, front: Tensor, everywhere: Tensor
) -> tuple[Tensor, Tensor]:
    """Color (hits, 3) of the prints (F, 4, PRINT, PRINT) at torso points, and where they show."""
    left, right, bottom, top = PRINT_BOX
    x = ((u - left) / (right - left) * PRINT).long().clamp(0, PRINT - 1)
    y = ((top - v) / (top - bottom) * PRINT).long().clamp(0, PRINT - 1)
    found = prints[frame, :, y, x]
    return found[:, :3], (found[:, 3] > 0.5) & (front | (everywhere > 0))


def detailed_face(
    p: Tensor, skin: Tensor, hair: Tensor, d: Tensor, beard: Tensor, glasses: Tensor, bald: Tensor
) -> tuple[Tensor, Tensor]:
    """Paint a face on head-local points (N, 3) by the table's rows `d`: color and part.

    skin, hair (N, 3); beard, glasses, bald (N,) bool.
    """

    def col(name: str) -> Tensor:
        return d[:, AT[name]]

    x, y, z = p.unbind(1)
    ax = x.abs()
    front = (z > 0.02).float()
    rgb = skin

    def mix(rgb: Tensor, color: Tensor, how: Tensor) -> Tensor:
        return rgb + (color - rgb) * (how * front)[:, None]

    def inside(distance: Tensor, soft: float = 0.12) -> Tensor:
        """1 where `distance` is below 1, with a soft edge."""
        return ((1 - distance) / soft + 0.5).clamp(0, 1)

    def spot(x0: Tensor | float, y0: Tensor | float, rx: float, ry: float) -> Tensor:
        return torch.exp(-(((ax - x0) / rx) ** 2) - ((y - y0) / ry) ** 2)

    red, dark = skin * skin.new_tensor([1.0, 0.84, 0.82]), skin * 0.72
    nose = -0.026 + col("nose")
    rgb = mix(rgb, red, spot(0.035, -0.022, 0.014, 0.011))
    rgb = mix(rgb, dark, 0.5 * spot(col("eye_gap"), 0.011, 0.016, 0.009))
    rgb = mix(rgb, dark, 0.6 * spot(0.012, nose / 2, 0.004, 0.012))
    rgb = mix(rgb, dark * 0.5, 0.9 * spot(0.0065, nose, 0.0035, 0.0024))
    cell = torch.sin(torch.round(x * 320) * 12.99 + torch.round(y * 320) * 78.2) * 43758.5
    dots = ((cell - cell.floor()) < 0.22).float() * spot(0.022, -0.012, 0.022, 0.014)
    rgb = mix(rgb, skin * skin.new_tensor([0.78, 0.62, 0.5]), dots * col("freckles"))
    jaw = (((y < -0.03) | ((y < -0.012) & (ax > 0.046))) & (z > -0.02)).float()
    rgb = mix(rgb, hair * 0.5 + skin * 0.2, jaw * col("stubble"))
    grown = (
        (y < -0.050)
        | ((y < -0.02) & (ax > 0.044))
        | ((y < nose - 0.003) & (y > -0.037) & (ax < 0.026))
    )
    grown = grown & beard & (z > -0.02)
    rgb = torch.where(grown[:, None], hair, rgb)
    lip = d[:, AT["lip_r"] : AT["lip_r"] + 3]
    my = (y - col("mouth_place") - 9 * x * x) / col("mouth_height")
    lips = inside((x / col("mouth_width")) ** 2 + my**2)
    rgb = mix(rgb, lip * (1 - 0.14 * (my[:, None] > 0)), lips)
    rgb = mix(rgb, lip * 0.35, lips * inside(my.abs() / 0.16, 0.5))
    ex, ey = ax - col("eye_gap"), y - 0.003
    lid = ey - 0.4 * col("eye_height") * (1 - (ex / col("eye_width")) ** 2)
    eye = inside((ex / col("eye_width")) ** 2 + (ey / col("eye_height")) ** 2)
    rgb = mix(rgb, rgb.new_tensor([0.95, 0.94, 0.93]).expand_as(rgb), eye)
    iris = d[:, AT["iris_r"] : AT["iris_r"] + 3]
    radius = (ex**2 + ey**2).sqrt()
    rgb = mix(rgb, iris, eye * inside(radius / 0.0072))
    rgb = mix(rgb, iris * 0.15, eye * inside(radius / 0.0034))
    glint = ((x - x.sign() * col("eye_gap") + 0.0025) ** 2 + (ey - 0.003) ** 2).sqrt()
    rgb = mix(rgb, torch.ones_like(rgb), eye * inside(glint / 0.002))
    lash = inside(((ex / col("eye_width")) ** 2 + (ey / col("eye_height")) ** 2 - 1).abs() / 0.32)
    rgb = mix(rgb, hair * 0.3, lash * (lid > 0) * 0.9)
    tilted = y - col("brow_height") - 0.003 + col("brow_tilt") * ex + 14 * ex**2
    brow = inside((tilted / col("brow_width")).abs(), 0.4) * (ex.abs() < 0.0165)
    rgb = mix(rgb, hair * 0.65, brow)
    n = col("square")
    rim = ((ex.abs() ** n + (ey.abs() * 1.15) ** n) ** (1 / n) - 0.0205).abs() < 0.0024
    rim = rim | ((ax < 0.007) & ((y - 0.006).abs() < 0.002))
    rgb = mix(rgb, torch.full_like(rgb, 0.06), (rim & glasses).float())
    edge = col("hairline") - 0.25 * (ax - 0.03).clamp(min=0) + col("fringe") * x
    line_ = ~bald & ((y > edge + 0.0012 * torch.sin(x * 900)) | (z < -0.02))
    rgb = torch.where(
        line_[:, None], hair * (1 + 0.12 * torch.sin(x * 700 + y * 150))[:, None], rgb
    )
    hairy = grown | line_
    return rgb, torch.where(hairy, HAIR, FACE)
