"""Details of a person that captions describe coarsely or not at all: prints, two-colored clothes,
scarves, tattoos, hair, and an individual face.

They are drawn from a continuous space. Prints and faces are painted over what `shade` paints for
everybody; the rest is cones of `outfit` and `head`. People without a `Detail` have none of it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from animateanywhere.puppets.prints import any_color, paint_print
from animateanywhere.puppets.spec import RGB, SKINS, Detail, Identity

Rng = np.random.Generator

_NUMBERS = (
    "detailed", "everywhere", "eye_gap", "eye_width", "eye_height", "brow_height", "brow_tilt",
    "brow_width", "mouth_width", "mouth_height", "mouth_place", "nose", "freckles", "stubble",
    "hairline", "fringe", "square", "lens",
)  # fmt: skip
# Columns of the table of details: a number has one, a color three. "detailed" is 0 for a person
# without details, "everywhere" is 1 if the print covers the whole garment.
DETAIL_COLUMN: dict[str, int | slice] = {
    **{name: i for i, name in enumerate(_NUMBERS)},
    "iris": slice(len(_NUMBERS), len(_NUMBERS) + 3),
    "lip": slice(len(_NUMBERS) + 3, len(_NUMBERS) + 6),
    "rim": slice(len(_NUMBERS) + 6, len(_NUMBERS) + 9),
}


class Details(NamedTuple):
    """The details of the people in F frames: a table (F, D) with columns as in DETAIL_COLUMN, and
    prints (F, 4, PRINT, PRINT) as `paint_print` returns them."""

    table: Tensor
    prints: Tensor


def sample_detail(rng: Rng, who: Identity) -> Detail:
    """Draw the details of a person at random."""
    irises = ((0.30, 0.18, 0.10), (0.16, 0.10, 0.07), (0.30, 0.45, 0.62), (0.30, 0.42, 0.28))
    red = rng.uniform(0.1, 0.9) if who.gender == "woman" else rng.uniform(0, 0.3)
    skin = np.array(SKINS[who.skin])
    lip = skin * (0.85, 0.55, 0.55) * (1 - red) + red * np.array([0.72, 0.12, 0.2])

    def near(value: float, spread: float) -> float:
        return float(value * np.exp(rng.normal(0, spread)))

    def maybe(share: float) -> RGB | None:
        color = any_color(rng)
        return color if rng.random() < share else None

    return Detail(
        print_seed=int(rng.integers(1, 2**31)) if rng.random() < 0.6 else 0,
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
        face_width=near(1.0, 0.05), jaw=near(1.0, 0.12),
        hair_side=float(rng.uniform(-1, 1)) if rng.random() < 0.5 else 0.0,
        streak_rgb=maybe(0.15),
        glasses_rgb=any_color(rng) if rng.random() < 0.4 else (0.06, 0.06, 0.06),
        lens=float(rng.uniform(0.5, 0.95)) if rng.random() < 0.3 else 0.0,
        sleeve_rgb=maybe(0.3), leg_rgb=maybe(0.15), scarf_rgb=maybe(0.15),
        scarf_end_rgb=any_color(rng),
        tattoo_seed=int(rng.integers(1, 2**31)) if rng.random() < 0.3 else 0,
    )  # fmt: skip


def _varied(rng: Rng, rgb: np.ndarray | RGB) -> RGB:
    r, g, b = np.clip(np.asarray(rgb) * (1 + rng.normal(0, 0.08, 3)), 0.02, 1)
    return float(r), float(g), float(b)


def details_of(people: list[Identity], frames: list[int], device: str) -> Details | None:
    """The details of people, each repeated for their number of frames; None if no one has any."""
    if not any(who.detail for who in people):
        return None
    counts = torch.tensor(frames, device=device)
    rows = torch.tensor([_row(who.detail) for who in people], dtype=torch.float32, device=device)
    prints = torch.stack([paint_print(who, device) for who in people])
    return Details(rows.repeat_interleave(counts, 0), prints.repeat_interleave(counts, 0))


def _row(d: Detail | None) -> list[float]:
    """A person's row of the table, with columns as in DETAIL_COLUMN."""
    if d is None:
        return [0.0] * (len(_NUMBERS) + 9)
    return [
        1.0, float(d.print_seed % 2), d.eye_gap, d.eye_width, d.eye_height, d.brow_height,
        d.brow_tilt, d.brow_width, d.mouth_width, d.mouth_height, d.mouth_place, d.nose, d.freckles,
        d.stubble, d.hairline, d.fringe, d.square, d.lens, *d.iris_rgb, *d.lip_rgb,
        *d.glasses_rgb,
    ]  # fmt: skip
