"""`aa swap --base` with AnyCharV's own networks, small and with random weights, from end to end."""

import json
from pathlib import Path

import numpy as np
import pytest

from animateanywhere.backbones.base import load_base
from animateanywhere.cli.main import main
from animateanywhere.commands import swap_memory
from animateanywhere.commands.bases import bases
from animateanywhere.core import estimate
from animateanywhere.core.errors import UsageError
from animateanywhere.core.findings import Finding
from animateanywhere.media import video
from animateanywhere.preprocessing import character as character_of
from animateanywhere.preprocessing.scene import parts as part_of
from tests.commands.test_swap import STAYS, frames_in, line, scene_of, write_character
from tests.methods.anycharv.published import Theirs, recipe_of


@pytest.fixture
def base(
    place: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A base that the command line gathered."""
    monkeypatch.setattr(part_of, "SIDE", 96)
    monkeypatch.setattr(character_of, "SIDE", 96)
    recipe = recipe_of(place, Theirs(tmp_path_factory.mktemp("theirs")).folder)
    assert main(["base-train", str(recipe), "--out", "small"]) == 0
    write_character(place / "a.png")
    return place / "small"


def test_published_weights_are_gathered_and_swap(
    base: Path, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = scene_of(place, STAYS)
    given = ["swap", "a.png", "--scene", "scene.mp4", "--base", str(base)]
    assert main([*given, "--out", "frames"]) == 0
    assert "GB of memory (estimated)" in capsys.readouterr().err
    result, scene = frames_in(place / "frames"), video.read(place / "scene.mp4").frames
    changed = (result != scene).any(-1)
    assert changed[shown.masks[0]].mean() > 0.9  # an untrained network leaves nothing as it is
    assert not changed[:, :, 130:].any()
    about = json.loads((place / "frames.json").read_text())
    assert about["base"]["name"] == "small" and about["sampler"] == "ddim"
    assert about["grow"] == 0 and about["guidance"] == 3.0 and about["steps"] == 2
    assert main([*given, "--out", "again"]) == 0
    assert np.array_equal(frames_in(place / "again"), result)

    capsys.readouterr()
    assert main([*given, "--appearance", "in a coat"]) == 2
    assert "--appearance: only for bases of Wan VACE" in line(capsys)
    monkeypatch.setattr(estimate, "free_memory", lambda: 0.01)
    assert main([*given, "--out", "never"]) == 2
    assert "GB are needed, 0.0 GB are free" in line(capsys)
    with pytest.raises(UsageError, match="this base is for `aa swap`"):
        load_base(base)


def test_where_the_memory_is_small_fewer_frames_pass_at_once(
    base: Path, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene_of(place, STAYS)
    needed: list[float] = []

    def fits(most: float, least: float) -> list[Finding]:
        needed.append(least)
        return [Finding("unusable", "memory", "too little")] if len(needed) == 1 else []

    monkeypatch.setattr(swap_memory, "fits", fits)
    for memory in ("memory_now", "peak_memory"):
        monkeypatch.setattr(swap_memory, memory, lambda: 0.0)
    given = ["swap", "a.png", "--scene", "scene.mp4", "--base", str(base), "--out"]
    monkeypatch.setattr(swap_memory, "SHORTEST", 3)
    assert main([*given, "short"]) == 0
    assert needed[1] < needed[0]
    said = " ".join(capsys.readouterr().err.split())
    assert "warning: 3 frames pass through the network at once, not the 6 that it was" in said
    assert main([*given, "whole"]) == 0
    assert "pass through the network" not in capsys.readouterr().err
    windows = [json.loads((place / f"{name}.json").read_text())["window"]
               for name in ("short", "whole")]  # fmt: skip
    assert windows == [3, 6]
    assert (frames_in(place / "short") != frames_in(place / "whole")).any()


def test_the_list_of_bases_says_where_it_comes_from() -> None:
    (row,) = [row for row in bases() if row.name == "anycharv"]
    assert row.license == "not stated" and "for `aa swap`" in row.videos
    assert row.made == (
        "aa base-train anycharv: downloads sd-vae-ft-mse, AnyCharV, clip-vit-large-patch14"
    )
