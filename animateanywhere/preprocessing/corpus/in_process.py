"""The runner of one process: one item after the other, and no item twice that ended the process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from animateanywhere.core.files import write_aside
from animateanywhere.core.json_file import read_table

MOST_ATTEMPTS = 3  # an item at which the process ends so often is given up


class GivenUp(NamedTuple):
    """In place of a result: the processes that worked at the item were killed or crashed."""

    attempts: int


def run(
    make: Callable[[], Callable[[Any], Any]], items: Sequence[tuple[str, Any]], folder: Path
) -> Iterator[tuple[str, Any]]:
    """The name and the result of each item, in order.

    Args:
        make: returns the function from an item to its result, called once.
        items: with their names, which must differ.
        folder: where the name of the item in work is kept, so that after a crash it is known.
    """
    work = make()
    mark = folder / "in_work.json"
    for name, item in items:
        attempts = _attempts(mark, name)
        if attempts >= MOST_ATTEMPTS:
            yield name, GivenUp(attempts)
            continue
        with write_aside(mark) as aside:
            aside.write_text(json.dumps({"name": name, "attempts": attempts + 1}), encoding="utf-8")
        try:
            result = work(item)
        finally:  # an error or Ctrl-C is no crash
            mark.unlink(missing_ok=True)
        yield name, result


def _attempts(mark: Path, name: str) -> int:
    found = read_table(mark)
    with suppress(ValueError, TypeError, KeyError):
        if found.get("name") == name:
            return int(found["attempts"])
    return 0
