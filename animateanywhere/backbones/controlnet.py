"""Stable Diffusion's UNet conditioned on the pose by a ControlNet (Zhang et al. 2023, arXiv
2302.05543), in place of the paper's concatenation of pose latents.

A ControlNet that was trained on skeleton pictures needs no base training: it reads the picture, and
its residuals are added inside the UNet. It is frozen when a person is learned, so the UNet refers
to it by a function, `get_controlnet`, which `parameters`, `state_dict` and `copy.deepcopy` do not
follow.
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
from animateanywhere.pose import openpose_drawing

# Config entries that a new ControlNet shares with its UNet
FROM_UNET = (
    "in_channels", "block_out_channels", "down_block_types", "layers_per_block", "norm_num_groups",
    "cross_attention_dim", "attention_head_dim",
)  # fmt: skip


def create(name: str, model: Model, out: Path, captions: list[str]) -> Any:
    """See `Family.create`. The UNet's input is not widened, since the ControlNet brings the
    pose."""
    if name == "unet":
        return sd_unet.create_unet(model, out)
    if name == "controlnet":
        shapes = load_config(out / "unet")
        config = {key: shapes[key] for key in FROM_UNET if key in shapes}
        return part_of(ControlNetModel, config | model.controlnet, name)
    return sd_unet.create_part(name, model, captions)


def build(base: Base, video: bool) -> Any:
    """The UNet for images or video, with `get_controlnet` for its ControlNet."""
    network, controlnet = sd_unet.build(base, video), base.parts["controlnet"]
    network.get_controlnet = lambda: controlnet
    return network


def predict(
    network: Any,
    x: Tensor,
    timesteps: Tensor,
    pose_latents: Tensor,
    text_states: Tensor,
    region: Region | None = None,
) -> Tensor:
    """See `Predict`. pose_latents: skeleton pictures (B, F, 3, H, W) uint8."""
    frames = x.shape[1]
    text_states = sd_unet.each_frame(text_states, frames)
    images = rearrange(x, "b f c h w -> (b f) c h w")
    times = sd_unet.each_frame(timesteps, frames)
    pictures = pose_latents.flatten(0, 1)
    added = residuals(network.get_controlnet(), images, times, pictures, text_states)
    return sd_unet.run(network, x, timesteps, text_states, region, **added)


def residuals(
    controlnet: ControlNetModel, x: Tensor, timesteps: Tensor, pictures: Tensor, text_states: Tensor
) -> dict[str, Any]:
    """The ControlNet's residuals, as keyword arguments of the UNet's forward pass.

    x: noisy latents (N, C, h, w). timesteps: (N,). pictures: skeletons (N, 3, H, W) uint8.
    text_states: (N, T, D). Computed without gradients: the token is learned through the UNet alone.
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
    """See `Family.encode_pose`. Returns the pictures themselves, (N, 3, H, W) uint8."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous().to(base.vae.device)


def pose_shape(base: Base) -> tuple[int, ...]:
    return 3, base.frame.height, base.frame.width


FAMILY = replace(
    sd_unet.FAMILY,
    name="Stable Diffusion with a ControlNet",
    parts={**sd_unet.IMAGE_PARTS, "controlnet": ControlNetModel, "motion_adapter": MotionAdapter},
    hashed=(*sd_unet.FAMILY.hashed, "controlnet"),
    create=create,
    build=build,
    predict=predict,
    encode_pose=encode_pose,
    draw=openpose_drawing.draw,
    pose_shape=pose_shape,
    auxiliary=("controlnet",),
    pretrained=True,
    pipeline="AnimateDiffControlNetPipeline",
)
