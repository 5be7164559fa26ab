"""Tables of reports, read from the Markdown files that `aa evaluate` wrote, for pages to show."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

NUMBER = r"-?\d+(?:\.\d+)?"
CELL = re.compile(rf"({NUMBER})(?: \(({NUMBER})–({NUMBER})\))?")  # of `report.format_cell`


@dataclass(frozen=True)
class Table:
    """A table as written. Its first column names the rows."""

    title: str
    head: list[str]
    rows: list[list[str]] = field(default_factory=list)

    def intervals(self) -> list[list[tuple[float, float, float] | None]]:
        """Mean, low and high of each cell; all the same without an interval, None without a
        number."""
        return [[interval(cell) for cell in row] for row in self.rows]


def interval(cell: str) -> tuple[float, float, float] | None:
    """The numbers of a cell such as "7.91 (7.02–8.80)" or "1.00"; None for other text."""
    found = CELL.fullmatch(cell)
    if found is None:
        return None
    mean, low, high = found.groups()
    return float(mean), float(low or mean), float(high or mean)


def read_tables(text: str) -> tuple[list[Table], list[str]]:
    """The tables of a Markdown text, and the items of its lists. A line that ends in a colon is the
    title of the table after it."""
    tables: list[Table] = []
    notes: list[str] = []
    title, current = "", None
    for line in text.splitlines():
        if not line.startswith("|"):
            current = None
            if line.startswith("- "):
                notes.append(line[2:])
            elif line.endswith(":"):
                title = line[:-1]
        elif current is None:
            current = Table(title, _cells(line))
            tables.append(current)
            title = ""
        elif not re.fullmatch(r"[|:\- ]+", line):
            row = _cells(line)
            wide = len(current.head)
            current.rows.append((row + [""] * wide)[:wide])
    return tables, notes


def _cells(line: str) -> list[str]:
    inside = line.strip().removeprefix("|").removesuffix("|")
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", inside)]
