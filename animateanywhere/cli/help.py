"""How `aa --help` looks: grouped commands and options, whole sentences, nothing cut off.

Plain text instead of Typer's Rich panels: at 80 columns those leave 26 to the sentences, and they
double the time that help takes. The groups are Typer's own `rich_help_panel`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

if TYPE_CHECKING:  # Typer has no public names for these
    from typer._click import Context, HelpFormatter
    from typer._click.core import Command as AnyCommand

# Typer's options that set up tab completion in a shell, once; docs/quickstart.md has them
COMPLETION = {"install_completion", "show_completion"}
SHORT = 24  # characters of notes that stay on one line
NO_BREAK_SPACE, NO_BREAK_HYPHEN = "\u00a0", "\u2011"


class Row(NamedTuple):
    """A parameter as the help and the reference show it."""

    panel: str
    names: str  # such as "--steps N"
    help: str
    notes: str  # default and limits, such as "default: 16; minimum: 1"


def rows(command: AnyCommand, context: Context) -> list[Row]:
    """The parameters of a command that are not hidden, arguments first."""
    shown = [param for param in command.get_params(context)
             if not getattr(param, "hidden", False) and param.name not in COMPLETION]  # fmt: skip
    found = [_row(param, context) for param in shown if isinstance(param, TyperArgument)]
    found += [_row(param, context) for param in shown if isinstance(param, TyperOption)]
    panels = list(dict.fromkeys(row.panel for row in found))
    return sorted(found, key=lambda row: panels.index(row.panel))


def command_panels(group: TyperGroup, context: Context) -> dict[str, dict[str, AnyCommand]]:
    """The commands of a group by panel and name, in the order in which they were added."""
    panels: dict[str, dict[str, AnyCommand]] = {}
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is not None and not command.hidden:
            panel = getattr(command, "rich_help_panel", None) or "Other commands"
            panels.setdefault(panel, {})[name] = command
    return panels


def first_paragraph(command: AnyCommand) -> str:
    """What a command does, in one line."""
    return " ".join((command.help or "").partition("\n\n")[0].split())


class Command(TyperCommand):
    """A command whose usage line shows what must be given, and whose options come in groups."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        given = list(args)
        rest = super().parse_args(ctx, args)
        empty = any(word == "" or word.endswith("=") for word in given)
        current = any(word and Path(word.partition("=")[2] or word) == Path() for word in given)
        for param in self.params:
            assert isinstance(param, TyperArgument | TyperOption)
            # As a path, nothing is the current folder
            if empty and not current and ctx.params.get(param.name or "") == Path():
                raise typer.BadParameter("it is empty", ctx=ctx, param=param)
        return rest

    def collect_usage_pieces(self, ctx: Context) -> list[str]:
        pieces = []
        for param in self.params:
            if isinstance(param, TyperArgument):
                name = _row(param, ctx).names
                pieces.append(name if param.required else f"[{name}]")
            elif isinstance(param, TyperOption) and param.required:
                pieces.append(_row(param, ctx).names)
        return [*pieces, "[OPTIONS]"]

    def get_help(self, ctx: Context) -> str:
        return _breakable(super().get_help(ctx))

    def format_help_text(self, ctx: Context, formatter: HelpFormatter) -> None:
        _write_text(self, formatter)

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        _write_options(rows(self, ctx), formatter)


class Group(TyperGroup):
    """The list of commands, by panel, each with the whole first sentence of its help."""

    def get_help(self, ctx: Context) -> str:
        return _breakable(super().get_help(ctx))

    def format_help_text(self, ctx: Context, formatter: HelpFormatter) -> None:
        _write_text(self, formatter)

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        panels = command_panels(self, ctx)
        width = max((len(name) for names in panels.values() for name in names), default=0)
        for panel, commands in panels.items():
            lines = [(name.ljust(width), first_paragraph(one)) for name, one in commands.items()]
            _write(panel, lines, formatter)
        _write_options(rows(self, ctx), formatter)


def _row(param: TyperArgument | TyperOption, context: Context) -> Row:
    kind = param.metavar or param.display_type(context).strip("<>")
    if isinstance(param, TyperArgument):
        panel, names = "Arguments", param.metavar or param.name.upper()
    else:
        panel = param.rich_help_panel or "Options"
        names = ", ".join(sorted(param.opts, key=len)) + ("" if param.is_flag else f" {kind}")
    notes = filter(None, (_default(param), _limits(param.min, param.max)))
    return Row(panel, names, param.help or "", "; ".join(notes))


def _default(param: TyperArgument | TyperOption) -> str:
    """What holds where a parameter is not given; of --help and --version nothing."""
    if param.required:
        return "required"
    if param.is_eager:
        return ""
    if isinstance(param.show_default, str):
        return f"default: {param.show_default}"
    if isinstance(param, TyperOption) and param.is_flag:
        return f"default: {'on' if param.default else 'off'}"
    return "" if param.default is None else f"default: {param.default}"


def _limits(least: float | None, most: float | None) -> str:
    if least is not None and most is not None:
        return f"range: {least} to {most}"
    if least is not None:
        return f"minimum: {least}"
    return "" if most is None else f"maximum: {most}"


def _write_text(command: AnyCommand, formatter: HelpFormatter) -> None:
    formatter.write_paragraph()
    with formatter.indentation():
        formatter.write_text(_whole_words(command.help or ""))


def _write_options(found: Iterable[Row], formatter: HelpFormatter) -> None:
    panels: dict[str, list[tuple[str, str]]] = {}
    for row in found:
        notes = f"[{row.notes}]" if row.notes else ""
        if len(notes) <= SHORT:
            notes = notes.replace(" ", NO_BREAK_SPACE)
        panels.setdefault(row.panel, []).append((row.names, f"{row.help} {notes}".rstrip()))
    for panel, lines in panels.items():
        _write(panel, lines, formatter)


def _write(panel: str, lines: list[tuple[str, str]], formatter: HelpFormatter) -> None:
    with formatter.section(typer.style(panel, bold=True)):
        formatter.write_dl([(names, _whole_words(text)) for names, text in lines])


def _whole_words(text: str) -> str:
    """Text that is not broken within "--mask-backend"."""
    return text.replace("-", NO_BREAK_HYPHEN)


def _breakable(text: str) -> str:
    return text.replace(NO_BREAK_HYPHEN, "-").replace(NO_BREAK_SPACE, " ")
