"""Teach a fresh text encoder what captions say before any picture is made from them, as CLIP was
taught (Radford et al. 2021, arXiv 2103.00020): captions against the pictures they belong to.

Trained through the diffusion loss alone, ours learned the names of scenes and nothing of a
person's looks, in 100,000 pictures; against pictures it tells clothes apart within minutes.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SHARPEST = 100.0  # the cap on the learned scale of similarities


class Pairs(nn.Module):
    """A text encoder and a small convolutional network that meet in one space.

    The picture side sees latents (B, C, h, w), and is thrown away after training.
    """

    def __init__(self, text_encoder: Any, channels: int, size: int, width: int = 64) -> None:
        super().__init__()
        space = text_encoder.config.hidden_size
        self.text_encoder = text_encoder
        self.to_space = nn.Linear(space, space, bias=False)
        self.picture = nn.Sequential(
            *_layer(channels, width, 1), *_layer(width, 2 * width, 2),
            *_layer(2 * width, 4 * width, 2), nn.Flatten(),
            nn.Linear(4 * width * math.ceil(size / 4) ** 2, space),
        )  # fmt: skip
        self.scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, ids: Tensor, latents: Tensor) -> Tensor:
        """Similarities (B, B) of captions, as token ids (B, T), and pictures.

        A caption is read at its end tokens, the padding among them: they make up half of what a
        UNet's cross-attention looks at.
        """
        states = self.text_encoder(ids).last_hidden_state  # (B, T, D)
        ends = (ids == self.text_encoder.config.eos_token_id)[..., None]
        words = self.to_space((states * ends).sum(1) / ends.sum(1))
        pictures = self.picture(latents)
        scale = self.scale.exp().clamp(max=SHARPEST)
        return scale * F.normalize(words, dim=-1) @ F.normalize(pictures, dim=-1).T


def contrastive_loss(similarities: Tensor) -> tuple[Tensor, dict[str, float]]:
    """InfoNCE both ways over a batch (B, B); logs the share of captions that find their picture."""
    own = torch.arange(len(similarities), device=similarities.device)
    loss = (F.cross_entropy(similarities, own) + F.cross_entropy(similarities.T, own)) / 2
    return loss, {"found": found(similarities)}


def found(similarities: Tensor) -> float:
    """Share of captions, (B, B) rows, whose own picture is the nearest of all."""
    own = torch.arange(len(similarities), device=similarities.device)
    return float((similarities.argmax(1) == own).float().mean())


def _layer(inside: int, outside: int, stride: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inside, outside, 3, stride, 1)
    return convolution, nn.GroupNorm(8, outside), nn.SiLU()
