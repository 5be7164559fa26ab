"""Full weights as LoRA: their changes approximated by factors of a low rank."""

from __future__ import annotations

import torch
from torch import Tensor

from animateanywhere.backbones import lora
from animateanywhere.backbones.personal_weights import Fitting
from animateanywhere.core.messages import progress, say, warn

# A randomized decomposition (Halko et al. 2011, arXiv 0909.4061) of twice the rank with four power
# iterations takes a hundredth of the time of a whole one
OVERSAMPLING, ITERATIONS = 2, 4


def low_rank(fitting: Fitting, rank: int) -> lora.Pairs:
    """Approximate the changes of full weights by factors of a rank, as truncated singular value
    decomposition does, and print the share of the changes (squared Frobenius norm) they keep.

    Vectors (biases and norms) are left out: the formats of other tools have no adapters for them.
    """
    pairs: lora.Pairs = {}
    if not fitting.whole:
        return pairs
    kept = total = 0.0
    left = []
    with progress("low-rank approximation", total=len(fitting.whole)) as bar:
        for name, tensor in fitting.whole.items():
            change = tensor.float() - fitting.targets[name].float()
            total += float(change.square().sum())
            if change.ndim in (2, 4) and name.endswith(".weight"):
                a, b, energy = factors(change, rank)
                pairs[name] = (a, b)
                kept += energy
            else:
                left.append(name)
            bar.advance(1)
    share = kept / total if total else 1.0
    say(f"rank {rank} keeps {share:.1%} of the learned changes ({len(left)} vectors left out)")
    if share < 0.9:
        warn(
            "much of what was learned is lost: give a higher --rank, or learn with "
            "--recipe personalize-lora"
        )
    return pairs


def factors(change: Tensor, rank: int) -> tuple[Tensor, Tensor, float]:
    """Factors (A, B) of the change of a weight, (O, I) or (O, I, h, w), as LoRA has them, and the
    squared Frobenius norm of what they keep. Equal changes give equal factors."""
    matrix = change.flatten(1)
    few = min(rank, *matrix.shape)
    if OVERSAMPLING * few < min(matrix.shape) // 2:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            u, s, v = torch.svd_lowrank(matrix, OVERSAMPLING * few, ITERATIONS)
        v = v.T
    else:
        u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    root = s[:few].sqrt()
    a, b = root[:, None] * v[:few], u[:, :few] * root
    if change.ndim == 4:
        a, b = a.view(few, *change.shape[1:]), b[:, :, None, None]
    return a.contiguous(), b.contiguous(), float(s[:few].square().sum())
