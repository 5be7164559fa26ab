"""The paper at full size, on a small network of Wan's classes that learns from footage."""

import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import WanTransformer3DModel
from PIL import Image
from safetensors.torch import load_file
from transformers import CLIPVisionConfig, CLIPVisionModel

from animateanywhere import puppets
from animateanywhere.backbones.base import encode_text
from animateanywhere.cli.main import main
from animateanywhere.commands.bases import bases
from animateanywhere.commands.cast_train import cast_train
from animateanywhere.commands.corpus import corpus_frames
from animateanywhere.core.errors import UsageError
from animateanywhere.core.frame_size import Size
from animateanywhere.datasets.footage import APART
from animateanywhere.datasets.shard_corpus import open_shards, write_corpus
from animateanywhere.datasets.shards import Sample, write_shard
from animateanywhere.media import video
from animateanywhere.methods.context_anyone.cast_base import load_cast_base
from animateanywhere.methods.context_anyone.footage import (
    _apart,
    draws,
    open_footage,
)
from animateanywhere.methods.context_anyone.settings import Corpus, load_recipe
from animateanywhere.pose.skeleton import Poses, poses_text
from animateanywhere.preprocessing import character
from animateanywhere.training.log import Log
from tests.commands.test_swap import write_character
from tests.conftest import once

SIDE, FPS, FRAMES = 64, 8.0, 9
SQUARE = Size(SIDE, SIDE)
LONG = 52
RECIPE = """
seed = 3
[cast]
steps = 2
reconstruction = 0.2
likeness = 2.0
guidance_scale = 2.0
[transformer]
gap = 4
[corpus]
source = "FOOTAGE"
clips = 6
pictures = 2
[model]
size = 64
frames = 9
fps = 8.0
vae = {_class_name = "AutoencoderKLWan", from = "WAN"}
text_encoder = {from = "WAN"}
transformer = {from = "THEIRS"}
image_encoder = {from = "THEIRS"}
[model.scheduler]
prediction_type = "flow_prediction"
use_flow_sigmas = true
flow_shift = 3.0
[[stage]]
name = "wake"
kind = "cast"
steps = 3
batch = 2
frames = 5
dropout = 0.4
learning_rate = 1e-3
train = ["emphasis", "image_embedder", "add_[kv]_proj", "norm_added_k", "pose_embedding"]
log_every = 1
save_every = 2
[[stage]]
name = "all"
kind = "cast"
steps = 3
batch = 2
frames = 9
learning_rate = 1e-3
train = ["^transformer"]
precision = "bf16"
recompute = true
log_every = 1
save_every = 2
"""


def clip_files(seed: int, folder: Path, frames: int) -> dict[str, bytes]:
    """The files of a puppet's clip."""
    clip = puppets.render(replace(puppets.sample_spec(seed), occluder=None), frames, SIDE, FPS)
    meta = {"width": SIDE, "height": SIDE, "frames": frames, "fps": FPS, "license": "cc0-1.0",
            "source": "puppets"}  # fmt: skip
    files = {
        "pose.json": poses_text(Poses(clip.keypoints, SIDE, SIDE, FPS)).encode(),
        "caption.txt": b"a man on a beach\na woman in a room walks\n",
        "meta.json": json.dumps(meta).encode(),
    }
    masks = np.repeat(clip.masks[..., None], 3, 3)
    for name, shown in (("clip", clip.frames), ("mask", masks)):
        video.write(folder / "a.mp4", shown, FPS)
        files[f"{name}.mp4"] = (folder / "a.mp4").read_bytes()
    return files


def png(picture: np.ndarray) -> bytes:
    out = BytesIO()
    Image.fromarray(picture).save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, place = tmp_path_factory.mktemp("footage"), tmp_path_factory.mktemp("clips")
    own = clip_files(1, place, FRAMES)
    red = np.zeros((40, 20, 4), np.uint8)
    red[10:30, 5:15] = (255, 0, 0, 255)  # a cut-out
    own |= {"reference0.png": png(red), "reference1.png": png(np.full((8, 8, 3), 9, np.uint8))}
    without = clip_files(2, place, FRAMES)
    del without["mask.mp4"]  # which is of no use
    samples = [
        Sample("long", clip_files(0, place, LONG)),
        Sample("own", own),
        Sample("no", without),
    ]
    write_corpus(folder, [write_shard(folder, 0, samples)])
    return folder


def test_references_are_given_pictures_or_of_another_moment(corpus: Path) -> None:
    footage = open_footage(corpus, FRAMES, SQUARE, FPS)
    assert [open_shards(corpus).key(row) for row in footage.rows] == ["long", "own"]
    rule = Corpus(source="x", clips=8, pictures=2)
    found = list(draws(footage, rule, range(8), FRAMES, SQUARE, 0))
    (again,) = draws(footage, rule, range(5, 6), FRAMES, SQUARE, 0)
    assert np.array_equal(again.frames, found[5].frames)  # by its number alone
    given = [one for one in found if (one.pictures == (255, 0, 0)).all(-1).any()]
    assert len(given) == 4
    for one in given:
        red = (one.pictures == (255, 0, 0)).all(-1).sum((1, 2))
        dark = (one.pictures < 60).all(-1).sum((1, 2))
        assert sorted(red > 900) == [False, True] and sorted(dark > 2000) == [False, True]
    whole = footage.read(0)
    assert len(whole.frames) == LONG and whole.masks is not None
    for one in found:
        assert one.frames.shape == (FRAMES, SIDE, SIDE, 3) and len(one.captions) == 2
        assert one.keypoints.shape == (FRAMES, 18, 3) and one.pictures.shape == (2, SIDE, SIDE, 3)
        if any(one is other for other in given):
            continue
        assert ((one.pictures == 255).all(-1).mean((1, 2)) > 0.2).all()  # cut out, on white
        starts = [n for n in range(LONG) if np.array_equal(whole.frames[n], one.frames[0])]
        assert starts
    # The moment is far from what is shown: a mask tells which frames may be taken
    for first in (0, 20, LONG - FRAMES):
        masks = whole.masks.copy()
        near = np.maximum(first - np.arange(LONG), np.arange(LONG) - (first + FRAMES - 1))
        far = near >= min(APART, int(near.max()))
        masks[far] = 0
        rng = np.random.default_rng(0)
        assert far[_apart(whole.masks, first, FRAMES, 8, rng)].all()
        assert not far[_apart(masks, first, FRAMES, 8, rng)].any()
    with pytest.raises(UsageError, match="no clip of at least 60 frames at 8 frames per second"):
        open_footage(corpus, 60, SQUARE, FPS)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small networks of the published classes."""
    folder = tmp_path_factory.mktemp("theirs")
    torch.manual_seed(0)
    WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=4, text_dim=32,
        freq_dim=16, ffn_dim=32, num_layers=2,
    ).save_pretrained(folder / "transformer")  # fmt: skip
    CLIPVisionModel(CLIPVisionConfig(
        hidden_size=20, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        image_size=28, patch_size=14,
    )).save_pretrained(folder / "image_encoder")  # fmt: skip
    return folder


def recipe_of(folder: Path, theirs: Path, wan: Path, corpus: Path, **changes: str) -> Path:
    text = RECIPE.replace("THEIRS", str(theirs)).replace("WAN", str(wan))
    text = text.replace("FOOTAGE", str(corpus))
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    path = folder / "small-cast.toml"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, theirs: Path, tiny_wan: Path, corpus: Path
) -> Path:
    path = recipe_of(tmp_path_factory.mktemp("recipe"), theirs, tiny_wan, corpus)
    return once(
        tmp_path_factory, "trained-cast-wan", lambda out: cast_train(path, out / "cast")
    ) / "cast"  # fmt: skip


def weights(folder: Path, part: str = "transformer") -> dict[str, torch.Tensor]:
    (file,) = (folder / part).glob("*.safetensors")
    return load_file(file)


def losses(out: Path, stage: str) -> list[float]:
    lines = (out / "training" / stage / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def test_new_parts_learn_first_then_all(
    trained: Path, theirs: Path, tiny_wan: Path, corpus: Path, tmp_path: Path
) -> None:
    for stage in ("wake", "all"):
        found = losses(trained, stage)
        assert len(found) == 3 and all(0.05 < one < 20 for one in found), stage
    base = load_cast_base(trained)
    assert base.config["hash"] == base.hash and "parts" not in base.config
    assert "rendered" not in base.config and base.config["likeness"] == 2.0
    assert encode_text(base, ["a man"]).shape == (1, 512, 32)  # as Wan saw prompts
    recipe = load_recipe(recipe_of(tmp_path, theirs, tiny_wan, corpus))
    woken = cast_train(replace(recipe, stage=recipe.stage[:1]), tmp_path / "woken")
    before, after, last = weights(theirs), weights(woken), weights(trained)
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    assert any(not torch.equal(last[name], weight) for name, weight in before.items())
    for name in ("emphasis.to_out.0.weight", "attn2.add_v_proj.weight"):
        assert after[f"blocks.0.{name}"].abs().max() > 0, name  # it began at zero
    assert after["pose_embedding.weight"].abs().max() > 0
    encoder, own = weights(trained, "image_encoder"), weights(theirs, "image_encoder")
    assert all(torch.equal(encoder[name], own[name]) for name in own)


def test_a_killed_run_goes_on_to_the_same_weights(
    trained: Path, theirs: Path, tiny_wan: Path, corpus: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    path, out, real = recipe_of(tmp_path, theirs, tiny_wan, corpus), tmp_path / "cast", Log.write
    places = [("wake", 3), ("all", 3)]

    def write(self: Log, step: int, values: dict[str, float]) -> None:
        real(self, step, values)
        if places and (self.stage.name, step) == places[0]:
            raise KeyError("ended")

    monkeypatch.setattr(Log, "write", write)
    while places:
        with pytest.raises(KeyError):
            cast_train(path, out)
        places.pop(0)
    cast_train(path, out)
    for stage in ("wake", "all"):
        assert losses(out, stage) == losses(trained, stage)
    one, other = weights(out), weights(trained)
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_aa_cast_makes_a_video_by_it(
    trained: Path, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(character, "SIDE", 96)
    write_character(place / "a.png")
    run = ["cast", "a.png", "the person walks", "--base", str(trained), "--frames", "5"]
    assert main([*run, "--out", "x.mp4"]) == 0
    assert video.read(place / "x.mp4").frames.shape == (5, 64, 64, 3)
    assert main([*run, "--out", "y.mp4", "--likeness", "5"]) == 0
    assert (place / "x.mp4").read_bytes() != (place / "y.mp4").read_bytes()
    assert "rendered people alone" not in capsys.readouterr().err


WRONG = {
    "puppets": ({'"FOOTAGE"': '"puppets"'}, "must name a corpus"),
    "samples": ({"dropout = 0.4": "sample_every = 1"}, "remove sample_every"),
    "stills": ({"frames = 5": "frames = 1"}, "frames must be at least 2"),
    "network": ({"gap = 4": "num_layers = 4"}, "has only gap, one_way, emphasis"),
    "parts": ({'image_encoder = {from = "THEIRS"}': ""}, "see image_encoder"),
    "source": ({'transformer = {from = "THEIRS"}': "transformer = {a = 1}"}, "name its source"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_it_cannot_learn_is_refused_at_once(name: str, tmp_path: Path) -> None:
    changes, message = WRONG[name]
    text = RECIPE
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "wrong.toml").write_text(text)
    with pytest.raises(UsageError, match=message):
        load_recipe(tmp_path / "wrong.toml")


def test_the_recipe_is_listed_and_takes_corpora() -> None:
    recipe = load_recipe("cast-wan")
    assert recipe.full_size and sum(stage.steps for stage in recipe.stage) == 9_000
    assert {stage.global_batch for stage in recipe.stage} == {32}
    (row,) = (one for one in bases() if one.name == "cast-wan")
    assert row.videos == "512 px, 81 frames, for `aa cast`" and "trains 9,000 steps" in row.made
    frames = corpus_frames("cast-wan")
    assert frames.fps == 16 and frames.fewest == 81
    with pytest.raises(UsageError, match="learns from rendered people"):
        corpus_frames("mini-cast")
