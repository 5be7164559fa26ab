"""Contrastive training of two encoders on pairs, as in CLIP (Radford et al. 2021, arXiv
2103.00020)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


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
