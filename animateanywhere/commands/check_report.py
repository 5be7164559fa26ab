"""What a check found, printed and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from animateanywhere.core.errors import UsageError
from animateanywhere.core.estimate import Estimate, in_words
from animateanywhere.core.findings import COLORS, VERDICTS, Finding, Verdict, verdict
from animateanywhere.core.paths import RUNS

FOLDER = RUNS / "check"


class Report(NamedTuple):
    """What a check found: findings by file name, estimates by command. files: what it wrote to look
    at and to correct, by what that is."""

    verdict: Verdict
    findings: dict[str, list[Finding]]
    estimates: dict[str, Estimate]
    files: Mapping[str, Path] = MappingProxyType({})


def report_of(
    found: dict[str, list[Finding]], estimates: dict[str, Estimate], files: Mapping[str, Path]
) -> Report:
    """A report with the verdict on all that was found."""
    worst = verdict([one for some in found.values() for one in some])
    return Report(worst, found, estimates, files)


def show(report: Report) -> None:
    """Print a report as tables to stdout."""
    console = Console(highlight=False, emoji=False)
    for name, findings in report.findings.items():
        table = Table(
            title=escape(name),
            title_justify="left",
            title_style="bold",
            box=None,
            show_header=False,
        )
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for level, what, text in findings:
            table.add_row(f"[{COLORS[level]}]{level}[/]", what, escape(text))
        if not findings:
            table.add_row("", "", "no findings")
        console.print(table)
    for what, path in report.files.items():
        console.print(escape(f"{what}: {path}"))
    for command, estimate in report.estimates.items():
        longest = sorted(estimate.parts.items(), key=lambda part: -part[1])[:3]
        parts = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in longest if seconds >= 0.5)
        console.print(f"aa {command}: about {in_words(estimate)} on this machine ({parts})")
    console.print(f"[bold {VERDICTS[report.verdict]}]{report.verdict}[/]")


def to_json(report: Report) -> str:
    """A report as one JSON object."""
    rows = [
        {"file": name, **finding._asdict()}
        for name, findings in report.findings.items()
        for finding in findings
    ]
    estimates = {command: _row(estimate) for command, estimate in report.estimates.items()}
    files = {what: str(path) for what, path in report.files.items()}
    return json.dumps({"verdict": report.verdict, "findings": rows, "prediction": estimates,
                       "files": files})  # fmt: skip


def _row(estimate: Estimate) -> dict[str, Any]:
    seconds, memory = estimate.least or (estimate.seconds, estimate.memory)
    return {
        "seconds": round(estimate.seconds, 1),
        "seconds_at_least": round(seconds, 1),
        "memory_gb": round(estimate.memory, 2),
        "memory_gb_at_least": round(memory, 2),
        "parts": {name: round(part, 2) for name, part in estimate.parts.items()},
    }


def about(path: Path, error: UsageError) -> Finding:
    """An error about a file as a finding; any other error is raised."""
    begin, _, text = str(error).partition(f"{path}: ")
    if begin or not text:
        raise error
    return Finding("unusable", "file", text)
