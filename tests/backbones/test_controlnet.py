"""Bases with a ControlNet: public parts, no base training."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AnimateDiffControlNetPipeline,
    AutoencoderKL,
    DDIMScheduler,
    DiffusionPipeline,
    WanVACEPipeline,
)
from PIL import Image
from safetensors.torch import load_file

from animateanywhere.backbones.base import (
    Base,
    encode_poses,
    encode_text,
    hash_of,
    load_base,
    write_base_toml,
)
from animateanywhere.backbones.create import create_base
from animateanywhere.backbones.personal_weights import read_metadata
from animateanywhere.backbones.spec import Model
from animateanywhere.cli.main import main
from animateanywhere.commands.base_train import base_train
from animateanywhere.commands.bases import bases
from animateanywhere.commands.generate import GenerateOptions, generate
from animateanywhere.commands.personalize import PersonalizeOptions, personalize
from animateanywhere.core.paths import EXAMPLES
from animateanywhere.diffusion.sampling import make_scheduler, sample
from animateanywhere.methods.animate_anywhere import method
from animateanywhere.methods.animate_anywhere.batch import Conditions
from animateanywhere.methods.animate_anywhere.generation import Sampling, render_latents
from animateanywhere.methods.animate_anywhere.settings import Loss, load_recipe

Pictures = Callable[[int], np.ndarray]
CLIP, POSE = EXAMPLES / "reference.mp4", EXAMPLES / "driving.mp4"


@pytest.fixture
def folder(tiny_controlnet: Path) -> Path:
    return tiny_controlnet


def test_a_fresh_one_changes_nothing_and_no_input_is_widened(
    pictures: Pictures, tmp_path: Path, controlnet_model: Model
) -> None:
    create_base(controlnet_model, tmp_path, ["a man"])
    write_base_toml(tmp_path, controlnet_model.base_toml() | {"name": "led"})
    base = load_base(tmp_path)
    assert base.denoiser.config["in_channels"] == 4
    x, text = torch.randn(1, 2, 4, 8, 8), encode_text(base, ["a man"])
    poses = encode_poses(base, pictures(2))[None]
    assert poses.shape == (1, 2, 3, 64, 64) and poses.dtype == torch.uint8
    for video in (False, True):
        unet = method.build(base, Loss(guide=False), video).eval()
        with torch.no_grad():
            led = base.family.predict(unet, x, torch.tensor([500]), poses, text)
            sample = x.transpose(1, 2) if video else x[0]
            states = text.expand(2, -1, -1)
            alone = unet(sample, torch.tensor([500] * (1 if video else 2)), states).sample
        torch.testing.assert_close(led[0], alone[0].transpose(0, 1) if video else alone)


def test_the_same_latents_as_diffusers_own_pipeline(pictures: Pictures, folder: Path) -> None:
    """AnimateDiff with a ControlNet, as in AnimateDiffControlNetPipeline."""
    base = load_base(folder)
    drawn, steps, scale = pictures(4), 4, 2.0
    pipe = AnimateDiffControlNetPipeline(
        base.vae, base.text_encoder, base.tokenizer, base.denoiser, base.parts["motion_adapter"],
        base.parts["controlnet"], make_scheduler(base.scheduler.config, "ddim"),
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    noise = torch.randn(1, 4, 4, 8, 8, generator=torch.Generator().manual_seed(7))
    theirs = pipe(
        "a man on a beach", num_frames=4, height=64, width=64, num_inference_steps=steps,
        guidance_scale=scale, negative_prompt="", latents=noise.transpose(1, 2).clone(),
        conditioning_frames=[Image.fromarray(frame) for frame in drawn], output_type="latent",
    ).frames[0]  # fmt: skip
    unet = method.build(base, Loss(guide=False), video=True).eval()
    ours = _walk(base, unet, drawn, noise, steps, scale)
    # Relative to the norm: untrained weights amplify the rounding of single values beyond 1e-4
    assert (ours - theirs.transpose(0, 1)).norm() < 1e-4 * theirs.norm()


def _walk(
    base: Base, unet: Any, drawn: np.ndarray, noise: torch.Tensor, steps: int, scale: float
) -> torch.Tensor:
    """Ours by DDIM; without rescaling, which theirs does not know."""
    with torch.no_grad():
        prompted, empty = encode_text(base, ["a man on a beach", ""]).split(1)
    conditions = Conditions(encode_poses(base, drawn)[None], prompted, empty)
    denoiser = method.denoiser(base.family, unet, conditions, scale, rescale=0.0)
    return sample(denoiser, noise, make_scheduler(base.scheduler.config, "ddim"), steps)[0]


def test_a_person_is_learned_and_the_controlnet_stays(folder: Path, place: Path) -> None:
    recipe = load_recipe("personalize-tiny")
    weights = personalize(
        CLIP,
        "sks",
        PersonalizeOptions(
            class_word="man", base=str(folder), scene="in a room", recipe=recipe, appearance="auto"
        ),
    )
    assert read_metadata(weights)["base_hash"] == hash_of(folder)
    assert not any("controlnet" in name for name in load_file(weights))
    made = generate("sks man on a beach", POSE, GenerateOptions(frames=6, steps=2))
    again = generate(
        "sks man on a beach", POSE, GenerateOptions(frames=6, steps=2, out=place / "again.mp4")
    )
    assert made.read_bytes() == again.read_bytes()
    for kind in ("kohya", "base"):
        assert main(["export", str(weights), "--format", kind]) == 0
    assert (weights.parent / "sks-base" / "controlnet").is_dir()


def test_the_pose_changes_the_output(pictures: Pictures, folder: Path) -> None:
    base = load_base(folder)
    unet = method.build(base, Loss(guide=False), video=True).eval()
    poses = encode_poses(base, pictures(4))
    one, other = (
        render_latents(base, unet, "a man", p, 0, Sampling(steps=2)) for p in (poses, poses.flip(0))
    )
    assert (one - other).abs().max() > 1e-3


def test_the_controlnet_goes_with_its_networks_and_is_no_part_of_them(
    pictures: Pictures, folder: Path
) -> None:
    base = load_base(folder)
    controlnet = base.parts["controlnet"]
    before = [p.clone() for p in controlnet.parameters()]
    image, video = (method.build(base, Loss(), video).requires_grad_(True) for video in (0, 1))
    own = {p.data_ptr() for p in controlnet.parameters()}
    for network in (image, video):
        assert not own & {p.data_ptr() for p in network.parameters()}
        assert not any(module is controlnet for module in network.modules())
        assert not any(
            "control" in name or "get_controlnet" in name for name in network.state_dict()
        )
        assert copy.deepcopy(network).get_controlnet() is controlnet
    shared = dict(image.named_parameters())
    assert all(
        p.data_ptr() == shared[name].data_ptr()
        for name, p in video.named_parameters()
        if "motion_modules" not in name and name in shared
    )
    other = base.copy()
    assert other.parts["controlnet"] is controlnet and other.denoiser is not base.denoiser
    x, text = torch.randn(1, 2, 4, 8, 8), encode_text(base, ["a man"])
    poses = encode_poses(base, pictures(2))[None]
    made = base.family.predict(video, x, torch.tensor([500]), poses, text)
    made.square().mean().backward()
    assert all(p.grad is None for p in controlnet.parameters())
    with torch.no_grad():
        for p in video.parameters():
            p.add_(1)
    assert all(map(torch.equal, controlnet.parameters(), before))


def test_public_parts_are_gathered_into_a_base(folder: Path, place: Path) -> None:
    """As recipes/sd15-openpose.toml does, from folders in the place of a hub."""
    parts = {
        name: {"from": str(folder), "subfolder": name}
        for name in ("vae", "text_encoder", "unet", "controlnet", "motion_adapter")
    }
    parts["vae"]["_class_name"] = "AutoencoderKL"
    recipe = load_recipe("sd15-openpose")
    small = replace(recipe.model, size=64, frames=4, **parts)  # type: ignore[arg-type]
    out = base_train(replace(recipe, model=small))
    assert out == Path("runs/bases/sd15-openpose")
    assert isinstance(load_base("sd15-openpose").vae, AutoencoderKL)
    row = {row.name: row for row in bases()}["sd15-openpose"]
    assert row.ready.startswith("runs/bases/sd15-openpose")
    assert row.license == "creativeml-openrail-m"
    assert (out / "README.md").is_file()
    made = generate(
        "a man", POSE, GenerateOptions(base="sd15-openpose", frames=4, steps=2, out=place / "a.mp4")
    )
    assert json.loads(made.with_suffix(".json").read_text())["base"]["name"] == "sd15-openpose"


def test_bases_are_listed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bases"]) == 0
    out, err = capsys.readouterr()
    assert out.split() == ["mini", "mini-cast", "mini-swap"]
    assert "sd15-openpose" in err and "apache-2.0" in err
    assert main(["generate", "a man", "--pose", str(POSE), "--base", "sd15"]) == 2
    assert "aa bases" in capsys.readouterr().err


def test_diffusers_loads_a_base_as_its_own_pipeline(folder: Path, tiny_wan: Path) -> None:
    pipe = DiffusionPipeline.from_pretrained(folder)
    assert isinstance(pipe, AnimateDiffControlNetPipeline)
    assert isinstance(pipe.scheduler, DDIMScheduler)
    pictures = [Image.new("RGB", (64, 64))] * 2
    options = {"num_inference_steps": 1, "height": 64, "width": 64, "output_type": "np"}
    made = pipe("a man", num_frames=2, conditioning_frames=pictures, **options).frames
    assert made.shape == (1, 2, 64, 64, 3) and np.isfinite(made).all()
    assert isinstance(DiffusionPipeline.from_pretrained(tiny_wan), WanVACEPipeline)


def test_a_tokenizer_has_the_files_of_older_transformers(folder: Path) -> None:
    words = json.loads((folder / "tokenizer" / "vocab.json").read_text())
    merges = (folder / "tokenizer" / "merges.txt").read_text().splitlines()
    tokenizer = load_base(folder).tokenizer
    assert words == tokenizer.get_vocab()
    assert all(left + right in words for left, right in (line.split(" ") for line in merges[1:]))
