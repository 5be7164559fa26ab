"""The curves of a run's page: values over steps, as points of SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

MOST = 300  # points of a line; each is then a mean over several steps
WINDOW = 1 / 30  # share of the points over which the bold line is a mean
WIDE = 20.0  # ratio of the largest to the smallest value from which on the scale is logarithmic


class Point(NamedTuple):
    """A place to hover over."""

    x: float  # of its left edge, 0 to 1
    width: float
    text: str  # such as "step 200: 0.31"


class Curve(NamedTuple):
    """Values over steps. `raw` and `smooth` are SVG points in 0..1 x 0..1, where y 1 is `low`."""

    name: str
    raw: str
    smooth: str
    low: str
    high: str
    first: str  # step
    last: str
    value: str  # the last one of the smooth line
    logarithmic: bool
    points: list[Point]
    marked: float | None = None  # x of a step to point out


def make_curve(
    name: str, pairs: Sequence[tuple[float, float]], steady: bool = False,
    marked: float | None = None,
) -> Curve:  # fmt: skip
    """A curve of at least one pair of step and value, in the order of the steps.

    steady: the values have no noise, and are not smoothed. marked: a step to point out.
    """
    x, y = _thinned(*np.array(pairs, float).T)
    mean = y if steady else smoothed(y)
    low, high = float(y.min()), float(y.max())
    logarithmic = low > 0 and high / low > WIDE and not steady
    left, span = x[0], max(x[-1] - x[0], 1e-9)
    scaled = (np.log(y) if logarithmic else y, np.log(mean) if logarithmic else mean)
    bottom = math.log(low) if logarithmic else low
    height = max((math.log(high) if logarithmic else high) - bottom, 1e-12)
    places = (x - left) / span if len(x) > 1 else np.zeros(1)

    def line(heights: np.ndarray) -> str:
        tall = 1 - (heights - bottom) / height if high > low else np.full(len(heights), 0.5)
        pairs = [f"{a:.4f},{b:.4f}" for a, b in zip(places, tall, strict=True)]
        return " ".join(pairs if len(pairs) > 1 else [*pairs, pairs[0].replace("0.0000", "1", 1)])

    edges = [0.0, *((places[1:] + places[:-1]) / 2), 1.0]
    points = [
        Point(edges[i], edges[i + 1] - edges[i], f"step {x[i]:,.0f}: {number(y[i])}")
        for i in range(len(x))
    ]
    where = None if marked is None else float(np.clip((marked - left) / span, 0, 1))
    return Curve(
        name, line(scaled[0]), line(scaled[1]), number(low), number(high), f"{pairs[0][0]:,.0f}",
        f"{pairs[-1][0]:,.0f}", number(float(mean[-1])), logarithmic, points, where,
    )  # fmt: skip


def smoothed(values: np.ndarray) -> np.ndarray:
    """The mean of each value (N,) and those around it."""
    half = int(len(values) * WINDOW / 2)
    total = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    start, stop = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    means: np.ndarray = (total[stop] - total[start]) / (stop - start)
    return means


def number(value: float) -> str:
    """A number with three digits that count."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(x) <= MOST:
        return x, y
    groups = np.array_split(np.arange(len(x)), MOST)
    return (np.array([x[group].mean() for group in groups]),
            np.array([y[group].mean() for group in groups]))  # fmt: skip
