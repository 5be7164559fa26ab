"""Write docs/cli.md, the reference of the command line, from the commands themselves.

python docs/cli_reference.py           # after a change of the command line
python docs/cli_reference.py --check   # exit code 1 where docs/cli.md is not up to date
"""

from __future__ import annotations

import argparse
import html
import inspect
import re
import sys
from pathlib import Path

import typer
from typer.core import TyperGroup

from animateanywhere.cli.help import Row, command_panels, first_paragraph, rows
from animateanywhere.cli.main import app

PAGE = Path(__file__).with_name("cli.md")
INTRODUCTION = """\
<!-- Written by docs/cli_reference.py; do not edit. -->
# Command line

`aa COMMAND --help` shows the same in a terminal. Results go to stdout, messages and progress to
stderr.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | failed; something is unusable (`aa check`, `aa corpus check`) or broken here (`aa doctor`) |
| 2 | wrong use: a wrong option, an unusable file |
| 130 | stopped by Ctrl-C; the same command goes on where it stopped |

For another program that runs `aa`, `AA_PROGRESS=json` makes messages, progress, errors and the end
lines of JSON on stderr: each has a `kind` ("message", "progress", "end" of a stage, "picture",
"error", "exit") and what belongs to it, such as `stage`, `step`, `total`, `eta` in seconds, and
`loss`. `AA_RUNS` names another folder than `runs`.

`AA_DEBUG=1` adds the traceback to an error. Where `OMP_WAIT_POLICY` is not set, `aa` sets it to
`PASSIVE`: other work on the machine would slow the threads on the CPU down up to twentyfold.
"""


def reference() -> str:
    """The page, as Markdown."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    context = typer.Context(group, info_name="aa")
    parts = [INTRODUCTION]
    panels = command_panels(group, context)
    lines = ["| command | what it does |", "|---|---|"]
    for commands in panels.values():
        for name, command in commands.items():
            lines.append(f"| [`aa {name}`](#aa-{name}) | {_cell(first_paragraph(command))} |")
    parts += ["\n".join(lines) + "\n"]
    for panel, commands in panels.items():
        parts.append(f"## {panel}\n")
        for name, command in commands.items():
            own = typer.Context(command, info_name=name, parent=context)
            pieces = " ".join(command.collect_usage_pieces(own))
            parts.append(f"### aa {name}\n\n```text\naa {name} {pieces}\n```\n")
            parts += _paragraphs(command.help or "")
            parts += _tables(rows(command, own))
    return "\n".join(parts)


def _paragraphs(text: str) -> list[str]:
    parts = []
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        head, example, line = paragraph.partition("Example: ")
        if example and not head:
            parts.append(f"```sh\n{line}\n```\n")
        else:
            parts.append(_prose(paragraph) + "\n")
    return parts


def _tables(found: list[Row]) -> list[str]:
    """A table for each group of arguments and options."""
    parts: list[str] = []
    panel = None
    for row in found:
        if row.panel != panel:
            panel = row.panel
            parts.append(f"| {panel} | meaning | default |\n|---|---|---|\n")
        if not row.names.endswith("--help"):
            names = f"<code>{html.escape(row.names)}</code>"
            default = _prose(row.notes.removeprefix("default: "))
            parts[-1] += f"| {_cell(names)} | {_cell(_prose(row.help))} | {default} |\n"
    return [part for part in parts if part.count("\n") > 2]


def _prose(text: str) -> str:
    """Text with its options set as code."""
    return re.sub(r"(?<![\w`-])--[a-z-]+", r"`\g<0>`", html.escape(text, quote=False))


def _cell(text: str) -> str:
    """Text that does not end the cell of a table, in any dialect."""
    return text.replace("|", "&#124;")


def main() -> int:
    parser = argparse.ArgumentParser(description="Write docs/cli.md from the command line's code.")
    parser.add_argument("--check", action="store_true", help="Only compare; exit code 1 if stale.")
    page = reference()
    if not parser.parse_args().check:
        PAGE.write_text(page, encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page:
        return 0
    print(f"{PAGE.name} is not up to date: run python docs/cli_reference.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
