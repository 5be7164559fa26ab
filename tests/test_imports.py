"""The house: imports go downwards only, without a cycle, and methods stay strangers."""

import ast
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "animateanywhere"
# From the ground up. No package imports another of its own floor.
FLOORS = [
    {"core"},
    {"media", "pose", "diffusion", "metrics", "puppets"},
    {"backbones", "collage", "datasets", "training"},
    {"preprocessing"},
    {"evaluation"},
    {"methods"},
    {"commands"},
    {"studio"},
    {"cli"},
    {"__main__"},
]
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}
# `aa --help` and wrong use are answered without these.
LIGHT = ("__main__", "cli.*", "core.errors", "core.console", "core.files", "core.paths",
         "core.naming", "core.schema", "core.frame_size", "core.formats",
         "core.reporter", "core.messages", "core.launcher", "core.device", "core.run_folder",
         "core.json_file", "core.consent", "core.file_lock")  # fmt: skip
HEAVY = {"torch", "diffusers", "transformers", "accelerate", "av", "mediapipe", "numpy", "skimage"}

FILES = sorted(ROOT.rglob("*.py"))
SOURCES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for file in FILES
}


def imports(source: str, top_only: bool = False) -> list[str]:
    """Full names of what a source imports, also inside functions."""
    tree = ast.parse(source)
    names: list[str] = []
    for node in tree.body if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "write imports in full, not relative"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def own(source: str, top_only: bool = False) -> Iterator[str]:
    """Modules of the package that a source imports: `core.files` of `...core.files.write_aside`."""
    for name in imports(source, top_only):
        package, _, inside = name.partition(".")
        if package == "animateanywhere" and inside and not inside.startswith("__"):
            yield inside if inside in SOURCES else inside.rpartition(".")[0]


def wrong(module: str, source: str) -> list[str]:
    """What a module may not import but does."""
    room, _, rest = module.partition(".")
    found = []
    for used in own(source):
        theirs, _, inside = used.partition(".")
        if theirs == room == "methods" and inside.split(".")[0] != rest.split(".")[0]:
            found.append(f"{module}: methods import no other method, but {used}")
        elif theirs != room and FLOOR[theirs] >= FLOOR[room]:
            found.append(f"{module} (floor {FLOOR[room]}) imports {used} (floor {FLOOR[theirs]})")
    return found


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Modules that import one another in a circle."""
    found, done = [], set[str]()

    def visit(module: str, path: list[str]) -> None:
        if module in path:
            found.append(path[path.index(module) :])
        elif module not in done:
            for used in sorted(graph.get(module, ())):
                visit(used, [*path, module])
            done.add(module)

    for module in sorted(graph):
        visit(module, [])
    return found


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_imports_go_downwards(module: str) -> None:
    if module == "__init__":
        assert imports(SOURCES[module].read_text()) == []
        return
    assert module.partition(".")[0] in FLOOR, "a new package: give it a floor here"
    assert wrong(module, SOURCES[module].read_text()) == []


def test_no_modules_import_in_a_circle() -> None:
    graph = {module: set(own(file.read_text())) - {module} for module, file in SOURCES.items()}
    assert cycles(graph) == []


def test_a_circle_is_seen() -> None:
    graph = {"a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": set[str]()}
    assert cycles(graph) == [["a", "b", "c"]]


@pytest.mark.parametrize("pattern", LIGHT)
def test_light_modules_import_nothing_heavy(pattern: str) -> None:
    room = pattern.removesuffix(".*")
    light = tuple(name.removesuffix(".*") for name in LIGHT)
    some = [file for module, file in SOURCES.items() if module == room or
            (pattern.endswith("*") and module.startswith(f"{room}."))]  # fmt: skip
    assert some
    for file in some:
        source = file.read_text()
        assert {name.split(".")[0] for name in imports(source, top_only=True)} & HEAVY == set()
        assert [used for used in own(source, top_only=True) if not used.startswith(light)] == []


def test_mediapipe_is_imported_only_where_it_is_used() -> None:
    top = itertools.chain.from_iterable(imports(f.read_text(), top_only=True) for f in FILES)
    assert [name for name in top if name.startswith("mediapipe")] == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("datasets.subject", "from animateanywhere.backbones import base"),
        ("backbones.lora", "def f():\n    import animateanywhere.methods.animate_anywhere.method"),
        ("evaluation.scores", "from animateanywhere.methods.animate_anywhere import baselines"),
        ("core.errors", "from animateanywhere.cli import main"),
        ("commands.generate", "from animateanywhere.cli.main import main"),
        ("methods.one.loss", "from animateanywhere.methods.animate_anywhere import method"),
    ],
)
def test_a_wrong_import_is_seen(module: str, source: str) -> None:
    assert len(wrong(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("media.video", "from animateanywhere.core.files import write_aside"),
        ("commands.demo", "from animateanywhere.commands.generate import generate"),
        (
            "methods.animate_anywhere.batch",
            "from animateanywhere.methods.animate_anywhere import x",
        ),
        ("cli.main", "import torch"),
    ],
)
def test_a_right_import_passes(module: str, source: str) -> None:
    assert wrong(module, source) == []
