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

from animateanywhere.training.contrastive import convolution, end_states, similarities


class Pairs(nn.Module):
    """A text encoder, and a small convolutional network on latents (B, C, h, w), which map captions
    and pictures to one space. The latter is discarded after training."""

    def __init__(self, text_encoder: Any, channels: int, size: int, width: int = 64) -> None:
        super().__init__()
        space = text_encoder.config.hidden_size
        self.text_encoder, self.size = text_encoder, size
        self.to_space = nn.Linear(space, space, bias=False)
        self.picture = nn.Sequential(
            *convolution(channels, width, 1), *convolution(width, 2 * width, 2),
            *convolution(2 * width, 4 * width, 2), nn.Flatten(),
            nn.Linear(4 * width * math.ceil(size / 4) ** 2, space),
        )  # fmt: skip
        self.scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, ids: Tensor, latents: Tensor) -> Tensor:
        """Similarities (B, B) of B captions, as token ids (B, T), and B pictures, as latents."""
        words = self.to_space(end_states(self.text_encoder, ids))
        if latents.shape[-2:] != (self.size, self.size):  # of another aspect ratio
            latents = F.adaptive_avg_pool2d(latents, self.size)
        return similarities(words, self.picture(latents), self.scale)
