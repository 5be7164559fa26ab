"""Layers that train fast in bfloat16 on a processor: RMS norms and attention.

A processor with AMX multiplies matrices of bfloat16 in hardware: a core does 1000 GFLOP/s and more
in convolutions, 180 in float32. Norms, and the backward pass of PyTorch's fused attention, then
take a large share of the time.

Train with one thread per process, and one process per core (`torch.distributed.run`): with several
threads, oneDNN adds up the gradients of weights behind a barrier at which threads spin, which took
fifty times as long beside other work.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from diffusers.models.normalization import RMSNorm
from torch import Tensor, nn
from transformers import PreTrainedModel

from animateanywhere.diffusion.attention import TrainingAttention


def use_bfloat16_layers(model: nn.Module) -> nn.Module:
    """Let the RMS norms of a model compute in bfloat16, and its attention by products of matrices,
    while gradients are enabled, in place; returns the model.

    diffusers computes norms in float32, in twice as many passes over memory of twice as many bytes;
    for attention see `TrainingAttention`. Weights remain float32, and without gradients nothing
    changes, except that text encoders of transformers attend by products of matrices then as well.
    """
    for module in model.modules():
        if isinstance(module, RMSNorm) and module.weight is not None:
            module.forward = partial(_normalize, module)
        if isinstance(module, Attention) and type(module.processor) is AttnProcessor2_0:
            module.set_processor(TrainingAttention())
        if isinstance(module, PreTrainedModel):
            module.set_attn_implementation("eager")
    return model


def _normalize(norm: RMSNorm, x: Tensor) -> Tensor:
    """The forward pass of a norm on x (..., C); bfloat16 if gradients are enabled."""
    if not torch.is_grad_enabled():
        plain: Tensor = RMSNorm.forward(norm, x)
        return plain
    bias = torch.zeros_like(norm.weight) if norm.bias is None else norm.bias
    function: Any = _RMSNorm
    normalized: Tensor = function.apply(x, norm.weight, bias, norm.eps)
    return normalized


class _RMSNorm(torch.autograd.Function):
    """x / rms(x) · weight + bias over the last axis: x (..., C), weight and bias (C,)."""

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
    """The sum (C,) of x (..., C), float32, as a matrix product, which accumulates in float32."""
    rows = x.flatten(0, -2)
    return (rows.new_ones(1, len(rows)) @ rows)[0].float()
