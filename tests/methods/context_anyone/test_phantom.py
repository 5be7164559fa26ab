"""Phantom-Wan: held against its authors' algorithm, written out plainly, on a small network whose
weights are saved under Wan's own names; wrong weights are refused by name."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UniPCMultistepScheduler, WanTransformer3DModel
from safetensors.torch import load_file, save_file

from animateanywhere.backbones.base import Base, encode_text
from animateanywhere.backbones.vae import encode_frames
from animateanywhere.cli.main import main
from animateanywhere.commands.bases import bases
from animateanywhere.commands.cast_train import cast_train
from animateanywhere.core.errors import UsageError
from animateanywhere.media import video
from animateanywhere.methods.context_anyone.cast_base import load_cast_base
from animateanywhere.methods.context_anyone.generation import Options
from animateanywhere.methods.context_anyone.phantom import phantom_latents
from animateanywhere.methods.context_anyone.settings import load_recipe
from animateanywhere.preprocessing import character
from tests.commands.test_swap import write_character
from tests.conftest import once

FILE, SIDE = "Phantom-small.safetensors", 64
PROMPT, NEGATIVE = "the person walks on a beach", "a man in the snow"
RECIPE = """
seed = 1

[cast]
network = "phantom"
image_tokens = false
poses = false
likeness = 5.0
guidance_scale = 7.5
steps = 3
negative = "a man in the snow"

[model]
size = 64
frames = 9
fps = 8
vae = {_class_name = "AutoencoderKLWan", from = "WAN"}
text_encoder = {from = "WAN"}
transformer = {from = "THEIRS", file = "FILE", config = "THEIRS"}

[model.scheduler]
prediction_type = "flow_prediction"
use_flow_sigmas = true
flow_shift = 5.0
num_train_timesteps = 1000
"""
# Names in Wan's own code of what diffusers calls otherwise
OWN = (
    ("condition_embedder.time_embedder.linear_1", "time_embedding.0"),
    ("condition_embedder.time_embedder.linear_2", "time_embedding.2"),
    ("condition_embedder.text_embedder.linear_1", "text_embedding.0"),
    ("condition_embedder.text_embedder.linear_2", "text_embedding.2"),
    ("condition_embedder.time_proj", "time_projection.1"), ("attn1", "self_attn"),
    ("attn2", "cross_attn"), ("to_out.0", "o"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"),
    ("ffn.net.0.proj", "ffn.0"), ("ffn.net.2", "ffn.2"), ("norm2", "norm3"),
    ("proj_out", "head.head"),
)  # fmt: skip


def own_names(network: WanTransformer3DModel) -> dict[str, torch.Tensor]:
    found = {}
    for name, weight in network.state_dict().items():
        for theirs, own in OWN:
            name = name.replace(theirs, own)
        block = name.startswith("blocks.")
        name = name.replace("scale_shift_table", "modulation" if block else "head.modulation")
        found[name] = weight.clone()
    return found


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    torch.manual_seed(0)
    network = WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=4, text_dim=32,
        freq_dim=16, ffn_dim=32, num_layers=2,
    )  # fmt: skip
    for parameter in network.parameters():
        parameter.data = parameter.data + 0.1 * torch.randn(parameter.shape)
    network.save_pretrained(folder / "transformer")
    save_file(own_names(network), folder / FILE)
    return folder


def recipe_of(folder: Path, theirs: Path, wan: Path, **changes: str) -> Path:
    text = RECIPE
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    path = folder / "small-phantom.toml"
    path.write_text(
        text.replace("THEIRS", str(theirs)).replace("WAN", str(wan)).replace("FILE", FILE)
    )
    return path


@pytest.fixture(scope="module")
def gathered(tmp_path_factory: pytest.TempPathFactory, theirs: Path, tiny_wan: Path) -> Path:
    path = recipe_of(tmp_path_factory.mktemp("recipe"), theirs, tiny_wan)
    return once(
        tmp_path_factory, "phantom-base", lambda out: cast_train(path, out / "base")
    ) / "base"  # fmt: skip


@pytest.fixture(scope="module")
def base(gathered: Path) -> Base:
    return load_cast_base(gathered)


def pictures(count: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 255, (count, SIDE, SIDE, 3), dtype=np.uint8)


def plain(base: Base, shown: np.ndarray, seed: int, image: float, text: float) -> torch.Tensor:
    """The algorithm of the authors' code for 9 frames and 3 steps, in plain lines."""
    network, words = base.denoiser, encode_text(base, [PROMPT, NEGATIVE])
    references = encode_frames(base.vae, shown).transpose(0, 1)[None]  # (1, C, R, h, w)
    count = references.shape[2]
    noise = torch.randn(1, count + 3, 4, 8, 8, generator=torch.Generator().manual_seed(seed))
    latents = torch.cat([noise[:, count:], noise[:, :count]], 1).transpose(1, 2)
    scheduler = UniPCMultistepScheduler.from_config(base.scheduler.config)
    scheduler.set_timesteps(3)
    for t in scheduler.timesteps:
        clip, time = latents[:, :, :-count], t.reshape(1)
        with_pictures = torch.cat([clip, references], 2)
        without = torch.cat([clip, torch.zeros_like(references)], 2)
        both = network(with_pictures, time, words[:1]).sample
        picture = network(with_pictures, time, words[1:]).sample
        nothing = network(without, time, words[1:]).sample
        flow = nothing + image * (picture - nothing) + text * (both - picture)
        latents = scheduler.step(flow, t, latents).prev_sample
    return latents[0, :, :-count].transpose(0, 1)


@torch.no_grad()
def test_latents_are_those_of_the_authors_algorithm(base: Base) -> None:
    for count, options in ((1, Options(seed=3)), (2, Options(seed=4, likeness=2, guidance=3))):
        wanted = plain(base, pictures(count), options.seed, options.likeness or 5,
                       options.guidance or 7.5)  # fmt: skip
        ours = phantom_latents(base, PROMPT, pictures(count), 9, options)
        assert ours.shape == wanted.shape == (3, 4, 8, 8)
        assert (ours - wanted).norm() / wanted.norm() < 1e-4
        other = phantom_latents(base, PROMPT, pictures(count, 5), 9, options)
        assert (other - wanted).norm() / wanted.norm() > 1e-3


def test_the_license_is_said_when_the_parts_are_gathered(
    theirs: Path, tiny_wan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recipe_of(tmp_path, theirs, tiny_wan)
    assert main(["base-train", str(path), "--out", str(tmp_path / "out")]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "license of the weights of small-phantom: not stated in the recipe; read" in said
    before = (tmp_path / "out/base.toml").read_text()
    assert main(["base-train", str(path), "--out", str(tmp_path / "out")]) == 0  # nothing to do
    assert (tmp_path / "out/base.toml").read_text() == before


def test_weights_in_wans_own_names_are_those_of_diffusers(gathered: Path, theirs: Path) -> None:
    (file,) = (gathered / "transformer").glob("*.safetensors")
    (own,) = (theirs / "transformer").glob("*.safetensors")
    made, known = load_file(file), load_file(own)
    assert made.keys() == known.keys()
    assert all(torch.equal(made[name], known[name].bfloat16()) for name in known)


def without_one(found: dict[str, torch.Tensor]) -> None:
    del found["blocks.1.self_attn.q.weight"]


def of_vace(found: dict[str, torch.Tensor]) -> None:
    found["vace_blocks.0.before_proj.weight"] = torch.zeros(2, 2)


def half(found: dict[str, torch.Tensor]) -> None:
    for name in [name for name in found if name.startswith("blocks.1.")]:
        del found[name]


def wider(found: dict[str, torch.Tensor]) -> None:
    found["blocks.0.ffn.0.weight"] = torch.zeros(64, 24)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_one, r"it lacks weights: blocks\.1\.attn1\.to_q\.weight$"),
        (of_vace, r"it has unknown weights: vace_blocks\.0\.proj_in\.weight"),
        (half, r"it lacks weights: blocks\.1\.\S+ and \d+ more"),
        (wider, r"blocks\.0\.ffn\.net\.0\.proj\.weight is \(64, 24\), where \(32, 24\) is"),
    ],
)
def test_wrong_and_half_matching_weights_are_refused_by_name(
    theirs: Path, tiny_wan: Path, tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], None],
    message: str,
) -> None:  # fmt: skip
    found = load_file(theirs / FILE)
    change(found)
    (tmp_path / "transformer").symlink_to(theirs / "transformer")
    save_file(found, tmp_path / FILE)
    with pytest.raises(UsageError, match=message):
        cast_train(recipe_of(tmp_path, tmp_path, tiny_wan), tmp_path / "out")
    assert not (tmp_path / "out" / "transformer").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"FILE": "Phantom.pth"}, "pickled weights"),
        ({"FILE": "none.safetensors"}, "it has no"),
        ({'file = "FILE", ': ""}, "needs from, file and config; see file"),
        ({"poses = false": "poses = true"}, "no image_tokens and no poses"),
        ({"[model]": '[[stage]]\nname = "a"\nkind = "cast"\nsteps = 1\n[model]'}, "not trained"),
    ],
)
def test_recipes_that_cannot_be_meant_are_refused(
    theirs: Path, tiny_wan: Path, tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        cast_train(recipe_of(tmp_path, theirs, tiny_wan, **changes), tmp_path / "out")


def test_aa_cast_makes_a_video_by_it(
    gathered: Path, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(character, "SIDE", 96)
    write_character(place / "a.png")
    run = ["cast", "a.png", PROMPT, "--base", str(gathered), "--frames", "5"]
    assert main([*run, "--out", "x.mp4"]) == 0
    assert video.read(place / "x.mp4").frames.shape == (5, SIDE, SIDE, 3)
    assert main([*run, "--out", "y.mp4", "--likeness", "2"]) == 0
    assert (place / "x.mp4").read_bytes() != (place / "y.mp4").read_bytes()
    assert main([*run, "--pose", "a.poses.json"]) == 2
    assert "follows no pose: leave out --pose" in " ".join(capsys.readouterr().err.split())


def test_the_recipe_is_listed() -> None:
    recipe = load_recipe("phantom-1.3b")
    assert recipe.published and recipe.cast.guidance_scale == 7.5
    (row,) = (one for one in bases() if one.name == "phantom-1.3b")
    assert row.videos == "512 px, 81 frames, for `aa cast`" and "downloads" in row.made
