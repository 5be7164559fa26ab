"""The tables of a benchmark, as Markdown and as one HTML page that needs no network."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from animateanywhere.core.files import write_aside
from animateanywhere.core.paths import ASSETS

TEMPLATE = ASSETS / "benchmark.html.j2"
WIDTH = 1600  # pixels of a contact sheet on the page, at most
LEAST = 3  # percent of a bar, for a value without an interval
TALLEST = 60_000  # pixels: a JPEG has at most 65,535
NAN = float("nan")


class Cell(NamedTuple):
    """A cell's text, and the interval that a bar shows, on the scale of the column."""

    text: str
    low: float = NAN
    high: float = NAN


class Table(NamedTuple):
    """A table; the first column names its rows. title: "" for one that needs none."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]


class Section(NamedTuple):
    """A heading of the page, what is said below it, and its tables."""

    title: str
    text: str
    tables: Sequence[Table]


def markdown(table: Table) -> str:
    """A table in Markdown, after its title and an empty line."""
    lines = [f"{table.title}:", ""] if table.title else []
    lines += ["| " + " | ".join(table.head) + " |", "|---" * len(table.head) + "|"]
    lines += ["| " + " | ".join(cell.text for cell in row) + " |" for row in table.rows]
    return "\n".join(lines) + "\n"


def write_page(path: Path, title: str, sections: Sequence[Section], sheet: Path) -> None:
    """Write the page. sheet: the contact sheet, which it contains."""
    from jinja2 import Environment

    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        TEMPLATE.read_text(encoding="utf-8")
    )
    shown = [(one, [list(_with_bars(table)) for table in one.tables]) for one in sections]
    text = page.render(title=title, sections=shown, sheet=_picture(sheet))
    with write_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def _with_bars(table: Table) -> Iterator[list[tuple[str, tuple[float, float] | None]]]:
    """The rows of a table, each cell with left and width of its bar in percent of the column's
    range; None without an interval."""
    bounds = np.array([[(cell.low, cell.high) for cell in row] for row in table.rows], float)
    known = np.isfinite(bounds).all(-1)  # (rows, columns)
    for row, cells in enumerate(table.rows):
        found: list[tuple[str, tuple[float, float] | None]] = []
        for column, cell in enumerate(cells):
            bar = None
            if known[row, column]:
                some = bounds[known[:, column], column]
                least, span = some.min(), max(np.ptp(some), 1e-12)
                width = max(100 * (cell.high - cell.low) / span, LEAST)
                bar = float(min(100 * (cell.low - least) / span, 100 - width)), float(width)
            found.append((cell.text, bar))
        yield found


def _picture(path: Path) -> str:
    """A picture as a data URL of a JPEG."""
    with Image.open(path) as file:
        picture = file.convert("RGB")
    picture.thumbnail((WIDTH, TALLEST))
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
