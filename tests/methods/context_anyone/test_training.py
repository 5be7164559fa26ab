"""Training for real, on a tiny network and rendered people."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from animateanywhere import puppets
from animateanywhere.backbones.base import load_base
from animateanywhere.commands.cast_train import cast_train
from animateanywhere.commands.run_delete import OWN
from animateanywhere.core.errors import UsageError
from animateanywhere.core.frame_size import Size
from animateanywhere.core.run_folder import MARK
from animateanywhere.datasets import rendered
from animateanywhere.datasets.shard_corpus import open_shards
from animateanywhere.methods.context_anyone import pairs
from animateanywhere.methods.context_anyone.batch import per_latent, rows
from animateanywhere.methods.context_anyone.cast_base import GRID, create_cast_base, load_cast_base
from animateanywhere.methods.context_anyone.data import captions
from animateanywhere.methods.context_anyone.reference_picture import reference_picture
from animateanywhere.methods.context_anyone.settings import Corpus, Stage, is_recipe, load_recipe
from animateanywhere.methods.context_anyone.stages import Run
from animateanywhere.methods.context_anyone.transformer import CastTransformer
from animateanywhere.training.log import Log
from animateanywhere.training.loop import step_generator
from animateanywhere.training.picture_encoder import PictureEncoder
from tests.conftest import draws_past_damage, once
from tests.methods.context_anyone.recipe import recipe_of


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    return once(
        tmp_path_factory, "trained-cast",
        lambda out: cast_train(recipe_of(folder, tiny_base), out / "cast"),
    ) / "cast"  # fmt: skip


def weights(folder: Path, part: str) -> dict[str, torch.Tensor]:
    (file,) = (folder / part).glob("*.safetensors")
    return load_file(file)


def values(out: Path, stage: str, key: str) -> list[float]:
    lines = (out / "training" / stage / "log.jsonl").read_text().splitlines()
    return [json.loads(line)[key] for line in lines if key in json.loads(line)]


def test_all_stages_make_a_base_that_borrows_the_rest(trained: Path, tiny_base: Path) -> None:
    base, plain = load_cast_base(trained), load_base(tiny_base)
    assert base.config["hash"] == base.hash and not (trained / "vae").exists()
    mine, theirs = base.vae.state_dict(), plain.vae.state_dict()
    assert mine and all(torch.equal(mine[name], theirs[name]) for name in theirs)
    for stage, steps in (("stills", 4), ("clips", 3)):
        found = values(trained, stage, "loss")
        assert len(found) == steps and all(0.05 < one < 20 for one in found), stage
        assert values(trained, stage, "reconstruction")
    assert 0 <= values(trained, "tower", "retrieval")[-1] <= 1
    assert (trained / "training/clips/samples/000003.png").stat().st_size > 1000
    # What starts at zero has learned
    new = weights(trained, "transformer")
    for name in ("emphasis.to_out.0.weight", "attn2.add_v_proj.weight"):
        assert new[f"blocks.0.{name}"].abs().max() > 0, name
    assert new["pose_embedding.weight"].abs().max() > 0
    assert base.config["likeness"] == 2.5 and "noise_share" not in base.config


@pytest.mark.parametrize("channels", [8, 16])  # of latents; `mini` has 16
def test_the_bundled_recipe_makes_a_base_of_24_megabytes(channels: int) -> None:
    """In half precision."""
    words = 192  # channels of both text encoders
    same = {"in_channels": channels, "out_channels": channels, "pose_channels": channels,
            "text_dim": words, "image_dim": words}  # fmt: skip
    with torch.device("meta"):
        network = CastTransformer(**load_recipe("mini-cast").transformer | same)
        encoder = PictureEncoder(channels, words, bands=GRID, columns=GRID)
    count = sum(p.numel() for part in (network, encoder) for p in part.parameters())
    assert 20e6 < 2 * count < 24e6


def test_all_of_a_run_is_known_as_the_runs_own(trained: Path) -> None:
    """So that it can be deleted."""
    known = {path for pattern in OWN["base-train"] for path in trained.glob(pattern)}
    files = {path for path in trained.rglob("*") if path.is_file() and path.name != MARK}
    assert files - known == set()


def test_a_killed_run_goes_on_to_the_same_base(
    trained: Path, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit by bit: ended while rendering, and in both kinds of stages after a checkpoint."""
    path, out = recipe_of(tmp_path, tiny_base), tmp_path / "cast"
    shards, real_write, real_shard = [], Log.write, rendered.write_shard
    places = iter([("images", 1), ("tower", 2), ("stills", 3), ("clips", 1)])
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
    monkeypatch.setattr("animateanywhere.methods.context_anyone.data.PER_SHARD", 4)
    while ends != ("", 0):
        with pytest.raises(KeyError):
            cast_train(path, out)
        assert not (out / "base.toml").exists()
        ends = next(places, ("", 0))
    cast_train(path, out)
    assert len(shards) == len(set(shards))  # nothing was made twice
    for stage in ("tower", "stills", "clips"):
        assert values(out, stage, "loss") == values(trained, stage, "loss"), stage
    for part in ("transformer", "image_encoder"):
        one, other = weights(out, part), weights(trained, part)
        assert all(torch.equal(one[name], other[name]) for name in other), part
    shutil.rmtree(out / "transformer")
    with pytest.raises(UsageError, match="transformer is missing, though stage clips"):
        cast_train(path, out)
    assert not (out / "transformer").exists()
    with pytest.raises(UsageError, match="another recipe.*gap was 4 and is 5"):
        cast_train(recipe_of(tmp_path, tiny_base, **{"gap = 4": "gap = 5"}), out)


def test_the_paper_without_its_parts_is_trained_too(tiny_base: Path, tmp_path: Path) -> None:
    """What the ablation compares with: no emphasis, no gap, two ways, no second encoder, no
    reconstruction, no pose."""
    recipe = load_recipe(recipe_of(tmp_path, tiny_base))
    off = {"emphasis": False, "gap": 0, "one_way": False}
    cast = replace(recipe.cast, image_tokens=False, reconstruction=0.0, poses=False)
    (stage,) = (one for one in recipe.stage if one.name == "stills")
    changed = replace(
        recipe,
        cast=cast,
        stage=(replace(stage, train=(".*",)),),
        transformer=recipe.transformer | off,
    )
    base = load_cast_base(cast_train(changed, tmp_path / "plain"))
    assert "image_encoder" not in base.parts
    assert not [name for name in weights(base.folder, "transformer") if "emphasis" in name]
    assert values(base.folder, "stills", "loss") == values(base.folder, "stills", "diffusion")


def test_people_are_one_person_in_two_scenes() -> None:
    rule = Corpus(pictures=3, captions=2)
    (one,) = pairs.people(rule, range(7, 8), 2, 48, 8.0, 1)
    assert one.frames.shape == (2, 48, 48, 3) and one.pictures.shape == (3, 48, 48, 3)
    assert one.keypoints.shape == (2, 18, 3) and len(one.captions) == 4
    (again,) = pairs.people(rule, range(7, 8), 2, 48, 8.0, 1)
    assert (again.frames == one.frames).all() and (again.pictures == one.pictures).all()
    (other,) = pairs.people(rule, range(8, 9), 2, 48, 8.0, 1)
    assert (other.frames != one.frames).any() and other.words != one.words
    told, plain = one.captions[:2], one.captions[2:]
    assert all(" in " in text or "wearing" in text for text in told)
    assert all(len(text) < min(map(len, told)) for text in plain)


def test_references_differ_in_action_scene_light_and_framing_but_not_in_who(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of one identity each, also in the split that no stage is trained on."""
    seen: list[puppets.Spec] = []
    real = puppets.render_batch

    def render(specs: list[puppets.Spec], times: list[float], size: int) -> list[puppets.Clip]:
        seen.extend(specs)
        return real(specs, times, size)

    monkeypatch.setattr(puppets, "render_batch", render)
    for split in ("train", "held-out"):
        seen.clear()
        found = list(pairs.people(Corpus(pictures=6), range(4), 1, 24, 8.0, 0, split))
        assert len({one.pictures.tobytes() for one in found}) == 4
        for person in range(4):
            others = seen[6 * person : 6 * person + 6]
            assert len({spec.identity for spec in others}) == 1
            assert puppets.is_held_out(others[0].identity) == (split == "held-out")
            assert len({spec.scene for spec in others}) == 6
            assert all(spec.object.name == "none" for spec in others)
        heights = [spec.camera.scale * spec.identity.height for spec in seen]
        assert min(heights) < 0.8 and max(heights) > 1.2
        assert len({spec.motion.name for spec in seen}) > 4


def test_people_who_are_cut_out_are_of_one_size_and_in_one_place() -> None:
    """However they were taken, so that a small picture encoder learns what to see where."""
    found = list(pairs.people(Corpus(pictures=6), range(4), 1, 64, 8.0, 0))
    pictures = np.concatenate([one.pictures for one in found])
    plain = [p for p in pictures if len(np.unique(p[[0, 0, -1, -1], [0, -1, 0, -1]])) == 1]
    assert len(plain) > 15  # the rest are not cut out
    for picture in plain:
        rows, columns = (
            np.flatnonzero((picture != picture[0, 0]).any((axis, 2))) for axis in (1, 0)
        )
        assert max(np.ptp(rows), np.ptp(columns)) in range(54, 60)
        for inside in (rows, columns):
            assert abs(inside[0] + inside[-1] - 63) <= 3


def test_a_reference_shows_the_person_as_large_as_fits_in_the_middle() -> None:
    picture = np.random.default_rng(0).integers(256, size=(48, 64, 3), dtype=np.uint8)
    mask = np.zeros((48, 64))
    mask[5:25, 40:48] = 1
    size = Size(30, 22)
    shown = reference_picture(picture, mask, size)
    rows, columns = (np.flatnonzero((shown != 255).any((axis, 2))) for axis in (1, 0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (1, 20, 11, 18)
    assert (shown[1:21, 11:19] == picture[5:25, 40:48]).all()
    moved = reference_picture(
        np.roll(picture, (20, -30), (0, 1)), np.roll(mask, (20, -30), (0, 1)), size, 128
    )
    assert (np.where(shown == 255, 128, shown)[1:21, 11:19] == moved[1:21, 11:19]).all()
    assert (moved[:, :11] == 128).all()
    # All of a picture stays as it is
    square = picture[:, :48]
    assert (reference_picture(square, np.ones((48, 48)), Size(48, 48), room=0.0) == square).all()


def test_a_batch_is_what_the_stage_says(trained: Path, tiny_base: Path, tmp_path: Path) -> None:
    recipe = load_recipe(recipe_of(tmp_path, tiny_base))
    base, people = Run(recipe, trained).base(), open_shards(trained / "corpus" / "images")

    def drawn(passes: int, **changes: Any) -> list[Any]:
        stage = Stage("a", "cast", 1, batch=3, frames=2, **changes)
        read = rows(base, recipe, stage, 5, people)
        return [read(step_generator(5, number)) for number in range(passes)]

    many = drawn(24, dropout=0.5, text_dropout=0.3, pose_dropout=0.5)
    assert {None if b.pictures is None else b.pictures.shape[1] for b in many} == {None, 1, 2}
    prompts = [prompt for batch in many for prompt in batch.prompts]
    assert 5 < prompts.count("") < 40
    posed = [bool(row.any()) for batch in many for row in batch.poses]
    assert 20 < sum(posed) < 52
    one, again = many[3], drawn(4, dropout=0.5, text_dropout=0.3, pose_dropout=0.5)[3]
    assert torch.equal(one.latents, again.latents) and one.prompts == again.prompts
    assert one.latents.shape == (3, 2, 4, 8, 8) and one.weight.shape == (3, 2, 1, 8, 8)
    assert one.weight.min() == 1 and one.weight.max() == 4
    known = np.stack([people.rows(row, ["latents.npy"])[0] for row in range(len(people))])
    assert all(any(np.array_equal(row.half(), some) for some in known) for row in one.latents)
    # Without a reference the words tell the appearance
    told = {text for row in range(len(people)) for text in captions(people, row)[1]}
    for batch in drawn(8, dropout=1.0, text_dropout=0.0):
        assert batch.pictures is None and set(batch.prompts) <= told
    for batch in drawn(8, dropout=0.0, text_dropout=0.0, appearance=0.0):
        assert batch.pictures is not None and not set(batch.prompts) & told


def test_the_weight_of_a_latent_is_that_of_its_frames() -> None:
    frames = np.array([[4.0], [1.0], [2.0], [3.0], [6.0], [8.0], [0.0], [0.0], [0.0]])
    assert per_latent(frames, 3, 4)[:, 0].tolist() == [4.0, 3.0, 2.0]
    assert per_latent(frames, 9, 1) is frames and per_latent(frames[:1], 1, 4)[0] == 4


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("frames = 2\n", "frames = 3\n", "multiple of those of a patch, 2"),
        ("frames = 4\n", "frames = 6\n", "at most those of the base, 4"),
        ("clips = 3", "clips = 1", "clips of .corpus. must be at least 2"),
        ("dropout = 0.5", "dropout = 2.0", "dropout is a share"),
        ("reconstruction = 0.2", "reconstruction = -1.0", "reconstruction must be at least 0"),
        ("ffn_dim = 32", "ffn = 32", "unexpected keyword argument 'ffn'"),
        ("ffn_dim = 32", "text_dim = 32", "text_dim follows from the base"),
        ("patch_size = [2, 2, 2]", "patch_size = 2", "patch_size must be three numbers"),
        ("image_tokens = true", "image_tokens = false", "no picture encoder"),
        ("likeness", "liking", "likeness"),
    ],
)
def test_wrong_recipes_are_refused(
    tmp_path: Path, tiny_base: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        cast_train(recipe_of(tmp_path, tiny_base, **{old: new}), tmp_path / "out")
    assert not (tmp_path / "out" / "training").exists()


def test_bases_that_do_not_hold_together_are_refused(
    trained: Path, tiny_base: Path, tiny_swap: Path, tmp_path: Path
) -> None:
    for folder in (tiny_base, tiny_swap):
        with pytest.raises(UsageError, match="cannot make a video of the person of a picture"):
            load_cast_base(folder)
    with pytest.raises(UsageError, match="this base is for `aa cast`"):
        load_base(trained)
    file = "transformer/diffusion_pytorch_model.safetensors"
    tensors = load_file(trained / file)

    def refused(message: str, **changed: torch.Tensor | None) -> None:
        copy = shutil.copytree(trained, tmp_path / "copy", dirs_exist_ok=True)
        new = {name: value for name, value in (tensors | changed).items() if value is not None}
        save_file(new, copy / file, {"format": "pt"})
        with pytest.raises(UsageError, match=message):
            load_cast_base(copy)

    name = "blocks.1.ffn.net.2.weight"
    refused("weights of transformer are missing: blocks.1.ffn", **{name: None})
    refused("more.weight", **{"more.weight": torch.zeros(1)})
    refused("not finite", **{name: tensors[name] * float("nan")})
    refused("damaged", **{name: tensors[name][:1].clone()})
    copy = shutil.copytree(trained, tmp_path / "other")
    shutil.rmtree(copy / "image_encoder")
    with pytest.raises(UsageError, match="the transformer and the picture encoder are of two"):
        load_cast_base(copy)
    toml = (trained / "base.toml").read_text()
    for old, new, message in (
        ("likeness = 2.5", "likeness = -1", "likeness cannot be -1"),
        ('parts_hash = "', 'parts_hash = "0', "trained with another version"),
        ("size = 64", "size = 60", "size must be a multiple of 16"),
    ):
        assert old in toml
        copy = shutil.copytree(trained, tmp_path / "toml", dirs_exist_ok=True)
        (copy / "base.toml").write_text(toml.replace(old, new))
        with pytest.raises(UsageError, match=message):
            load_cast_base(copy)


def test_a_recipe_is_known_by_its_table(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    for text, known in ((" [ cast ]\n", True), ("cast.base = 'a'\n", True), ("#[cast]\n", False)):
        path.write_text(text)
        assert is_recipe(path) is known


def test_a_damaged_person_does_not_end_a_training(
    trained: Path, tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(trained, tmp_path / "out")
    recipe = load_recipe(recipe_of(tmp_path, tiny_base))
    people, base = open_shards(out / "corpus" / "images"), load_cast_base(out)
    draws_past_damage(lambda: rows(base, recipe, recipe.stage[1], 5, people), people, "latents.npy")
    said = capsys.readouterr().err.replace("\n", " ")
    assert said.count("the next person is taken in that one's place") == 1


def test_a_base_whose_creation_was_killed_gets_the_same_weights(
    tiny_base: Path, tmp_path: Path
) -> None:
    settings, out = load_recipe(recipe_of(tmp_path, tiny_base)), tmp_path / "out"
    create_cast_base(settings, out)
    whole = weights(out, "transformer")
    shutil.rmtree(out / "transformer")  # killed before it was there
    create_cast_base(settings, out)
    again = weights(out, "transformer")
    assert all(torch.equal(again[name], weight) for name, weight in whole.items())
