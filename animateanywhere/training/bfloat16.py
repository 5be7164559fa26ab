"""Training in bfloat16 on a processor with AMX, which multiplies matrices of it in hardware: there
a core does 1000 GFLOP/s and more in convolutions, 180 in float32.

One thread a process, and a process a core (`torch.distributed.run`): with several threads oneDNN
adds up the gradients of weights behind a barrier at which threads spin, and beside other work that
took fifty times as long.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from diffusers.models.normalization import RMSNorm
from torch import Tensor, nn


def has_amx() -> bool:
    """Whether the processor multiplies matrices of bfloat16 in hardware."""
    return bool(torch.cpu._is_amx_tile_supported())


def use_bfloat16_norms(model: nn.Module) -> nn.Module:
    """Let RMS norms compute in bfloat16 while gradients are on: half as many passes over memory as
    those of diffusers in float32, of half as many bytes. Weights stay float32, and without
    gradients nothing changes."""
    for module in model.modules():
        if isinstance(module, RMSNorm) and module.weight is not None:
            module.forward = partial(_normalize, module)
    return model


def _normalize(norm: RMSNorm, x: Tensor) -> Tensor:
    if not torch.is_grad_enabled():
        return RMSNorm.forward(norm, x)
    bias = torch.zeros_like(norm.weight) if norm.bias is None else norm.bias
    return _RMSNorm.apply(x, norm.weight, bias, norm.eps)


class _RMSNorm(torch.autograd.Function):
    """x / rms(x) · weight + bias over the last axis."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        x, w, b = (t.to(torch.bfloat16) for t in (x, weight, bias))
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        inverse = (norm.square() / x.shape[-1] + eps).rsqrt().to(torch.bfloat16)
        unit = x * inverse
        ctx.save_for_backward(unit, inverse, w)
        return torch.addcmul(b, unit, w)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        unit, inverse, w = ctx.saved_tensors
        grad = grad.to(torch.bfloat16)
        product = grad * unit
        along = product @ w[:, None] / len(w)  # (..., 1)
        dx = (grad * w).addcmul_(unit, along, value=-1).mul_(inverse)
        return dx, _sum(product), _sum(grad), None


def _sum(x: Tensor) -> Tensor:
    """Over all axes but the last, as a matrix product, which adds up in float32."""
    rows = x.flatten(0, -2)
    return (rows.new_ones(1, len(rows)) @ rows)[0].float()
