"""The paper's ablations, trained and compared in one run, at tiny size."""

import json
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from animateanywhere.cli import main
from animateanywhere.commands import swap_ablations, swap_benchmark
from animateanywhere.commands.swap_train import swap_train
from animateanywhere.core.errors import UsageError
from animateanywhere.core.run_folder import set_mark
from animateanywhere.datasets.shard_corpus import open_shards
from animateanywhere.methods.anycharv.ablations import ABLATIONS, ablated
from animateanywhere.methods.anycharv.settings import load_recipe
from tests.conftest import once

RECIPE = """
seed = 3
[swap]
base = "BASE"
pairs = "both"
pair_steps = 1
reference_width = 32
reference_height = 64
[corpus]
images = 2
[[stage]]
name = "compose"
kind = "compose"
steps = 1
batch = 4
train = ["^unet\\\\.conv_in"]
learning_rate = 1e-3
[[stage]]
name = "boost"
kind = "boost"
steps = 1
batch = 4
precision = "fp16"
train = ["^unet\\\\.conv_in"]
learning_rate = 1e-3
"""
PAPERS = [name for name, one in ABLATIONS.items() if one.papers and name != "masks_fine_box"]
ALL = [*PAPERS, "pairs_generated", "pairs_rendered"]


COMPARED = ["no_boost", "masks_box_fine"]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "short.toml"
    path.write_text(RECIPE.replace("BASE", str(tiny_base)))
    return path


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory, recipe: Path) -> Path:
    """The folder of a comparison, with a base of each ablation."""

    def make(out: Path) -> None:
        settings = load_recipe(recipe)
        for name in ALL:
            swap_train(ablated(settings, name), out / "bases" / name)
        swap_train(settings, out / "bases" / "ours")

    return once(tmp_path_factory, "ablated", make)


def test_ablations_are_compared_in_one_run_and_not_made_again(
    bases: Path, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    for name in COMPARED:  # that of "ours" is trained by the command itself
        shutil.copytree(bases / "bases" / name, out / "bases" / name)
    set_mark(out, "benchmark")
    command = ["evaluate", "--bench", "swap", "--ablations", str(recipe), "--fast",
               "--subjects", "1", "--out", str(out), "--methods", ",".join(COMPARED)]  # fmt: skip
    assert main.main(command) == 0
    report = json.loads((out / "metrics-swap-fast.json").read_text())
    assert set(report["methods"]) == {*COMPARED, "ours", "scene", "vae", "truth"}
    means = [report["methods"][name]["ring"]["mean"] for name in ("ours", *COMPARED)]
    assert len(set(means)) == 3  # each by its own base
    page = (out / "report-swap-fast.html").read_text(encoding="utf-8")
    assert all(page.count(ABLATIONS[name].title) > 2 for name in COMPARED)

    def never(*given: object) -> None:
        raise AssertionError("what is there was made again")

    monkeypatch.setattr(swap_benchmark, "measure_swap", never)
    before = {path: path.stat().st_mtime_ns for path in out.glob("bases/*/unet/*.safetensors")}
    assert main.main(command) == 0 and len(before) == 3
    assert all(path.stat().st_mtime_ns == at for path, at in before.items())


def test_each_ablation_is_trained_as_it_says(bases: Path) -> None:
    def learned(name: str) -> tuple[object, ...]:
        config = tomllib.loads((bases / "bases" / name / "base.toml").read_text())
        keys = ("mask_input", "mask", "hides", "reference_background")
        return tuple(config[key] for key in keys)

    assert {name: learned(name) for name in ("ours", *PAPERS)} == {
        "ours": (True, "box", False, False),
        "no_mask_input": (False, "box", False, False),
        "reference_background": (True, "box", False, True),
        "no_mask_augmentation": (True, "box", False, False),
        "no_boost": (True, "fine", True, False),
        "masks_box_fine": (True, "fine", False, False),
        "masks_box_box": (True, "box", False, False),
        "masks_fine_fine": (True, "fine", False, False),
    }

    def rows(name: str, array: str) -> np.ndarray:
        people = open_shards(bases / "bases" / name / "corpus" / "images")
        found: np.ndarray = people.rows(0, [f"{array}.npy"])[0]
        return found.astype(np.float32)

    ours = rows("ours", "masks")
    box = rows("masks_box_box", "masks")
    assert (box >= rows("no_mask_augmentation", "masks") - 0.01).all()  # it holds the outline
    whole = box[0, 0] > 0.99
    assert np.array_equal(whole, whole.any(1)[:, None] & whole.any(0)[None]) and whole.any()
    assert (box.reshape(2, -1).mean(1) > ours.reshape(2, -1).mean(1)).all()
    assert np.array_equal(rows("masks_fine_fine", "outlines"), ours)
    assert np.array_equal(rows("masks_box_fine", "outlines"), ours)
    other = rows("masks_fine_fine", "other_outlines")
    assert other.shape == ours.shape and not np.array_equal(other, ours)
    pictures = rows("ours", "pictures"), rows("reference_background", "pictures")
    assert not np.array_equal(*pictures)
    # Pairs: generated for all but one, which learns from rendered ones alone
    made = {name: (bases / "bases" / name / "corpus" / "pairs-boost").is_dir() for name in ALL}
    assert made == {name: name not in ("no_boost", "pairs_rendered") for name in ALL}


def test_what_cannot_be_ablated_is_refused_before_any_training(
    recipe: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for flags, words in (
        (["--ablations", str(recipe), "--methods", "no_masks"], "no method or ablation no_masks"),
        (["--ablations", str(recipe), "--methods", "pairs_both"], "pairs_both changes nothing"),
        (["--ablations", "sd15-swap"], "comes from none"),
        (["--ablations", str(recipe), "--base", "mini"], "leave --base out"),
        (["--ablations", str(recipe), "--subjects", "25"], "has 24 people"),
    ):
        assert main.main(["evaluate", "--bench", "swap", *flags]) == 2
        said = capsys.readouterr().err.strip()
        assert words in said and "\n" not in said
    assert not list(tmp_path.glob("runs/**/unet"))
    settings = load_recipe(recipe)
    assert set(swap_ablations._papers(settings)) == set(PAPERS)
    boosted = replace(settings, stage=settings.stage[1:])
    with pytest.raises(UsageError, match="no_boost needs a stage of kind compose"):
        ablated(boosted, "no_boost")
