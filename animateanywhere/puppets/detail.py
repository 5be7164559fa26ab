"""Details of a person that captions do not describe: a print on the top, and an individual face.

They are drawn from a continuous space and painted over what `shade` paints for everybody. People
without a `Detail` are rendered as before.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from animateanywhere.puppets.prints import paint_print
from animateanywhere.puppets.spec import RGB, SKINS, Detail, Identity

Rng = np.random.Generator

_NUMBERS = (
    "detailed", "everywhere", "eye_gap", "eye_width", "eye_height", "brow_height", "brow_tilt",
    "brow_width", "mouth_width", "mouth_height", "mouth_place", "nose", "freckles", "stubble",
    "hairline", "fringe", "square",
)  # fmt: skip
# Columns of the table of details: a number has one, a color three. "detailed" is 0 for a person
# without details, "everywhere" is 1 if the print covers the whole garment.
DETAIL_COLUMN: dict[str, int | slice] = {
    **{name: i for i, name in enumerate(_NUMBERS)},
    "iris": slice(len(_NUMBERS), len(_NUMBERS) + 3),
    "lip": slice(len(_NUMBERS) + 3, len(_NUMBERS) + 6),
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

    return Detail(
        print_seed=int(rng.integers(1, 2**31)) if rng.random() < 0.8 else 0,
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
        return [0.0] * (len(_NUMBERS) + 6)
    return [
        1.0, float(d.print_seed % 2), d.eye_gap, d.eye_width, d.eye_height, d.brow_height,
        d.brow_tilt, d.brow_width, d.mouth_width, d.mouth_height, d.mouth_place, d.nose, d.freckles,
        d.stubble, d.hairline, d.fringe, d.square, *d.iris_rgb, *d.lip_rgb,
    ]  # fmt: skip
