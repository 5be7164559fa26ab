"""The picture encoder: tokens of a reference picture for cross-attention, in the place of a CLIP
image encoder in papers.

A small convolutional network on latents. It is trained against a base's frozen text encoder, so
that it hears in a picture what captions say of a person.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from animateanywhere.training.ahead import DrawAhead, processes_for
from animateanywhere.training.contrastive import (
    contrastive_loss,
    convolution,
    retrieval_accuracy,
    similarities,
)
from animateanywhere.training.loop import fit
from animateanywhere.training.progress import last_mean
from animateanywhere.training.stage import Stage
from animateanywhere.training.throughput import Draw

# What captions teach; data parallelism does not wait for gradients of the rest, which get none
LEARNED = (r"^(?!image_encoder\.to_tokens)",)


class PictureEncoder(ModelMixin, ConfigMixin):
    """Latents of a cut-out person (B, C, h, w) to tokens (B, bands·columns, D), row by row from the
    head to the feet."""

    # Its weights too, of which there are few: `low_memory.halve` leaves them as they are
    _keep_in_fp32_modules: ClassVar = ["trunk", "to_space", "to_tokens"]

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self, channels: int, dim: int, width: int = 64, bands: int = 4, columns: int = 1
    ) -> None:
        """channels: C. dim: D, of the text states."""
        super().__init__()
        self.trunk = nn.Sequential(
            *convolution(channels, width, 1), *convolution(width, 2 * width, 2),
            *convolution(2 * width, 4 * width, 2), nn.AdaptiveAvgPool2d((bands, columns)),
        )  # fmt: skip
        self.to_space = nn.Linear(4 * width * bands * columns, dim, bias=False)
        self.to_tokens = nn.Sequential(nn.Linear(4 * width, dim), nn.LayerNorm(dim))

    def forward(self, latents: Tensor) -> Tensor:
        """Tokens (B, bands·columns, D) of latents (B, C, h, w) of any size."""
        with _in_float32():
            tokens: Tensor = self.to_tokens(self.trunk(latents).flatten(2).transpose(1, 2))
        return tokens

    def embed(self, latents: Tensor) -> Tensor:
        """One vector (B, D) for each picture, in the space of captions."""
        with _in_float32():
            vectors: Tensor = self.to_space(self.trunk(latents).flatten(1))
        return vectors


class Pairs(nn.Module):
    """The picture encoder beside the base's frozen text encoder, and what brings both to one space,
    of which the latter is discarded after training."""

    def __init__(self, encoder: Any, dim: int) -> None:
        super().__init__()
        self.image_encoder = encoder
        self.to_space = nn.Linear(dim, dim, bias=False)
        self.scale = nn.Parameter(torch.tensor(2.7))

    def forward(self, words: Tensor, latents: Tensor) -> Tensor:
        """Similarities (B, B) of captions as vectors (B, D) and pictures as latents."""
        texts, pictures = self.to_space(words), self.image_encoder.embed(latents)
        return similarities(texts, pictures, self.scale)


def learn_words(
    encoder: PictureEncoder, dim: int, draw: Callable[[torch.Generator], tuple[list[str], Tensor]],
    read: Callable[[list[str]], Tensor], stage: Stage, folder: Path, seed: int,
    track: str | None = None, held_out: tuple[list[str], Tensor] | None = None,
) -> dict[str, float]:  # fmt: skip
    """Train a picture encoder, in place; returns its retrieval accuracy at the end, 0..1, on the
    rows of the last steps and, where there are any, on people that are not learned from.

    draw: (generator) -> captions and pictures as latents (B, C, h, w). read: captions -> vectors
    (B, dim). held_out: captions and pictures of such people. The others as for `loop.fit`.
    """
    torch.manual_seed(seed)
    batch = Draw(DrawAhead(draw, seed, processes_for(encoder.device)))

    def loss(model: Any, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        captions, latents = batch(generator)
        words = read(captions)
        return contrastive_loss(model(words, latents.to(words.device)))

    pairs = Pairs(encoder, dim)
    fit(pairs, replace(stage, train=LEARNED), loss, folder, seed, data=batch, track=track)
    found = last_mean(folder, "retrieval")
    if held_out is not None:
        words = read(held_out[0])
        with torch.no_grad():
            similar = pairs(words, held_out[1].to(words.device))
        found["retrieval_held_out"] = retrieval_accuracy(similar)
    return found


def _in_float32() -> Any:
    """On a processor without bfloat16 in hardware, oneDNN's convolution of stride 2 in it gave NaN
    from memory that it does not write, where its result is one column wide."""
    return torch.autocast("cpu", enabled=False)
