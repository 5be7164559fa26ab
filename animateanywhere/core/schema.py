"""Tables of TOML and JSON as frozen dataclasses; what does not fit is an error that says where."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from typing import Any, Literal

from animateanywhere.core.errors import UsageError


def build(kind: type[Any], table: Any, where: str) -> Any:
    """A dataclass of class `kind` from a table; `where` names it in errors. Raises UsageError."""
    if not isinstance(table, dict):
        raise UsageError(f"{where} must be a table, not {table!r}")
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for key in table:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, 1)
            hint = f": did you mean {near[0]}?" if near else f"; it may have {', '.join(fields)}"
            raise UsageError(f"{where}: unknown key {key}{hint}")
    values = {k: _convert(hints[k], v, f"{where}: {k}") for k, v in table.items()}
    needed = dataclasses.MISSING
    for name, spec in fields.items():
        if name not in values and spec.default is needed and spec.default_factory is needed:
            raise UsageError(f"{where}: {name} is missing")
    return kind(**values)


def _convert(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return build(typing.cast(type[Any], hint), value, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value not in arguments:
            raise UsageError(f"{where} must be one of {', '.join(arguments)}, not {value!r}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise UsageError(f"{where} must be a list, not {value!r}")
        return tuple(_convert(arguments[0], v, f"{where} {i + 1}") for i, v in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise UsageError(f"{where} must be a table, not {value!r}")
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        raise UsageError(f"{where} must be {hint.__name__}, not {value!r}")
    return value
