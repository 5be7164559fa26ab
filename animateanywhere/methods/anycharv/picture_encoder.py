"""The picture encoder: tokens of the reference for cross-attention, in the place of the paper's
CLIP image encoder.

A small convolutional network on latents. It is trained against the base's frozen text encoder
(`stages.tower`), so that it hears in a picture what captions say of a person.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from animateanywhere.training.contrastive import convolution


class PictureEncoder(ModelMixin, ConfigMixin):
    """Latents of a cut-out person (B, C, h, w) to tokens (B, bands, D), from head to feet."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, channels: int, dim: int, width: int = 64, bands: int = 4) -> None:
        """channels: C. dim: D, of the text states."""
        super().__init__()
        self.trunk = nn.Sequential(
            *convolution(channels, width, 1), *convolution(width, 2 * width, 2),
            *convolution(2 * width, 4 * width, 2), nn.AdaptiveAvgPool2d((bands, 1)),
        )  # fmt: skip
        self.to_space = nn.Linear(4 * width * bands, dim, bias=False)
        self.to_tokens = nn.Sequential(nn.Linear(4 * width, dim), nn.LayerNorm(dim))

    def forward(self, latents: Tensor) -> Tensor:
        """Tokens (B, bands, D) of latents (B, C, h, w) of any size."""
        with _in_float32():
            tokens: Tensor = self.to_tokens(self.trunk(latents).flatten(2).transpose(1, 2))
        return tokens

    def embed(self, latents: Tensor) -> Tensor:
        """One vector (B, D) for each picture, in the space of captions."""
        with _in_float32():
            vectors: Tensor = self.to_space(self.trunk(latents).flatten(1))
        return vectors


def _in_float32() -> Any:
    """On a processor without bfloat16 in hardware, oneDNN's convolution of stride 2 in it gave NaN
    from memory that it does not write, where its result is one column wide."""
    return torch.autocast("cpu", enabled=False)
