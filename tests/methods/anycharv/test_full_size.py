"""The paper's own network, from weights under their published names, beside a plain one."""

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from animateanywhere.backbones import clip_image
from animateanywhere.backbones.base import Base
from animateanywhere.backbones.low_memory import DTYPES, to_device
from animateanywhere.commands.swap_train import swap_train
from animateanywhere.core.errors import UsageError
from animateanywhere.methods.anycharv import full_size, generation, method
from animateanywhere.methods.anycharv.generation import Options
from animateanywhere.methods.anycharv.settings import load_recipe
from animateanywhere.methods.anycharv.swap_base import load_swap_base
from tests.methods.anycharv.published import SIDE, WIDTH, Theirs, recipe_of, run


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Theirs:
    return Theirs(tmp_path_factory.mktemp("theirs"))


@pytest.fixture(scope="module")
def folder(theirs: Theirs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("gathered")
    return swap_train(recipe_of(place, theirs.folder), place / "small")


@pytest.fixture(scope="module")
def base(folder: Path) -> Base:
    return load_swap_base(folder)


@torch.no_grad()
def test_it_predicts_what_their_network_does(base: Base, theirs: Theirs) -> None:
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(1)
    picture = torch.randn(1, 4, SIDE, SIDE, generator=generator)
    token = torch.randn(1, 1, WIDTH, generator=generator)
    x, scene = (torch.randn(6, 4, SIDE, SIDE, generator=generator) for _ in range(2))
    region = (torch.rand(6, 1, SIDE, SIDE, generator=generator) > 0.5).float()
    drawn = rng.integers(0, 255, (6, 32, 32, 3), np.uint8)
    poses = theirs.features(drawn)
    _, seen = run(theirs.reader, picture, 0, token, 1, None, None, {})
    both = torch.cat([x, scene, region], 1)
    wanted, _ = run(theirs.unet, both, 601, token, 6, poses, seen, theirs.motion)
    nobody, _ = run(theirs.unet, both, 601, torch.zeros_like(token), 6, poses, None, theirs.motion)

    network = method.build(base, True)
    ours = base.family.encode_pose(base, drawn, False)
    torch.testing.assert_close(ours, poses, atol=1e-5, rtol=1e-5)
    character = generation.read_latents(base, picture[None], None, token[None])
    given = method.Scene(scene[None], region[None], ours[None])
    t, nothing = torch.tensor([601]), method.words(base)
    found = method.predict(network, x[None], t, given, nothing, character)[0]
    assert wanted.abs().mean() > 0.1
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    found = method.predict(network, x[None], t, given, nothing, None)[0]
    torch.testing.assert_close(found, nobody, atol=1e-5, rtol=1e-5)
    assert (wanted - nobody).abs().max() > 1e-3


@torch.no_grad()
def test_an_image_is_a_clip_without_temporal_layers(base: Base, theirs: Theirs) -> None:
    x = torch.randn(1, 1, 9, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    poses = torch.ones(1, 1, 32, SIDE, SIDE)
    wanted, _ = run(theirs.unet, x[0], 9, torch.zeros(1, 1, WIDTH), 1, poses[0], None, {})
    given = method.Scene(x[:, :, 4:8], x[:, :, 8:], poses)
    network = method.build(base, False)
    found = method.predict(network, x[:, :, :4], torch.tensor([9]), given, method.words(base), None)
    torch.testing.assert_close(found[0], wanted, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_token_is_that_of_clip_and_the_reference_fills_the_frame(
    base: Base, theirs: Theirs
) -> None:
    rng = np.random.default_rng(3)
    picture = rng.integers(1, 255, (40, 30, 3), np.uint8)
    mask = np.zeros((40, 30), np.float32)
    mask[5:35, 10:20] = 1
    mask[5:9, 10:12] = 0  # a corner
    shown = full_size.cut_outs(base, [picture], [mask])
    assert shown.shape == (1, 32, 32, 3)
    assert (shown[0, :3, :3] == 0).all() and (shown[0, 10:].reshape(-1, 3).max(0) > 100).all()
    found = full_size.image_tokens(base.parts["image_encoder"], shown)
    assert found.shape == (1, 1, WIDTH)
    pixels = torch.from_numpy(shown).permute(0, 3, 1, 2) / 255  # 32 x 32, as the encoder wants
    mean, deviation = (
        torch.tensor(v)[:, None, None] for v in (clip_image.MEAN, clip_image.DEVIATION)
    )
    wanted = theirs.clip.visual_projection(
        theirs.clip.vision_model((pixels - mean) / deviation).pooler_output
    )
    torch.testing.assert_close(found[:, 0], wanted, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="empty"):
        full_size.cut_outs(base, [picture], [mask * 0])


def test_a_long_scene_is_swapped_in_windows_with_the_same_bytes_again(base: Base) -> None:
    rng = np.random.default_rng(4)
    shown = rng.integers(0, 255, (9, 32, 32, 3), np.uint8)
    region = np.zeros((9, 32, 32), np.float32)
    region[:, 9:29, 7:22] = 1
    poses = np.concatenate([rng.uniform(5, 28, (9, 18, 2)), np.ones((9, 18, 1))], 2)
    character = generation.read_character(base, [shown[0]], [region[0]], [poses[0]])
    found = generation.swap_latents(base, character, shown, region, poses, Options(seed=1))
    assert found.shape == (9, 4, SIDE, SIDE) and found.isfinite().all()
    again = generation.swap_latents(base, character, shown, region, poses, Options(seed=1))
    assert torch.equal(again, found)
    other = generation.read_character(base, [shown[1]], [region[0]], [poses[0]])
    apart = generation.swap_latents(base, other, shown, region, poses, Options(seed=1)) - found
    assert (apart.abs().flatten(1).amax(1) > 1e-4).all()
    cells = generation.cells_of(base, region, SIDE, SIDE)
    assert set(cells.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("size", ["full", "mini"])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_as_on_a_gpu_is_near(
    folder: Path, tiny_swap: Path, size: str, precision: str
) -> None:
    """Weights and passes in half precision, the scene's pose features kept apart."""
    folder = folder if size == "full" else tiny_swap
    base, half = load_swap_base(folder), load_swap_base(folder)
    rng = np.random.default_rng(6)
    shown = rng.integers(0, 255, (8, 32, 32, 3), np.uint8)
    region = np.ones((8, 32, 32), np.float32)
    poses = np.concatenate([rng.uniform(5, 28, (8, 18, 2)), np.ones((8, 18, 1))], 2)
    found = []
    for one, passes in ((base, nullcontext()), (half, to_device(half, "cpu", precision))):
        with passes:
            character = generation.read_character(one, [shown[0]], [region[0]], [poses[0]])
            found.append(
                generation.swap_latents(one, character, shown, region, poses, Options(seed=1))
            )
    assert half.denoiser.conv_in.weight.dtype == DTYPES[precision]
    assert found[1].dtype == torch.float32
    apart = (found[1] - found[0]).abs().mean() / found[0].abs().mean()
    assert 0 < apart < (0.1 if precision == "bf16" else 0.02)


def test_what_is_gathered_has_the_conventions_of_its_training(base: Base) -> None:
    config = base.config
    assert config["command"] == "swap" and config["grow"] == 0 and config["guidance_scale"] == 3
    assert config["sampler"] == "ddim" and config["keep_scene"] is False
    assert generation.guidance_rescale(base) == 0
    assert config["hash"] == base.hash and base.parts["motion_adapter"].config["norm_each_frame"]


Change = Callable[[Path], None]


def weights_in(part: str, change: Callable[[dict[str, Tensor]], object]) -> Change:
    def apply(folder: Path) -> None:
        (file,) = (folder / part).glob("*.safetensors")
        found = load_file(file)
        change(found)
        save_file(found, file, {"format": "pt"})

    return apply


def config_in(part: str, **values: Any) -> Change:
    def apply(folder: Path) -> None:
        file = folder / part / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return apply


def pickled(folder: Path) -> None:
    file = folder / "denoising_unet" / "diffusion_pytorch_model.safetensors"
    file.rename(file.with_suffix(".bin"))


def truncated(folder: Path) -> None:
    file = folder / "reference_unet" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])


FIRST = "conv_in.weight"
WRONG: dict[str, tuple[Change, str]] = {
    "missing": (
        weights_in("denoising_unet", lambda w: w.pop(FIRST)),
        "denoising_unet: lacks weights: conv_in.weight$",
    ),
    "half": (
        weights_in("denoising_unet", lambda w: [w.pop(n) for n in list(w) if "motion" in n]),
        "denoising_unet: lacks weights: .*motion_modules.* and .* more",
    ),
    "foreign": (
        weights_in("pose_guider", lambda w: w.update({"a.b": torch.zeros(1)})),
        "pose_guider.*has unknown weights: a.b",
    ),
    "shape": (
        weights_in("reference_unet", lambda w: w.update({FIRST: torch.zeros(32, 9, 3, 3)})),
        "reference_unet.*conv_in.weight is .32, 9, 3, 3., where .32, 4, 3, 3. is needed",
    ),
    "nan": (weights_in("denoising_unet", lambda w: w[FIRST].fill_(torch.nan)), "is not finite"),
    "pickle": (pickled, "unet.*no weights as .safetensors; pickled ones .* are not read"),
    "truncated": (truncated, "cannot load reference_unet"),
    "another network": (
        config_in("denoising_unet", use_inflated_groupnorm=False), "use_inflated_groupnorm = False"
    ),
    "no config": (config_in("pose_guider", block_out_channels=None), "not of a PoseGuider"),
    "of clip": (
        weights_in("clip", lambda w: w["visual_projection.weight"].fill_(torch.inf)),
        "clip: visual_projection.weight is not finite",
    ),
    "not of clip": (
        weights_in("clip", lambda w: w.pop("visual_projection.weight")),
        "clip: weights of clip are missing: visual_projection.weight",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_weights_that_do_not_fit_are_refused_in_a_line(
    name: str, theirs: Theirs, tmp_path: Path
) -> None:
    source = shutil.copytree(theirs.folder, tmp_path / "source")
    change, message = WRONG[name]
    change(source)
    with pytest.raises(UsageError, match=message) as caught:
        swap_train(recipe_of(tmp_path, source), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "base.toml").exists()


def test_a_recipe_names_all_parts(theirs: Theirs, tmp_path: Path) -> None:
    path = recipe_of(tmp_path, theirs.folder)
    path.write_text(path.read_text().replace("pose_guider = ", "controlnet = "))
    with pytest.raises(UsageError, match="has the tables .* see pose_guider"):
        load_recipe(path)


def test_the_recipe_that_ships_gathers_what_is_published() -> None:
    recipe = load_recipe("anycharv")
    assert recipe.full_size and not recipe.stage
    assert recipe.model.unet == {"from": "harriswen/AnyCharV", "subfolder": "denoising_unet"}
    assert recipe.model.frames == 24 and recipe.model.sampler == "ddim"
