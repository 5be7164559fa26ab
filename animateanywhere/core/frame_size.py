"""Sizes and aspect ratios of frames."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from math import inf, log
from typing import Literal, NamedTuple

from animateanywhere.core.errors import UsageError

Aspect = float | Literal["source"]  # width over height, or that of the clip

WIDEST = 3.0  # to 1, or 1 to it: beyond, no base makes a picture of one scene
LARGEST = 4096  # pixels of a side: a clip of 64 frames has 3 GB
NEAR = 0.02  # relative difference of aspects that nobody sees: an almost square clip is square
# Width and height of the usual aspect ratios
USUAL = ((1, 1), (9, 16), (16, 9), (4, 5), (5, 4), (3, 4), (4, 3), (2, 3), (3, 2), (1, 2), (2, 1),
         (21, 9), (9, 21))  # fmt: skip
AREA_WEIGHT = 0.25  # in `bucket`: an exact aspect counts more than an exact number of pixels


class Size(NamedTuple):
    """Width and height of a frame, in pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"

    @property
    def aspect(self) -> float:
        """Width over height."""
        return self.width / self.height

    @property
    def side(self) -> float:
        """Side of the square of the same area."""
        return float((self.width * self.height) ** 0.5)

    def scaled(self, factor: float) -> Size:
        """This size times a factor, rounded."""
        return Size(max(round(self.width * factor), 1), max(round(self.height * factor), 1))


def square(side: int) -> Size:
    """The size of a square frame."""
    return Size(side, side)


def parse_size(text: str | None) -> Size | None:
    """The size that "WxH" stands for; None of None. Raises UsageError for other text."""
    if text is None:
        return None
    found = re.fullmatch(r"\s*(\d{1,5})\s*[xX×]\s*(\d{1,5})\s*", text)
    if not found or not all(map(int, found.groups())):
        raise UsageError(f"--size {text}: give width and height in pixels, such as 512x768")
    size = Size(*map(int, found.groups()))
    if max(size) > LARGEST:
        raise UsageError(f"--size {text}: give sides of at most {LARGEST} pixels")
    if not 1 / WIDEST <= size.aspect <= WIDEST:
        raise UsageError(f"--size {text}: give a ratio from 1:{WIDEST:g} to {WIDEST:g}:1")
    return size


def parse_aspect(text: str | None) -> Aspect | None:
    """The aspect ratio that "W:H" stands for, or "source"; None of None. Raises UsageError for
    other text."""
    if text is None:
        return None
    if text.strip().lower() == "source":
        return "source"
    found = re.fullmatch(r"\s*(\d{1,4}(?:\.\d+)?)\s*:\s*(\d{1,4}(?:\.\d+)?)\s*", text)
    width, height = map(float, found.groups()) if found else (0.0, 0.0)
    if not width or not height:
        raise UsageError(f"--aspect {text}: give width and height, such as 9:16, or source")
    if not 1 / WIDEST <= width / height <= WIDEST:
        raise UsageError(f"--aspect {text}: give a ratio from 1:{WIDEST:g} to {WIDEST:g}:1")
    return width / height


def trained_aspects(texts: Iterable[str]) -> list[float]:
    """The aspect ratios of a recipe or base ("9:16"); the usual ones if it names none. Raises
    UsageError for other text."""
    found = [one for one in map(parse_aspect, texts) if isinstance(one, float)]
    return found or [width / height for width, height in USUAL]


def bucket(aspect: float, side: int, stride: int) -> Size:
    """The size whose sides are multiples of `stride` with about this aspect ratio and the pixels of
    a square of `side`. A ratio beyond `WIDEST` is limited to it."""
    aspect = min(max(aspect, 1 / WIDEST), WIDEST)
    best, least = square(side), inf
    for width in range(stride, 2 * side + stride, stride):
        for rows in (int(width / aspect / stride), int(width / aspect / stride) + 1):
            size = Size(width, max(rows, 1) * stride)
            off = max(abs(log(size.aspect / aspect)) - NEAR, 0)
            error = off + AREA_WEIGHT * abs(log(size.side**2 / side**2))
            if error < least - 1e-9:
                best, least = size, error
    return best


def nearest_size(source: Size, sizes: Sequence[Size]) -> int:
    """The index of the size whose aspect ratio is nearest to that of `source`, as a factor: a frame
    is cropped as much on the way to half its width as on the way to half its height."""
    return min(range(len(sizes)), key=lambda n: abs(log(sizes[n].aspect / source.aspect)))


def ratio(size: Size) -> str:
    """The aspect ratio in words: the nearest usual one, or "0.85:1"."""
    near = min(USUAL, key=lambda pair: abs(log(size.aspect * pair[1] / pair[0])))
    if abs(log(size.aspect * near[1] / near[0])) < 0.04:
        return f"{near[0]}:{near[1]}"
    return f"{size.aspect:.2f}:1"
