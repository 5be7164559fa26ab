"""Contrastive training of a new text encoder on pairs of captions and pictures, as in CLIP (Radford
et al. 2021, arXiv 2103.00020), before it is used for generation.

Trained by the diffusion loss alone, on 100,000 pictures, ours learned the names of scenes but not
the appearance of people; with the contrastive loss it distinguishes clothes within minutes.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SHARPEST = 100.0  # the cap on the learned scale of similarities


class Pairs(nn.Module):
    """A text encoder, and a small convolutional network on latents (B, C, h, w), which map captions
    and pictures to one space. The latter is discarded after training."""

    def __init__(self, text_encoder: Any, channels: int, size: int, width: int = 64) -> None:
        super().__init__()
        space = text_encoder.config.hidden_size
        self.text_encoder, self.size = text_encoder, size
        self.to_space = nn.Linear(space, space, bias=False)
        self.picture = nn.Sequential(
            *_layer(channels, width, 1), *_layer(width, 2 * width, 2),
            *_layer(2 * width, 4 * width, 2), nn.Flatten(),
            nn.Linear(4 * width * math.ceil(size / 4) ** 2, space),
        )  # fmt: skip
        self.scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, ids: Tensor, latents: Tensor) -> Tensor:
        """Similarities (B, B) of B captions, as token ids (B, T), and B pictures, as latents.

        A caption is represented by its end tokens, including padding: a UNet's cross-attention
        attends to them as well, and they are half of all tokens.
        """
        states = self.text_encoder(ids).last_hidden_state  # (B, T, D)
        ends = (ids == self.text_encoder.config.eos_token_id)[..., None]
        words = self.to_space((states * ends).sum(1) / ends.sum(1))
        if latents.shape[-2:] != (self.size, self.size):  # of another aspect ratio
            latents = F.adaptive_avg_pool2d(latents, self.size)
        pictures = self.picture(latents)
        scale = self.scale.exp().clamp(max=SHARPEST)
        return scale * F.normalize(words, dim=-1) @ F.normalize(pictures, dim=-1).T


def _layer(inside: int, outside: int, stride: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inside, outside, 3, stride, 1)
    return convolution, nn.GroupNorm(8, outside), nn.SiLU()
