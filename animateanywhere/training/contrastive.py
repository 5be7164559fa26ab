"""Contrastive training of two encoders on pairs, as in CLIP (Radford et al. 2021, arXiv
2103.00020)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SHARPEST = 100.0  # the cap on the learned scale of similarities


def end_states(text_encoder: Any, ids: Tensor) -> Tensor:
    """Captions, as token ids (B, T), as vectors (B, D): the mean states of their end tokens,
    including padding, since a UNet's cross-attention attends to them as well, and they are half of
    all tokens."""
    states = text_encoder(ids).last_hidden_state  # (B, T, D)
    ends = (ids == text_encoder.config.eos_token_id)[..., None]
    means: Tensor = (states * ends).sum(1) / ends.sum(1)
    return means


def similarities(texts: Tensor, pictures: Tensor, scale: Tensor) -> Tensor:
    """Similarities (B, B) of captions and pictures, vectors (B, D). scale: the logarithm of the
    learned factor."""
    factor = scale.exp().clamp(max=SHARPEST)
    return factor * F.normalize(texts, dim=-1) @ F.normalize(pictures, dim=-1).T


def convolution(inside: int, outside: int, stride: int) -> tuple[nn.Module, ...]:
    """A layer of the networks on latents that learn beside a text encoder."""
    return nn.Conv2d(inside, outside, 3, stride, 1), nn.GroupNorm(8, outside), nn.SiLU()


def contrastive_loss(similarities: Tensor) -> tuple[Tensor, dict[str, float]]:
    """The symmetric InfoNCE loss of similarities (B, B), a scalar, and the retrieval accuracy to
    log."""
    own = torch.arange(len(similarities), device=similarities.device)
    loss = (F.cross_entropy(similarities, own) + F.cross_entropy(similarities.T, own)) / 2
    return loss, {"retrieval": retrieval_accuracy(similarities)}


def retrieval_accuracy(similarities: Tensor) -> float:
    """Share of captions, rows of (B, B), that are most similar to their own picture; 0..1."""
    own = torch.arange(len(similarities), device=similarities.device)
    return float((similarities.argmax(1) == own).float().mean())
