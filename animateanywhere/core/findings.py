"""Findings as a user meets them: a verdict, warnings, a file beside the subject."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, NamedTuple

from rich.markup import escape

from animateanywhere.core.errors import UsageError
from animateanywhere.core.messages import warn

Level = Literal["note", "warning", "unusable"]


class Finding(NamedTuple):
    """One thing about a clip: how bad, a short name, and a line that says what, where and what to
    do."""

    level: Level
    what: str
    text: str


FILE = "findings.json"
Verdict = Literal["ready", "usable with warnings", "unusable"]


def verdict(findings: list[Finding]) -> Verdict:
    """The worst finding decides."""
    levels = {finding.level for finding in findings}
    if "unusable" in levels:
        return "unusable"
    return "usable with warnings" if "warning" in levels else "ready"


def tell_findings(name: str, findings: list[Finding]) -> None:
    """Print the warnings; name: of what they are about. What is unusable ends in an error."""
    for finding in findings:
        if finding.level == "warning":
            warn(escape(f"{name}: {finding.text}"))


def refuse(name: str, findings: list[Finding]) -> None:
    """Raise UsageError with the first finding that makes something unusable."""
    for finding in findings:
        if finding.level == "unusable":
            raise UsageError(f"{name}: unusable: {finding.text}")


def write_findings(folder: Path, findings: list[Finding]) -> None:
    """Write `findings.json`, one finding a line."""
    rows = [json.dumps(finding._asdict(), ensure_ascii=False) for finding in findings]
    (folder / FILE).write_text("[\n" + ",\n".join(rows) + "\n]\n", encoding="utf-8")


def read_findings(folder: Path) -> list[Finding]:
    """Read `findings.json`; none where there is no such file, as in folders made by hand."""
    try:
        rows = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return [Finding(row["level"], row["what"], row["text"]) for row in rows]
    except (OSError, ValueError, TypeError, KeyError):
        return []
