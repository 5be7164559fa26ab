"""A second method trains and samples through the same loop, recipes, reporter and command line,
and nothing in the package knows of it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from animateanywhere.backbones.base import load_base
from animateanywhere.cli.app import app
from animateanywhere.cli.main import main
from animateanywhere.core.messages import reporting_to
from animateanywhere.core.paths import EXAMPLES
from animateanywhere.core.recipe import load_recipe
from animateanywhere.core.reporter import Events
from tests.toy_method.method import Recipe, draw, learn, toy

RECIPE = """caption = "a man in a room"
[[stage]]
name = "still"
kind = "picture"
steps = {steps}
learning_rate = 2e-3
log_every = 1
save_every = 10
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "still.toml"
    path.write_text(RECIPE.format(steps=30))
    return path


@pytest.fixture
def command() -> Iterator[None]:
    app.command("toy")(toy)
    yield
    app.registered_commands.pop()


def run(recipe: Path, base: Path, out: Path) -> int:
    return main(["toy", str(EXAMPLES / "reference.mp4"), str(recipe), str(base), "--out", str(out)])


@pytest.mark.usefixtures("command")
def test_it_runs_from_the_command_line(
    recipe: Path, tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reporter = Events()
    with reporting_to(reporter):
        assert run(recipe, tiny_base, tmp_path / "run") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'run' / 'drawn.png'}\n"
    losses = [event["loss"] for event in reporter.events if "loss" in event]
    assert len(losses) == 30 and np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])
    assert {"kind": "picture", "path": str(tmp_path / "run" / "drawn.png")} in reporter.events
    assert Image.open(tmp_path / "run" / "drawn.png").size[0] > 100


@pytest.mark.usefixtures("command")
def test_its_recipe_is_checked(
    recipe: Path, tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for wrong, words in (("captoin = 'a'", "did you mean caption"), ("kind = 'video'", "picture")):
        name = wrong.partition(" ")[0]
        key = {"captoin": "caption"}.get(name, name)
        lines = [line for line in RECIPE.format(steps=1).splitlines() if not line.startswith(key)]
        place = 0 if key == "caption" else len(lines)
        recipe.write_text("\n".join([*lines[:place], wrong, *lines[place:]]))
        assert run(recipe, tiny_base, tmp_path / "run") == 2
        assert words in capsys.readouterr().err


def test_it_draws_what_it_learned(recipe: Path, tiny_base: Path, tmp_path: Path) -> None:
    base, settings = load_base(tiny_base), load_recipe(recipe, Recipe)
    frame = np.zeros((64, 64, 3), np.uint8)
    frame[:32] = 255
    latents = {}
    for name, steps in (("before", 1), ("after", 30)):
        recipe.write_text(RECIPE.format(steps=steps))
        network = learn(load_base(tiny_base), frame, load_recipe(recipe, Recipe), tmp_path / name)
        latents[name] = draw(base, network, settings.caption, 0, steps=10)
    assert latents["before"].shape == (1, 64, 64, 3)
    assert not np.array_equal(latents["before"], latents["after"])
