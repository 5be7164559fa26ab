"""Muon (Jordan et al. 2024; scaled as by Liu et al. 2025, arXiv 2502.16982), beside AdamW.

The momentum of a matrix is orthogonalized: all its directions move equally far, also those with
small gradients. Convolutions count as matrices of their outputs; biases, norms and embeddings are
trained by AdamW. PyTorch's own class takes matrices only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

# Neither rows nor columns of these are directions of a space that the network itself has chosen
NOT_MATRICES = r"embedding|conv_in|conv_out"
STEPS = 5  # of the Newton-Schulz iteration
COEFFICIENTS = 3.4445, -4.7750, 2.0315  # Jordan's: singular values end between 0.7 and 1.2
# Root mean square of AdamW's steps, relative to the learning rate: both learn at the same rates
LIKE_ADAMW = 0.2


def is_matrix(name: str, parameter: Tensor) -> bool:
    """Whether Muon trains a parameter."""
    return parameter.ndim >= 2 and not re.search(NOT_MATRICES, name)


def orthogonalized(x: Tensor) -> Tensor:
    """The nearest matrix with singular values of about 1, by Newton-Schulz iterations in bfloat16.

    x: (M, N). Returns float32 (M, N).
    """
    a, b, c = COEFFICIENTS
    wide = x.shape[0] <= x.shape[1]
    y = (x if wide else x.T).bfloat16()
    y = y / (y.norm() + 1e-7)
    for _ in range(STEPS):
        gram = y @ y.T
        y = a * y + (b * gram + c * gram @ gram) @ y
    result: Tensor = (y if wide else y.T).float()
    return result


class Muon(torch.optim.AdamW):
    """AdamW, but groups with `matrices = True` are trained by Muon.

    lr: learning rate of both, of the size that AdamW needs. A step removes the gradients of
    matrices.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.99),
        momentum: float = 0.95,
    ) -> None:
        super().__init__(params, lr, betas, fused=True)
        self.momentum = momentum

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            if group["matrices"]:
                for p in group["params"]:
                    self._move(p, group["lr"], group["weight_decay"])
        return super().step(closure)  # of all that still have a gradient

    def _move(self, p: Tensor, lr: float, weight_decay: float) -> None:
        if p.grad is None:
            return
        if not self.state[p]:
            # "step": what AdamW, which reads the whole state when it is loaded, expects
            self.state[p] |= {"step": torch.zeros(()), "momentum": torch.zeros_like(p)}
        momentum = self.state[p]["momentum"]
        momentum.lerp_(p.grad, 1 - self.momentum)
        nesterov = p.grad.lerp(momentum, self.momentum).flatten(1)  # (M, N)
        scale = LIKE_ADAMW * max(nesterov.shape) ** 0.5
        p.mul_(1 - lr * weight_decay)
        p.add_(orthogonalized(nesterov).reshape(p.shape), alpha=-lr * scale)
        p.grad = None
