"""What lies in a folder whenever a file gets its name: what a killed process would leave."""

import os
from pathlib import Path
from typing import Any

import pytest

State = dict[str, bytes]  # the contents of files by name


def states_of(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[State]:
    """The states of a folder before and after each renaming from now on, filled as it goes."""
    states: list[State] = []
    rename = os.replace

    def look() -> None:
        files = [path for path in folder.iterdir() if path.is_file()]
        states.append({path.name: path.read_bytes() for path in files})

    def replace(*given: Any) -> None:
        look()
        rename(*given)
        look()

    monkeypatch.setattr(os, "replace", replace)
    return states


def put_back(folder: Path, state: State) -> None:
    """Put the files of a folder back as they were."""
    for path in folder.iterdir():
        if path.is_file() and path.name not in state:
            path.unlink()
    for name, content in state.items():
        (folder / name).write_bytes(content)
