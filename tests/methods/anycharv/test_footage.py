"""The paper's four runs at its own architecture, on small networks that learn from footage."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from animateanywhere import puppets
from animateanywhere.commands.corpus import corpus_frames
from animateanywhere.commands.swap_train import swap_train
from animateanywhere.core.errors import UsageError
from animateanywhere.datasets.footage import APART
from animateanywhere.datasets.shard_corpus import open_shards, write_corpus
from animateanywhere.datasets.shards import Sample, write_shard
from animateanywhere.media import video
from animateanywhere.methods.anycharv.footage import draws, open_footage
from animateanywhere.methods.anycharv.settings import Corpus, load_recipe
from animateanywhere.methods.anycharv.swap_base import load_swap_base
from animateanywhere.pose.skeleton import Poses, poses_text
from tests.methods.anycharv.published import RECIPE, Theirs

SIDE, FRAMES, FPS = 64, 40, 8.0
STAGES = """
[corpus]
source = "FOOTAGE"
images = 4
clips = 2
scenes = 1
pictures = 1
fine_masks = 2
[[stage]]
name = "compose"
kind = "compose"
steps = 2
batch = 2
train = ["^unet", "^reference_unet", "^pose_guider"]
learning_rate = 1e-3
precision = "bf16"
dropout = 0.5
log_every = 1
[[stage]]
name = "boost"
kind = "boost"
steps = 2
batch = 2
train = ["^unet"]
learning_rate = 1e-3
precision = "fp16"
log_every = 1
[[stage]]
name = "motion"
kind = "compose"
steps = 2
batch = 1
frames = 5
train = ["motion_modules"]
learning_rate = 1e-3
precision = "bf16"
recompute = true
log_every = 1
[[stage]]
name = "boost-motion"
kind = "boost"
steps = 1
batch = 1
frames = 6
train = ["^unet"]
learning_rate = 1e-3
precision = "bf16"
recompute = true
log_every = 1
"""


def clip_files(seed: int, folder: Path, hidden: slice = slice(0)) -> dict[str, bytes]:
    """The files of a puppet's clip; the mask shows nobody in frames `hidden`."""
    spec = puppets.sample_spec(seed)
    clip = puppets.render(replace(spec, occluder=None), FRAMES, SIDE, FPS)
    masks = clip.masks.copy()
    masks[hidden] = 0
    meta = {"width": SIDE, "height": SIDE, "frames": FRAMES, "fps": FPS, "license": "cc0-1.0",
            "source": "puppets"}  # fmt: skip
    files = {
        "pose.json": poses_text(Poses(clip.keypoints, SIDE, SIDE, FPS)).encode(),
        "caption.txt": b"somebody\n", "meta.json": json.dumps(meta).encode(),
    }  # fmt: skip
    for name, frames in (("clip", clip.frames), ("mask", np.repeat(masks[..., None], 3, 3))):
        video.write(folder / "a.mp4", frames, FPS)
        files[f"{name}.mp4"] = (folder / "a.mp4").read_bytes()
    return files


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, place = tmp_path_factory.mktemp("footage"), tmp_path_factory.mktemp("clips")
    samples = [Sample(f"s{seed}", clip_files(seed, place)) for seed in range(3)]
    without = clip_files(3, place)
    del without["mask.mp4"]  # which is of no use
    gap = Sample("s4", clip_files(4, place, slice(2, FRAMES)))
    write_corpus(folder, [write_shard(folder, 0, [*samples, Sample("s3", without), gap])])
    return folder


def test_references_are_of_another_moment_and_squares_follow(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    footage = open_footage(corpus, 1, 32, FPS)
    assert [open_shards(corpus).key(row) for row in footage.rows] == ["s0", "s1", "s2", "s4"]
    rule = Corpus(scenes=1, pictures=1, images=8, clips=4)
    images = list(draws(footage, rule, range(8), 1, 0))
    (again,) = draws(footage, rule, range(3, 4), 1, 0)
    assert np.array_equal(again.truth, images[3].truth)  # by its number alone
    for one in images:
        assert one.truth.shape == (1, 1, 32, 32, 3) and one.pictures.shape == (1, 32, 32, 3)
        person = one.masks[0, 0] > 127
        assert 0.01 < person.mean() < 0.6
        rows = np.flatnonzero(person.any(1))
        assert rows[0] > 0 or rows[-1] < 31  # room around
        seen = one.keypoints[0, 0, :, 2] > 0.5
        assert (one.keypoints[0, 0, seen, :2] > -1).all()
        assert (one.pictures[0].reshape(-1, 3).max(1) == 0).mean() > 0.05  # on black
    clips = list(draws(footage, replace(rule, clips=8), range(8), 6, 0))
    assert all(one.truth.shape == (1, 6, 32, 32, 3) for one in clips)
    said = capsys.readouterr().err.replace("\n", " ")  # once, of several draws
    assert said.count("s4: the mask shows nobody in 6 frames in a row; the next clip") == 1
    assert APART < FRAMES
    with pytest.raises(UsageError, match="no clip with masks of at least 41 frames at 8"):
        open_footage(corpus, 41, 32, FPS)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Theirs(tmp_path_factory.mktemp("theirs")).folder


def recipe_of(folder: Path, source: Path, corpus: Path, **changes: str) -> Path:
    text = "seed = 3\n" + (RECIPE + STAGES).replace("HERE", str(source))
    text = text.replace("FOOTAGE", str(corpus))
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    path = folder / "small-swap.toml"
    path.write_text(text)
    return path


def weights(folder: Path, part: str) -> dict[str, torch.Tensor]:
    (file,) = (folder / part).glob("*.safetensors")
    return load_file(file)


def test_the_four_runs_train_what_the_paper_says(
    corpus: Path, source: Path, tmp_path: Path
) -> None:
    """Each run by itself, so that what it changed is known."""
    recipe = load_recipe(recipe_of(tmp_path, source, corpus))
    out, parts = tmp_path / "out", ("unet", "reference_unet", "pose_guider", "motion_adapter")
    swap_train(replace(recipe, stage=()), out)
    changed = {}
    for count in range(1, 5):
        before = {part: weights(out, part) for part in parts}
        swap_train(replace(recipe, stage=recipe.stage[:count]), out)
        moved = {part: weights(out, part) for part in parts}
        name = recipe.stage[count - 1].name
        changed[name] = {
            part for part in parts
            if any(not torch.equal(moved[part][n], w) for n, w in before[part].items())
        }  # fmt: skip
        lines = (out / "training" / name / "log.jsonl").read_text().splitlines()
        found = [json.loads(line)["loss"] for line in lines]
        assert len(found) == recipe.stage[count - 1].steps and all(0.05 < x < 20 for x in found)
    assert changed == {
        "compose": {"unet", "reference_unet", "pose_guider"}, "boost": {"unet"},
        "motion": {"motion_adapter"}, "boost-motion": {"unet", "motion_adapter"},
    }  # fmt: skip
    base = load_swap_base(out)
    assert base.config["hash"] == base.hash and base.config["sampler"] == "ddim"
    people = open_shards(out / "corpus" / "images")
    pairs = open_shards(out / "corpus" / "pairs-boost")
    length = len(people.rows(0, ["keypoints.npy"])[0])
    made = pairs.rows(0, ["made.npy"], 0, length)[0]
    assert made.shape == people.rows(0, ["truth.npy"], 0, length)[0].shape
    (out / "pose_guider").rename(tmp_path / "gone")
    with pytest.raises(UsageError, match="pose_guider is missing, though stage boost-motion"):
        swap_train(recipe, out)


WRONG = {
    "puppets": ({'"FOOTAGE"': '"puppets"'}, "must name a corpus"),
    "samples": ({"dropout = 0.5": "sample_every = 1"}, "remove sample_every"),
    "tower": ({'kind = "boost"\nsteps = 2': 'kind = "tower"\nsteps = 2'}, "encoder is not trained"),
    "pairs": ({'pairs = "generated"': 'pairs = "both"'}, 'pairs must be "generated"'),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_it_cannot_learn_is_refused_at_once(name: str, tmp_path: Path) -> None:
    changes, message = WRONG[name]
    text = RECIPE + STAGES
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        load_recipe(path)


def test_the_recipe_has_the_papers_values() -> None:
    recipe = load_recipe("sd15-swap")
    runs = [(stage.kind, stage.steps, stage.global_batch, stage.frames) for stage in recipe.stage]
    assert runs == [
        ("compose", 50_000, 64, 1), ("boost", 3_000, 64, 1), ("compose", 10_000, 8, 24),
        ("boost", 10_000, 8, 24),
    ]  # fmt: skip
    assert {stage.learning_rate for stage in recipe.stage} == {1e-5}
    assert recipe.corpus.images == 64_000 and recipe.full_size
    frames = corpus_frames("sd15-swap")
    assert frames.fps == 24 and frames.fewest == 24
    with pytest.raises(UsageError, match="learns from rendered people"):
        corpus_frames("mini-swap")
