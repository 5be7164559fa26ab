"""The floors: imports go downwards only. See the table in the README."""

import ast
import itertools
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "animateanywhere"
FLOORS = [
    {"errors", "console", "files", "words", "tables", "recipe", "batch"},
    {"diffusion", "models", "data", "metrics", "puppets"},
    {"methods", "extraction", "training"},
    {
        *(
            "prepare",
            "personalize",
            "generate",
            "evaluate",
            "export",
            "push",
            "card",
            "bases",
            "check",
            "base_train",
            "demo",
        ),
        *("learning", "evaluation", "forecast", "verdict", "render"),
        *("corpora", "stages", "samples"),
    },
    {"cli", "commands"},
    {"__main__"},
]
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}
# On these floors no part may lean on another of the same floor.
STRANGERS = {1}
LIGHT = {
    "cli",
    "commands",
    "__init__",
    "__main__",
    "errors",
    "console",
    "files",
    "words",
    "tables",
    "recipe",
}
HEAVY = {"torch", "diffusers", "transformers", "accelerate", "av", "mediapipe", "numpy", "skimage"}

FILES = sorted(ROOT.rglob("*.py"))


def part(file: Path, root: Path = ROOT) -> str:
    """Name of the module or package of the first level that a file belongs to."""
    return file.relative_to(root).parts[0].removesuffix(".py")


def imports(source: str, top_only: bool = False) -> list[str]:
    """Full names of the modules that a source imports, also inside functions."""
    tree = ast.parse(source)
    nodes = tree.body if top_only else list(ast.walk(tree))
    names: list[str] = []
    for node in nodes:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "write imports in full, not relative"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def wrong(user: str, source: str) -> list[str]:
    """What a part of the house may not import but does."""
    found = []
    for name in imports(source):
        package, _, rest = name.partition(".")
        used = rest.split(".")[0]
        if package != "animateanywhere" or used in ("", "__version__", user):
            continue
        own, theirs = FLOOR[user], FLOOR[used]
        if theirs > own or (theirs == own and own in STRANGERS):
            found.append(f"{user} (floor {own}) imports {name} (floor {theirs})")
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_go_downwards(file: Path) -> None:
    name = part(file)
    if name == "__init__":
        assert imports(file.read_text()) == []
        return
    assert name in FLOOR, f"{name} has no floor yet: give it one here"
    assert wrong(name, file.read_text()) == []


@pytest.mark.parametrize("name", sorted(LIGHT))
def test_light_modules_import_nothing_heavy(name: str) -> None:
    files = [file for file in FILES if part(file) == name]
    assert files
    names = [n for file in files for n in imports(file.read_text(), top_only=True)]
    assert {n.split(".")[0] for n in names} & HEAVY == set()
    used = {n.split(".")[1] for n in names if n.startswith("animateanywhere.")}
    assert used <= LIGHT | {"__version__"}


def test_mediapipe_is_imported_only_where_it_is_used() -> None:
    top = itertools.chain.from_iterable(imports(f.read_text(), top_only=True) for f in FILES)
    assert [name for name in top if name.startswith("mediapipe")] == []


def test_training_does_not_know_the_methods() -> None:
    """Its loss comes as a value."""
    for file in (ROOT / "training").glob("*.py"):
        assert [n for n in imports(file.read_text()) if "animateanywhere.methods" in n] == []


@pytest.mark.parametrize(
    ("user", "source"),
    [
        ("data", "from animateanywhere.models import base"),
        ("models", "def f():\n    import animateanywhere.methods.animate_anywhere"),
        ("errors", "from animateanywhere import cli"),
        ("generate", "from animateanywhere.cli import main"),
    ],
)
def test_a_wrong_import_is_seen(user: str, source: str) -> None:
    assert len(wrong(user, source)) == 1


@pytest.mark.parametrize(
    ("user", "source"),
    [
        ("data", "from animateanywhere.data.video import read"),
        ("demo", "from animateanywhere.generate import generate"),
        ("cli", "import torch"),
    ],
)
def test_a_right_import_passes(user: str, source: str) -> None:
    assert wrong(user, source) == []
