"""Findings on the quality of a clip, motion or run: verdict, messages and file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from rich.markup import escape

from animateanywhere.core.errors import UsageError
from animateanywhere.core.json_file import read_json
from animateanywhere.core.messages import warn

Level = Literal["note", "warning", "unusable"]


class Finding(NamedTuple):
    """One observation, such as motion blur in a clip."""

    level: Level
    what: str  # short name
    text: str  # one line: what was found, where, and what to do


FILE = "findings.json"
Verdict = Literal["ready", "usable with warnings", "unusable"]
# In a terminal
COLORS: dict[Level, str] = {"note": "dim", "warning": "yellow", "unusable": "red"}
VERDICTS: dict[Verdict, str] = {
    "ready": "green", "usable with warnings": "yellow", "unusable": "red",
}  # fmt: skip


def verdict(findings: list[Finding]) -> Verdict:
    """The verdict on something with these findings: the worst level counts."""
    levels = {finding.level for finding in findings}
    if "unusable" in levels:
        return "unusable"
    return "usable with warnings" if "warning" in levels else "ready"


def warn_findings(name: str, findings: list[Finding]) -> None:
    """Print findings of level "warning"; name: what they are about. (`refuse` raises the unusable
    ones.)"""
    for finding in findings:
        if finding.level == "warning":
            warn(escape(f"{name}: {finding.text}"))


def refuse(name: str, findings: list[Finding]) -> None:
    """Raise UsageError with the first finding of level "unusable", if there is one."""
    for finding in findings:
        if finding.level == "unusable":
            raise UsageError(f"{name}: unusable: {finding.text}")


def write_findings(folder: Path, findings: list[Finding]) -> None:
    """Write `findings.json`, one finding per line."""
    rows = [json.dumps(finding._asdict(), ensure_ascii=False) for finding in findings]
    (folder / FILE).write_text("[\n" + ",\n".join(rows) + "\n]\n", encoding="utf-8")


def read_findings(folder: Path) -> list[Finding]:
    """Read `findings.json`; [] if there is no valid file, as in folders created manually."""
    return _read(folder) or []


def findings_are_whole(folder: Path) -> bool:
    """Whether `findings.json` can be read: without it, an unusable clip would seem ready."""
    return _read(folder) is not None


def _read(folder: Path) -> list[Finding] | None:
    try:
        rows = read_json(folder / FILE)
        findings = [Finding(row["level"], row["what"], row["text"]) for row in rows]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return findings if all(one.level in get_args(Level) for one in findings) else None
