"""The temporal layers of AnimateDiff, and the noise schedules of images and clips."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from torch import Tensor
from torch.nn import functional as F

from animateanywhere import puppets
from animateanywhere.backbones.base import Base, encode_poses, load_base
from animateanywhere.backbones.create import create_base
from animateanywhere.core.messages import progress
from animateanywhere.datasets.subject import Subject
from animateanywhere.methods.animate_anywhere import appearance_search, base_samples, method
from animateanywhere.methods.animate_anywhere.generation import (
    Sampling,
    render_images,
    render_latents,
)
from animateanywhere.methods.animate_anywhere.prior_preservation import (
    caption_of,
    generate_prior,
    sample_people,
)
from animateanywhere.methods.animate_anywhere.settings import Loss, load_recipe

Pictures = Callable[[int], np.ndarray]


def as_animatediff(layer: AnimateDiffTransformer3D, x: Tensor) -> Tensor:
    """A temporal transformer as AnimateDiff defines it, on x (F, C, H, W), written out."""
    w = dict(layer.named_parameters())
    frames, channels, height, width = x.shape
    norm, heads = layer.norm, layer.transformer_blocks[0].attn1.heads
    parts = x.unflatten(1, (norm.num_groups, -1))  # (F, G, C/G, H, W): each frame by itself
    mean, var = parts.mean((2, 3, 4), keepdim=True), parts.var((2, 3, 4), False, keepdim=True)
    y = ((parts - mean) / (var + norm.eps).sqrt()).flatten(1, 2)
    y = y * w["norm.weight"][:, None, None] + w["norm.bias"][:, None, None]
    y = y.permute(2, 3, 0, 1).reshape(height * width, frames, channels)  # each pixel through time
    y = F.linear(y, w["proj_in.weight"], w["proj_in.bias"])
    angle = torch.arange(frames)[:, None] * 10000 ** (-torch.arange(0, channels, 2) / channels)
    place = torch.stack([angle.sin(), angle.cos()], -1).flatten(1)  # (F, C)

    def linear(name: str, x: Tensor) -> Tensor:
        name = f"transformer_blocks.0.{name}"
        return F.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))

    def normed(name: str, x: Tensor) -> Tensor:
        name = f"transformer_blocks.0.{name}"
        return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])

    for number in (1, 2):
        z = normed(f"norm{number}", y) + place
        q, k, v = (
            linear(f"attn{number}.to_{name}", z).unflatten(-1, (heads, -1)).transpose(1, 2)
            for name in "qkv"
        )
        share = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
        y = y + linear(f"attn{number}.to_out.0", (share @ v).transpose(1, 2).flatten(2))
    value, gate = linear("ff.net.0.proj", normed("norm3", y)).chunk(2, -1)
    y = y + linear("ff.net.2", value * F.gelu(gate))
    y = F.linear(y, w["proj_out.weight"], w["proj_out.bias"])
    return x + y.view(height, width, frames, channels).permute(2, 3, 0, 1)


def first_temporal_layer(base: Base) -> AnimateDiffTransformer3D:
    network = method.build(base, Loss(guide=False), video=True).eval()
    return next(m for m in network.modules() if isinstance(m, AnimateDiffTransformer3D))


def test_loaded_temporal_layers_normalize_each_frame(tiny_base: Path, tmp_path: Path) -> None:
    """As AnimateDiff's own code, with which the public adapters were trained; new ones, and those
    without a word about it, take a clip's frames together, as diffusers does."""
    base = load_base(tiny_base)
    generator = torch.Generator().manual_seed(0)
    for parameter in base.parts["motion_adapter"].parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    base.parts["motion_adapter"].save_pretrained(tmp_path / "public")
    config = tmp_path / "public/config.json"
    known = json.loads(config.read_text())
    assert known.pop("norm_each_frame") is False  # it was new
    config.write_text(json.dumps(known))  # as a published one: it does not say
    model = replace(
        load_recipe("tiny").model,
        motion_adapter={"from": str(tmp_path / "public"), "subfolder": ""},
    )
    create_base(model, tmp_path / "gathered", ["a man"])
    (tmp_path / "gathered/base.toml").write_text((tiny_base / "base.toml").read_text())
    x = torch.randn(3, 16, 4, 4, generator=generator) + torch.arange(3.0)[:, None, None, None]
    with torch.no_grad():
        layer = first_temporal_layer(load_base(tmp_path / "gathered"))
        ours, written_out = layer(x, num_frames=3), as_animatediff(layer, x)
        together = first_temporal_layer(base)(x, num_frames=3)
    torch.testing.assert_close(ours, written_out, atol=1e-5, rtol=1e-5)
    assert (together - ours).abs().max() > 0.01


def with_betas(tiny_base: Path, folder: Path, **schedule: str) -> Path:
    """The tiny base with another noise schedule, and plain epsilon prediction."""
    shutil.copytree(tiny_base, folder)
    path = folder / "scheduler/scheduler_config.json"
    plain = {"prediction_type": "epsilon", "rescale_betas_zero_snr": False}
    path.write_text(json.dumps(json.loads(path.read_text()) | plain | schedule))
    return folder


def work(folder: Path, pictures: Pictures) -> dict[str, Any]:
    """What all uses of the networks for images and clips give."""
    base = load_base(folder)
    image, video = (method.build(base, Loss(guide=False), video) for video in (False, True))
    poses = encode_poses(base, pictures(2))
    clip = puppets.render(puppets.sample_spec(3), frames=3, size=64)
    subject = Subject(
        Path(), clip.frames, clip.masks.astype(np.float32) / 255, clip.keypoints, [""] * 3, 8.0,
        "man", None,
    )  # fmt: skip
    people = sample_people("man", 1, 0)
    captions = [caption_of(spec, "man") for spec in people]
    with progress("", total=1) as bar:
        return {
            "images": render_images(base, image, ["a man"], poses[:1], 0, 2, bar.advance),
            "image": render_latents(base, image, "a man", poses[:1], 0, Sampling(steps=2)),
            "appearance": appearance_search.errors(base, subject, bar)("in a red shirt"),
            "prior images": generate_prior(base, people, captions, 2, 0, 1, bar)[0],
            "captions": base_samples.caption_errors(base)(),
            "clip": render_latents(base, video, "a man", poses, 0, Sampling(steps=2)),
            "prior clips": generate_prior(base, people, captions, 2, 0, 3, bar)[0],
        }


def test_images_and_clips_have_their_own_noise_schedules(
    tiny_base: Path, pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever uses the image network does it as a base with its schedule alone would."""
    monkeypatch.setattr(base_samples, "HELD_OUT", 2)
    folders = {
        "both": with_betas(
            tiny_base, tmp_path / "both", beta_schedule="linear",
            image_beta_schedule="scaled_linear",
        ),
        "linear": with_betas(tiny_base, tmp_path / "linear", beta_schedule="linear"),
        "scaled": with_betas(tiny_base, tmp_path / "scaled", beta_schedule="scaled_linear"),
    }  # fmt: skip
    made = {name: work(folder, pictures) for name, folder in folders.items()}
    for what, ours in made["both"].items():
        own, other = ("linear", "scaled") if "clip" in what else ("scaled", "linear")
        torch.testing.assert_close(ours, made[own][what], atol=0, rtol=0)
        with pytest.raises(AssertionError):
            torch.testing.assert_close(ours, made[other][what], atol=1e-6, rtol=1e-6)


def test_the_recipes_name_the_schedules_of_their_sources() -> None:
    """Step 500 of the temporal layers is as noisy as step 600 of Stable Diffusion 1.5."""
    for name in ("sd15", "sd15-openpose"):
        table = load_recipe(name).model.scheduler
        clips = DDPMScheduler(**{k: v for k, v in table.items() if k != "image_beta_schedule"})
        images = DDIMScheduler.from_config(clips.config, beta_schedule=table["image_beta_schedule"])
        same = (images.alphas_cumprod - clips.alphas_cumprod[500]).abs().argmin()
        assert 590 < int(same) < 610
