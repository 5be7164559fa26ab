"""The packages that this program needs: ranges, tested versions, and what is installed."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from typing import NamedTuple

from packaging.requirements import Requirement

from animateanywhere.core.paths import PACKAGE

NAME = "animateanywhere"


class Package(NamedTuple):
    """A requirement of the program or of an extra."""

    name: str
    extra: str  # "" for one that is always needed
    range: str  # such as ">=2.6"
    installed: str | None  # version
    tested: str | None  # version; None where that is not known

    @property
    def fits(self) -> bool:
        """Whether it is installed in a version of the range."""
        if self.installed is None:
            return False
        wanted = Requirement(f"{self.name}{self.range}").specifier
        return wanted.contains(self.installed, prereleases=True)


def packages() -> list[Package]:
    """All requirements for this platform and Python, those that are always needed first."""
    pins = _tested()
    found = []
    for line, extra in _lines():
        wanted = Requirement(line)
        if wanted.marker is None or wanted.marker.evaluate({"extra": extra}):
            found.append(
                Package(wanted.name, extra, str(wanted.specifier), _installed(wanted.name),
                        pins.get(_canonical(wanted.name)))
            )  # fmt: skip
    return sorted(found, key=lambda package: package.extra)


def _lines() -> Iterator[tuple[str, str]]:
    """Requirements with their extras, of the checkout or of the installed package."""
    project = PACKAGE.parent / "pyproject.toml"
    if project.is_file():
        table = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        yield from ((line, "") for line in table["dependencies"])
        for extra, lines in table["optional-dependencies"].items():
            yield from ((line, extra) for line in lines)
        return
    for line in metadata.requires(NAME) or ():
        found = re.search(r"""extra\s*==\s*["']([\w-]+)["']""", line)
        yield line, found[1] if found else ""


def _tested() -> dict[str, str]:
    """Versions by names: of constraints.txt, in the package when installed, else beside it."""
    for folder in (PACKAGE, PACKAGE.parent):
        if (folder / "constraints.txt").is_file():
            lines = (folder / "constraints.txt").read_text(encoding="utf-8").splitlines()
            pairs = (line.partition("==") for line in lines if not line.startswith("#"))
            return {_canonical(name): version for name, _, version in pairs}
    return {}


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def modules_of(name: str) -> list[str]:
    """The modules that an installed package is imported by."""
    found = [module for module, owners in _owners().items() if _canonical(name) in owners]
    same = [module for module in found if _canonical(module) == _canonical(name)]
    return same or [module for module in found if module not in ("tests", "docs", "examples")]


@cache
def _owners() -> dict[str, list[str]]:
    """The packages that each installed module belongs to."""
    found = metadata.packages_distributions()
    return {module: [_canonical(name) for name in names] for module, names in found.items()
            if not module.startswith("_")}  # fmt: skip
