"""The paper's four runs for real, on a tiny base."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from animateanywhere import puppets
from animateanywhere.backbones.base import load_base
from animateanywhere.commands.run_delete import OWN
from animateanywhere.commands.swap_train import require_trainable, swap_train
from animateanywhere.core.errors import UsageError
from animateanywhere.core.frame_size import Size
from animateanywhere.core.paths import recipes_folder
from animateanywhere.core.run_folder import MARK
from animateanywhere.datasets import rendered
from animateanywhere.datasets.shard_corpus import open_shards
from animateanywhere.methods.anycharv import data, method, pairs
from animateanywhere.methods.anycharv.batch import rows
from animateanywhere.methods.anycharv.generation import read_latents
from animateanywhere.methods.anycharv.settings import Corpus, Recipe, Stage, is_recipe, load_recipe
from animateanywhere.methods.anycharv.stages import Run
from animateanywhere.methods.anycharv.swap_base import load_swap_base
from animateanywhere.methods.anycharv.triplets import SKELETON, triplets
from animateanywhere.training.log import Log
from animateanywhere.training.loop import step_generator
from tests.conftest import draws_past_damage, once

RECIPE = """
seed = 3
[swap]
base = "BASE"
pairs = "both"
pair_steps = 2
reference_width = 32
reference_height = 64
[corpus]
images = 4
clips = 3
fine_masks = 2
[[stage]]
name = "tower"
kind = "tower"
steps = 2
batch = 4
[[stage]]
name = "compose"
kind = "compose"
steps = 4
batch = 4
dropout = 0.5
train = ["^unet", "to_tokens"]
learning_rate = 1e-3
log_every = 1
save_every = 2
ema = 0.5
[[stage]]
name = "boost"
kind = "boost"
steps = 3
batch = 4
train = ["^unet"]
learning_rate = 1e-3
log_every = 1
save_every = 2
sample_every = 3
recompute = true
[[stage]]
name = "motion"
kind = "compose"
steps = 2
frames = 4
batch = 2
train = ["motion_modules"]
learning_rate = 1e-3
log_every = 1
[[stage]]
name = "boost-motion"
kind = "boost"
steps = 2
frames = 3
batch = 2
train = ["^unet"]
learning_rate = 1e-3
precision = "bf16"
log_every = 1
"""


def recipe_of(folder: Path, base: Path, **changes: str) -> Path:
    text = RECIPE.replace("BASE", str(base))
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    path = folder / "tiny-swap.toml"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    return once(
        tmp_path_factory, "trained-swap",
        lambda out: swap_train(recipe_of(folder, tiny_base), out / "swap"),
    ) / "swap"  # fmt: skip


def weights(folder: Path, part: str) -> dict[str, torch.Tensor]:
    (file,) = (folder / part).glob("*.safetensors")
    return load_file(file)


def losses(out: Path, stage: str) -> list[float]:
    lines = (out / "training" / stage / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def test_all_runs_make_a_base_that_borrows_the_rest(trained: Path, tiny_base: Path) -> None:
    base, plain = load_swap_base(trained), load_base(tiny_base)
    assert base.config["hash"] == base.hash and not (trained / "vae").exists()
    assert base.denoiser.config.in_channels == 3 * 4 + 1
    for stage, steps in (("compose", 4), ("boost", 3), ("motion", 2), ("boost-motion", 2)):
        found = losses(trained, stage)
        assert len(found) == steps and all(0.05 < one < 20 for one in found), stage
        assert "loss" in json.loads((trained / "training" / stage / "done.json").read_text())
    assert (trained / "training/boost/samples/000003.png").stat().st_size > 1000
    # The scene and the mask are heard, the temporal layers and the encoder were trained
    new = base.denoiser.conv_in.weight[:, 8:]
    assert new[:, :4].abs().max() > 0 and new[:, 4].abs().max() > 0
    names = [n for n, p in plain.parts["motion_adapter"].named_parameters() if ".proj_out." in n]
    temporal = weights(trained, "motion_adapter")
    assert names and all(temporal[name].abs().sum() > 0 for name in names)


def test_all_of_a_run_is_known_as_the_runs_own(trained: Path) -> None:
    """So that it can be deleted."""
    known = {path for pattern in OWN["base-train"] for path in trained.glob(pattern)}
    files = {path for path in trained.rglob("*") if path.is_file() and path.name != MARK}
    assert files - known == set() and any("pairs-boost" in str(path) for path in files)


def test_each_run_trains_what_the_paper_says(trained: Path) -> None:
    """By the checkpoints: of the images the UNet, then the temporal layers alone, then both."""

    def names(stage: str) -> list[str]:
        state = load_file(trained / "training" / stage / "checkpoint.safetensors")
        return [name.removeprefix("model.") for name in state if name.startswith("model.")]

    assert all("motion_modules" in name for name in names("motion"))
    for stage, temporal in (("compose", False), ("boost", False), ("boost-motion", True)):
        assert any("motion_modules" in name for name in names(stage)) == temporal
        assert any("conv_in" in name for name in names(stage))
    assert any("to_tokens" in name for name in names("compose"))


def test_a_killed_run_goes_on_to_the_same_base(
    trained: Path, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit by bit: ended while rendering, in stages after a checkpoint, and while making pairs."""
    path, out = recipe_of(tmp_path, tiny_base), tmp_path / "swap"
    (shards, real_write, real_shard) = [], Log.write, rendered.write_shard
    places = iter([("images", 1), ("compose", 3), ("pairs-boost", 0), ("boost-motion", 1)])
    ends = next(places)

    def write(self: Log, step: int, values: dict[str, float]) -> None:
        real_write(self, step, values)
        if (self.stage.name, step) == ends:
            raise KeyError("ended")

    def write_shard(folder: Path, number: int, samples: Any, about: Any) -> Any:
        if (folder.name, number) == ends:
            raise KeyError("ended")
        shards.append((folder.name, number))
        return real_shard(folder, number, samples, about)

    monkeypatch.setattr(Log, "write", write)
    monkeypatch.setattr(rendered, "write_shard", write_shard)
    monkeypatch.setattr(data, "PER_SHARD", 2)
    monkeypatch.setattr(pairs, "PER_SHARD", 64)
    while ends != ("", 0):
        with pytest.raises(KeyError):
            swap_train(path, out)
        assert not (out / "base.toml").exists()
        ends = next(places, ("", 0))
    swap_train(path, out)
    assert len(shards) == len(set(shards))  # nothing was made twice
    for stage in ("compose", "boost", "motion", "boost-motion"):
        assert losses(out, stage) == losses(trained, stage), stage
    for part in ("unet", "image_encoder", "motion_adapter"):
        one, other = weights(out, part), weights(trained, part)
        assert all(torch.equal(one[name], other[name]) for name in other), part
    with pytest.raises(UsageError, match="another recipe"):
        swap_train(recipe_of(tmp_path, tiny_base, **{"images = 4": "images = 6"}), out)
    # What is done with results may change, and is what the base says then
    assert swap_train(recipe_of(tmp_path, tiny_base, **{'"both"': '"both"\ncollage = true'}), out)
    assert load_swap_base(out).config["collage"] is True


def test_a_reference_unet_of_its_own_reads_and_learns(tiny_base: Path, tmp_path: Path) -> None:
    own = 'reference = "own"\npair_steps'
    path = recipe_of(tmp_path, tiny_base, **{"pair_steps": own, '"both"': '"generated"'})
    recipe = load_recipe(path)
    stages = [
        replace(stage, sample_every=0, dropout=0.0, train=("^unet", "^reference_unet"))
        for stage in recipe.stage[1:3]
    ]
    out = swap_train(replace(recipe, stage=tuple(stages)), tmp_path / "swap")
    base, before = load_swap_base(out), load_base(tiny_base)
    reader = base.parts["reference_unet"]
    assert reader.config.in_channels == 2 * 4
    moved = [
        name
        for (name, one), two in zip(
            reader.named_parameters(), before.denoiser.parameters(), strict=True
        )
        if not torch.equal(one, two)
    ]
    assert any(name.endswith("down_blocks.0.resnets.0.conv1.weight") for name in moved)
    pictures = torch.zeros(1, 1, 4, 8, 4)
    with_own = read_latents(base, pictures, pictures).features
    base.parts["reference_unet"] = before.denoiser
    again = read_latents(base, pictures, pictures).features
    assert any(not torch.equal(h, again.layers[n]) for n, h in with_own.layers.items())


def test_triplets_are_one_person_and_another_in_one_scene() -> None:
    size, rule = Size(32, 64), Corpus(scenes=2, pictures=3)
    (one,) = triplets(rule, range(7, 8), 1, 64, 8.0, size, 1)
    assert one.truth.shape == one.other.shape == (2, 1, 64, 64, 3)
    assert one.pictures.shape == (3, 64, 32, 3) and one.picture_keypoints.shape == (3, 18, 3)
    both = (one.masks > 0) | (one.other_masks > 0)
    apart = np.abs(one.truth.astype(int) - one.other).max(-1)
    assert apart[~both].mean() < 1 < 10 < apart[(one.masks > 127) & (one.other_masks > 127)].mean()
    again = next(triplets(rule, range(7, 8), 1, 64, 8.0, size, 1))
    assert (again.truth == one.truth).all() and (again.pictures == one.pictures).all()
    (other,) = triplets(rule, range(8, 9), 1, 64, 8.0, size, 1)
    assert (other.truth != one.truth).any() and other.caption != one.caption
    (clip,) = triplets(rule, range(7, 8), 3, 64, 8.0, size, 1)
    assert clip.truth.shape == (1, 3, 64, 64, 3) and clip.caption == one.caption


def test_people_of_the_two_splits_never_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody in the training data is held out: not the others in the scenes either."""
    seen: list[puppets.Spec] = []

    def render(specs: list[puppets.Spec], times: list[float], size: int) -> list[puppets.Clip]:
        seen.extend(specs)
        return real(specs, times, size)

    real = puppets.render_batch
    monkeypatch.setattr(puppets, "render_batch", render)
    for split in ("train", "held-out"):
        seen.clear()
        list(triplets(Corpus(), range(3), 1, 16, 8.0, Size(16, 16), 0, split))
        held = {puppets.is_held_out(spec.identity) for spec in seen}
        assert len(seen) == 3 * 6 and held == {split == "held-out"}
        new, old = seen[0].identity, seen[2].identity
        assert all(getattr(new, bone) == getattr(old, bone) for bone in SKELETON)
        assert seen[0].scene == seen[2].scene and seen[4].scene != seen[0].scene


def test_a_batch_is_what_the_stage_says(trained: Path, tiny_base: Path, tmp_path: Path) -> None:
    recipe = load_recipe(recipe_of(tmp_path, tiny_base))
    base, people = Run(recipe, trained).base(), open_shards(trained / "corpus" / "images")
    made = open_shards(trained / "corpus" / "pairs-boost")
    arrays = {name: people.rows(0, [f"{name}.npy"])[0] for name in ("truth", "other", "hidden")}
    assert arrays["truth"].shape == (2, 4, 8, 8) and arrays["hidden"].shape == (4, 4, 8, 8)
    # Generated scenes: the truth outside of the fine mask, somebody else inside
    mask = people.rows(0, ["masks.npy"], 0, 2)[0].astype(np.float32)
    change = np.abs(made.rows(0, ["made.npy"])[0].astype(np.float32) - arrays["truth"])
    assert (change * (mask == 0)).max() < 0.01 < (change * (mask == 1)).max()

    def drawn(kind: str, source: str, passes: int) -> list[Any]:
        settings = replace(recipe, swap=replace(recipe.swap, pairs=source))
        stage = Stage("a", kind, 1, batch=4, dropout=0.5)  # type: ignore[arg-type]
        given = None if source == "rendered" else made
        read = rows(base, settings, stage, 5, people, given)
        return [read(step_generator(5, number)) for number in range(passes)]

    many = drawn("compose", "rendered", 12)
    assert {len(batch.pictures[0]) for batch in many} == {1, 2}
    assert {batch.alone for batch in many} == {True, False}
    one, again = many[3], drawn("compose", "rendered", 4)[3]
    assert torch.equal(one.latents, again.latents) and torch.equal(one.pictures, again.pictures)
    assert one.person.tolist() == [0, 0, 1, 1] and one.latents.shape == (4, 1, 4, 8, 8)
    region = one.scene.region
    hidden = (one.scene.latents - one.latents).abs()
    assert (hidden * (region == 1)).max() > 0.05
    assert (one.weight[region == 0] == 0).all() and one.weight.max() > 3
    for source, name in (("rendered", "other"), ("generated", "made")):
        boost = drawn("boost", source, 1)[0]
        rectangle = boost.scene.region[0, 0, 0] > 0
        rows_, columns = rectangle.any(1), rectangle.any(0)
        assert torch.equal(rectangle, rows_[:, None] & columns[None])
        corpus = people if name == "other" else made
        known = np.concatenate([corpus.rows(row, [f"{name}.npy"])[0] for row in range(4)])
        assert any(np.array_equal(boost.scene.latents[0, 0].half(), one) for one in known)
    both = drawn("boost", "both", 8)
    known = np.concatenate([people.rows(row, ["other.npy"])[0] for row in range(4)])
    rendered = [
        any(np.array_equal(row[0].half(), one) for one in known)
        for batch in both for row in batch.scene.latents
    ]  # fmt: skip
    assert 4 < sum(rendered) < 28


@pytest.mark.parametrize(
    "path",
    [p for p in sorted(recipes_folder().glob("*.toml")) if is_recipe(p)],
    ids=lambda p: p.stem,
)
def test_every_recipe_parses_and_has_the_papers_four_runs(path: Path) -> None:
    recipe = load_recipe(path)
    assert isinstance(recipe, Recipe) and recipe.swap.base == "mini"
    if not recipe.stage:  # it gathers published weights
        assert recipe.full_size
        return
    kinds = [(stage.kind, stage.frames > 1) for stage in recipe.stage if stage.kind != "tower"]
    assert kinds[:4] == [("compose", False), ("boost", False), ("compose", True), ("boost", True)]


def test_the_last_stage_of_the_bundled_base_leaves_the_lent_temporal_layers(
    tiny_base: Path,
) -> None:
    (pattern,) = load_recipe("mini-swap").stage[-1].train
    network = method.build(load_base(tiny_base), video=True)
    names = [f"unet.{name}" for name, _ in network.named_parameters()]
    left = {name for name in names if not re.search(pattern, name)}
    assert left == {name for name in names if "motion_modules" in name} and left
    assert len(left) < len(names)


@pytest.mark.parametrize("part", ["unet", "image_encoder", "motion_adapter"])
def test_a_trained_part_that_is_gone_is_not_made_anew(
    trained: Path, tiny_base: Path, tmp_path: Path, part: str
) -> None:
    shutil.copytree(trained, tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / part)
    with pytest.raises(UsageError, match=f"{part} is missing, though stage"):
        swap_train(recipe_of(tmp_path, tiny_base), tmp_path / "out")
    assert not (tmp_path / "out" / part).exists()


def test_two_ablations_of_the_paper(trained: Path, tiny_base: Path, tmp_path: Path) -> None:
    """Outlines as they are, which the network does not see."""
    changes = {"pair_steps": "augment_masks = false\nmask_input = false\npair_steps"}
    recipe = load_recipe(recipe_of(tmp_path, tiny_base, **changes))
    stage = replace(recipe.stage[1], train=(r"^unet\.conv_in",), steps=1, dropout=0.0)
    out = swap_train(replace(recipe, stage=(stage,)), tmp_path / "out")
    masks = [
        open_shards(folder / "corpus" / "images").rows(0, ["masks.npy"])[0]
        for folder in (out, trained)
    ]
    assert (masks[0] <= masks[1]).all() and masks[0].sum() < masks[1].sum()
    assert np.array_equal(*np.split(masks[0], 2))  # both augmentations are the outline
    base = load_swap_base(out)
    assert base.config["mask_input"] is False
    assert not base.denoiser.conv_in.weight[:, 12].any()  # of the mask, which was never there
    assert base.denoiser.conv_in.weight[:, 8:12].any()


def test_a_stage_that_is_gone_is_not_trained_on_later_ones(
    trained: Path, tiny_base: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained, tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "training" / "boost")
    with pytest.raises(UsageError, match="training/boost is missing .* stage motion, which follo"):
        swap_train(recipe_of(tmp_path, tiny_base), tmp_path / "out")
    assert not (tmp_path / "out" / "training" / "boost").exists()


def test_a_damaged_person_does_not_end_a_training(
    trained: Path, tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(trained, tmp_path / "out")
    recipe = load_recipe(recipe_of(tmp_path, tiny_base))
    people, base = open_shards(out / "corpus" / "images"), load_swap_base(out)
    draws_past_damage(lambda: rows(base, recipe, recipe.stage[1], 5, people), people, "truth.npy")
    said = capsys.readouterr().err.replace("\n", " ")
    assert said.count("the next person is taken in that one's place") == 1


def test_wrong_recipes_are_refused(tmp_path: Path, tiny_base: Path) -> None:
    for old, new, message in (
        ("batch = 4\ndropout", "batch = 3\ndropout", "multiple of scenes"),
        ("pair_steps = 2", "pair_steps = 0", "pair_steps must be at least 1"),
        ("clips = 3", "clips = 1", "clips of .corpus. must be at least 2"),
        ("dropout = 0.5", "dropout = 2.0", "dropout is a share"),
        ("frames = 4\n", "frames = 5\n", "frames must be at most those of the base"),
        ('"both"', '"none"', "pairs must be one of"),
        ("reference_width = 32", "reference_width = 33", "must be a multiple of 8 with base"),
    ):
        with pytest.raises(UsageError, match=message):
            swap_train(recipe_of(tmp_path, tiny_base, **{old: new}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_clips_are_refused_under_fsdp_before_any_stage(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe(recipe_of(tmp_path, tiny_base))
    require_trainable(recipe, 2)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    require_trainable(recipe, 1)  # which has nothing to divide
    with pytest.raises(UsageError, match="stage motion: clips cannot be trained by FSDP"):
        require_trainable(recipe, 2)


def test_a_recipe_for_swaps_is_known_by_its_table_however_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    for text, known in (
        (" [ swap ]\n", True),
        ("swap.base = 'mini'\n", True),
        ("#[swap]\n", False),
    ):
        path.write_text(text)
        assert is_recipe(path) is known
