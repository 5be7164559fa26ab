"""What a fresh machine installs is what the code imports, pinned."""

import ast
import re
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
# Where a package imports under another name than it is installed by.
IMPORTED_AS = {
    "ai-edge-litert": "ai_edge_litert",
    "c2pa-python": "c2pa",
    "controlnet-aux": "controlnet_aux",
    "dlib-bin": "dlib",
    "huggingface-hub": "huggingface_hub",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-image": "skimage",
}


def imported(folder: str) -> set[str]:
    """First names of all packages that the files of a folder import, also inside functions."""
    names: set[str] = set()
    files = list((ROOT / folder).rglob("*.py"))
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"animateanywhere"} - {f.stem for f in files}


def declared(*lists: list[str]) -> set[str]:
    names = [Requirement(line).name for lines in lists for line in lines]
    return {IMPORTED_AS.get(name, name) for name in names}


def test_all_that_is_imported_is_declared() -> None:
    core = declared(PROJECT["dependencies"])
    used = ("c2pa", "offline", "openai", "dwpose", "faces", "openpose", "ray", "studio")
    backends = [EXTRAS[name] for name in used]
    assert imported("animateanywhere") <= core | declared(*backends)
    assert imported("tests") - {"benchmarks", "tests"} <= core | declared(
        EXTRAS["test"], EXTRAS["openpose"]
    )


def test_constraints_pin_every_dependency_within_its_range() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {}
    for line in lines:
        if line.startswith("#"):
            continue
        # Neither a host, a path nor a local version: those are of one machine.
        match = re.fullmatch(r"([a-z0-9-]+)==([0-9][0-9a-z.]*)", line)
        assert match, line
        pins[match[1]] = match[2]
    for line in sum(EXTRAS.values(), PROJECT["dependencies"]):
        requirement = Requirement(line)
        assert requirement.specifier.contains(pins[requirement.name]), line


def test_python_of_the_makefile_is_that_of_the_package() -> None:
    assert PROJECT["requires-python"] == ">=3.11"
    assert "sys.exit(sys.version_info < (3, 11))" in (ROOT / "Makefile").read_text()
