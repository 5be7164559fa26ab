"""Bases whose pose comes in by a ControlNet (Zhang et al. 2023, arXiv 2302.05543).

The paper's bases see the pose beside the noisy latent, and need training for it. A ControlNet that
was trained on skeleton pictures does without: it reads the picture itself, and its residuals are
added inside the UNet. It stays as it is when a person is learned, so it is no part of the UNet:
here is kept which UNet goes with which.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import torch
from diffusers import ControlNetModel
from torch import Tensor, nn

_CONTROL: WeakKeyDictionary[nn.Module, ControlNetModel] = WeakKeyDictionary()


def attach(unet: nn.Module, controlnet: ControlNetModel | None) -> None:
    """Let a UNet, of images or of videos, be led by a ControlNet; None changes nothing."""
    if controlnet is not None:
        _CONTROL[unet] = controlnet


def control_of(unet: nn.Module) -> ControlNetModel | None:
    """The ControlNet that leads a UNet, if any."""
    return _CONTROL.get(unet)


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
