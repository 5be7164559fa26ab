"""Attention that also trains fast in bfloat16 on a processor."""

from __future__ import annotations

import torch
from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0
from torch import Tensor

# Tokens up to which attention is two products of matrices; the matrix of all pairs, which training
# keeps for the backward pass, grows with their square
FEW_TOKENS = 1024
PRODUCTS = AttnProcessor()


class TrainingAttention(AttnProcessor2_0):
    """diffusers' attention processor, by products of matrices where those train faster.

    PyTorch's fused attention is slow on a processor in the backward pass in bfloat16: a third of a
    step of the bundled image UNet, and 60 % of one of the video UNet, whose temporal layers attend
    from 16 frames to each other. Elsewhere the result is bit-identical to diffusers'.
    """

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Attend from hidden_states (N, L, C), or those of a VAE (N, C, H, W), to
        encoder_hidden_states (N, T, D) or themselves."""
        given = (attn, hidden_states, encoder_hidden_states, attention_mask, temb)
        tokens = hidden_states[0, 0].numel() if hidden_states.ndim == 4 else hidden_states.shape[1]
        if trains_in_bfloat16(hidden_states) and tokens <= FEW_TOKENS:
            products: Tensor = PRODUCTS(*given)
            return products
        fused: Tensor = super().__call__(*given)
        return fused


def trains_in_bfloat16(x: Tensor) -> bool:
    """Whether x is attended to for training, in bfloat16 on a processor."""
    if not torch.is_grad_enabled() or x.device.type != "cpu":
        return False
    cast = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return cast or x.dtype == torch.bfloat16
