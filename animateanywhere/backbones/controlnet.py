"""Stable Diffusion's UNet led by a ControlNet (Zhang et al. 2023, arXiv 2302.05543).

The paper's bases see the pose beside the noisy latent, and need training for it. A ControlNet that
was trained on skeleton pictures does without: it reads the picture itself, and its residuals are
added inside the UNet. It stays as it is when a person is learned, so it is no part of the UNet: a
network has it at hand by a function, which neither `parameters`, `state_dict` nor `copy.deepcopy`
go into.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import ControlNetModel, MotionAdapter
from einops import rearrange
from torch import Tensor

from animateanywhere.backbones import sd_unet
from animateanywhere.backbones.family import Base
from animateanywhere.backbones.guided_attention import Region
from animateanywhere.backbones.sources import load_config, part_of
from animateanywhere.backbones.spec import Model

# What a fresh ControlNet takes from its UNet's config
FROM_UNET = (
    "in_channels", "block_out_channels", "down_block_types", "layers_per_block", "norm_num_groups",
    "cross_attention_dim", "attention_head_dim",
)  # fmt: skip


def create(name: str, model: Model, out: Path, captions: list[str]) -> Any:
    """As `Family.create`; the UNet keeps its input, as the ControlNet brings the pose."""
    if name == "unet":
        return sd_unet.create_unet(model, out)
    if name == "controlnet":
        shapes = load_config(out / "unet")
        config = {key: shapes[key] for key in FROM_UNET if key in shapes}
        return part_of(ControlNetModel, config | model.controlnet, name)
    return sd_unet.create_part(name, model, captions)


def build(base: Base, video: bool) -> Any:
    """The UNet for images or for video, with the ControlNet that leads it at hand."""
    network, controlnet = sd_unet.build(base, video), base.parts["controlnet"]
    network.led_by = lambda: controlnet
    return network


def predict(
    network: Any,
    x: Tensor,
    timesteps: Tensor,
    pose_latents: Tensor,
    text_states: Tensor,
    region: Region | None = None,
) -> Tensor:
    """As `Predict`; pose_latents: skeleton pictures (B, F, 3, H, W) uint8."""
    frames = x.shape[1]
    text_states = sd_unet.each_frame(text_states, frames)
    images = rearrange(x, "b f c h w -> (b f) c h w")
    times = sd_unet.each_frame(timesteps, frames)
    added = residuals(network.led_by(), images, times, pose_latents.flatten(0, 1), text_states)
    return sd_unet.run(network, x, timesteps, text_states, region, **added)


def residuals(
    controlnet: ControlNetModel, x: Tensor, timesteps: Tensor, pictures: Tensor, text_states: Tensor
) -> dict[str, Any]:
    """What the ControlNet adds inside the UNet, as arguments of the UNet's own.

    x: (N, C, h, w) noisy latents. timesteps: (N,). pictures: (N, 3, H, W) uint8, skeletons.
    text_states: (N, T, D). No gradient goes through it, so the token learns by the UNet alone.
    """
    with torch.no_grad():
        down, middle = controlnet(
            x, timesteps, encoder_hidden_states=text_states,
            controlnet_cond=pictures.to(x) / 255, return_dict=False,
        )  # fmt: skip
    return {
        "down_block_additional_residuals": down,
        "mid_block_additional_residual": middle,
    }


def encode_pose(base: Base, pictures: np.ndarray, clip: bool) -> Tensor:
    """As `Family.encode_pose`: the pictures themselves, (N, 3, H, W) uint8."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous().to(base.vae.device)


def pose_shape(base: Base) -> tuple[int, ...]:
    return 3, base.config["size"], base.config["size"]


FAMILY = replace(
    sd_unet.FAMILY,
    name="Stable Diffusion with a ControlNet",
    parts={**sd_unet.OF_IMAGES, "controlnet": ControlNetModel, "motion_adapter": MotionAdapter},
    hashed=(*sd_unet.FAMILY.hashed, "controlnet"),
    create=create,
    build=build,
    predict=predict,
    encode_pose=encode_pose,
    pose_shape=pose_shape,
    beside=("controlnet",),
    ready=True,
)
