"""`aa corpus check` and `aa corpus show`: whether a corpus is right, and what is in it."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from animateanywhere.commands.corpus import read_rejections
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import has_sign, require_free
from animateanywhere.core.findings import COLORS, VERDICTS
from animateanywhere.core.messages import say, warn
from animateanywhere.datasets.corpus_check import CorpusReport, check_corpus
from animateanywhere.datasets.corpus_page import SHEET, SIGN, write_page
from animateanywhere.datasets.corpus_survey import survey

PAGE = "report.html"
NAMED = 5  # problems that messages name; the page has all
SHOWN = ("sizes", "lengths", "licenses")  # statistics that are printed


def check(folder: Path) -> CorpusReport:
    """Check all of a corpus. Raises UsageError if it is none."""
    return check_corpus(folder)


def print_report(report: CorpusReport) -> None:
    """Print a report to stdout."""
    console = Console(highlight=False, emoji=False)
    numbers = report.statistics
    console.print(
        f"{numbers['readable']} of {numbers['samples']} samples are right: {numbers['clips']} "
        f"clips ({numbers['seconds']:.0f} s), {numbers['pictures']} pictures; "
        f"{numbers['captions']} captions of {numbers['different words']} different words; "
        f"{numbers['samples with references']} samples with reference pictures",
        soft_wrap=True,
    )
    for name in SHOWN:
        rows = [f"{escape(str(value))}: {count}" for value, count in numbers[name].items()]
        console.print(f"{name}: {', '.join(rows) or 'none'}", soft_wrap=True)
    table = Table(box=None, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for level, what, text in report.findings:
        table.add_row(f"[{COLORS[level]}]{level}[/]", what, escape(text))
    if report.findings:
        console.print(table)
    console.print(f"[bold {VERDICTS[report.verdict]}]{report.verdict}[/]")


def to_json(report: CorpusReport) -> str:
    """A report as one JSON object."""
    return json.dumps({**report._asdict(), "findings": [one._asdict() for one in report.findings]})


def show(folder: Path, out: Path | None = None) -> Path:
    """Write the page and the contact sheet of a corpus, by default into it; returns the page.

    What is missing or damaged is named. Raises UsageError if nothing can be shown, or `out` has
    somebody else's files of these names.
    """
    corpus, problems, _ = survey(folder)
    if not len(corpus):
        raise UsageError(problems[0])
    out = out or folder
    page = out / PAGE
    own = has_sign(page, SIGN)
    for path in (page, out / SHEET):
        require_free(path, None, own)
    out.mkdir(parents=True, exist_ok=True)
    problems = write_page(page, corpus, read_rejections(folder), problems)
    for text in problems[:NAMED]:
        warn(escape(text))
    if len(problems) > NAMED:
        warn(escape(f"{len(problems) - NAMED} more problems; `aa corpus check {folder}` names all"))
    say(escape(f"wrote {page} and {out / SHEET}"))
    return page
