"""How earlier estimates on this machine came true: measured seconds over estimated ones.

A profiling run of a few steps misses what only whole runs show (caches, a machine that gets busy),
so each finished run corrects the next estimate of its kind, and their spread is its range.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from animateanywhere.backbones.base import Base
from animateanywhere.core.device import machine
from animateanywhere.core.estimate import Estimate
from animateanywhere.methods.animate_anywhere.cost import cache
from animateanywhere.methods.animate_anywhere.cost.measure import shortened
from animateanywhere.methods.animate_anywhere.settings import Recipe, to_dict

FIRST = (0.5, 1.0)  # without any: estimates of first runs were 0 to 100 % too high
SPREAD = 1.4  # factor by which a second run may differ from a first one
KEPT = 5  # runs
LOADED = ("so far", "preparing")  # parts that are measured, not estimated


def ratios(base: Base, recipe: Recipe | None) -> Sequence[float]:
    """The ratios of the last runs with this base and recipe (None: of generation), or FIRST."""
    found = _read(_file(base, recipe)) or FIRST
    return found if len(found) > 1 else (found[0] / SPREAD, found[0] * SPREAD)


def add(base: Base, recipe: Recipe | None, estimate: Estimate | None, took: float) -> None:
    """Note how many seconds a whole run took, from its first step on, which was not resumed."""
    if estimate is None:
        return
    known = sum(estimate.parts.get(name, 0.0) for name in LOADED)
    rest = sum(estimate.parts.values()) - known
    if rest > 0 and took > known:
        path = _file(base, recipe)
        cache.write(path, [*_read(path), round((took - known) / rest, 4)][-KEPT:])


def _read(path: Path) -> list[float]:
    found = cache.read(path)
    return found if isinstance(found, list) else []


def _file(base: Base, recipe: Recipe | None) -> Path:
    short = recipe and to_dict(shortened(recipe))
    return cache.file_of("history", base.hash, short, machine())
