"""Folders, and the command that installs an extra."""

import shlex
import sys
import tomllib
from pathlib import Path

import pytest

from animateanywhere.core import paths


def test_the_install_command_is_for_this_checkout(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = shlex.split(paths.install_command("vram"))
    assert words[0] == Path(sys.executable).name
    checkout, _, extra = words[-1].removesuffix("]").partition("[")
    project = tomllib.loads((Path(checkout) / "pyproject.toml").read_text())["project"]
    assert extra in project["optional-dependencies"]
    assert Path(words[words.index("--constraint") + 1]).is_file()
    monkeypatch.setattr(paths, "PACKAGE", tmp_path / "animateanywhere")
    assert shlex.split(paths.install_command("vram"))[-1] == "animateanywhere[vram]"
