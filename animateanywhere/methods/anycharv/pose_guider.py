"""The pose guider (section 3.2 of the paper): a few convolutions that make features of skeleton
pictures, which are added to what the denoiser makes of its input."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS = (16, 32, 96, 256)  # of ControlNet's embedding of pictures, from which it may start


class PoseGuider(ModelMixin, ConfigMixin):
    """Skeleton pictures (N, 3, H, W) in [0, 1] to features (N, C, H/8, W/8).

    The names of its layers are those of the paper's published weights and of ControlNet.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self, conditioning_embedding_channels: int, conditioning_channels: int = 3,
        block_out_channels: tuple[int, ...] = WIDTHS,
    ) -> None:  # fmt: skip
        """conditioning_embedding_channels: C, those of the denoiser's first layer."""
        super().__init__()
        widths = block_out_channels
        self.conv_in = nn.Conv2d(conditioning_channels, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList()
        for width, following in pairwise(widths):
            self.blocks.append(nn.Conv2d(width, width, 3, padding=1))
            self.blocks.append(nn.Conv2d(width, following, 3, stride=2, padding=1))
        self.conv_out = nn.Conv2d(widths[-1], conditioning_embedding_channels, 3, padding=1)

    def forward(self, pictures: Tensor) -> Tensor:
        x = F.silu(self.conv_in(pictures))
        for block in self.blocks:
            x = F.silu(block(x))
        features: Tensor = self.conv_out(x)
        return features


class PosedConv(nn.Conv2d):
    """The first layer of a denoiser, whose input may have pose features after the noisy latents:
    (N, C + P + S, h, w), with C = `noisy` channels of latents, P of features, as many as it puts
    out, and S of the scene. The features are added to its output; without them it is as before."""

    noisy: int

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] == self.in_channels:
            return super().forward(x)
        rest = self.in_channels - self.noisy
        latents, poses, scene = x.split([self.noisy, self.out_channels, rest], 1)
        return super().forward(torch.cat([latents, scene], 1)) + poses


def add_poses(unet: Any) -> None:
    """Let the first layer of a UNet take pose features, in place; its weights stay the same."""
    unet.conv_in.__class__ = PosedConv
    unet.conv_in.noisy = unet.config.out_channels
