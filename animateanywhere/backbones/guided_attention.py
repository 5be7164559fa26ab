"""Mask-guided attention as one appended channel: person and background attend to themselves.

The paper (AnimateAnywhere, MM '24, section 2.2) says that attention is weighted by the masks and
gives no formula; this one is ours. Every query and key has a region m in [-1, 1]: +1 the person,
-1 the background, 0 neither. Before the softmax's normalization, the weight of a key is multiplied
by

    w(m_q, m_k) = exp(-ln(gamma) / 2 * m_q * m_k)

so that a key of the other region (m_q m_k = -1) weighs gamma times one of the same region (+1).
As a dense bias this takes an N x N matrix for every image. But c (q·k + s m_q · s m_k) with
s² = -ln(gamma) / (2 c) is the same number, so appending s m to q and to k and a zero to v gives it
exactly, at the cost of one channel and with any fused kernel. With m = 0, attention is plain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor, nn

from animateanywhere.diffusion.attention import TrainingAttention


@dataclass(frozen=True)
class Region:
    """The region of pixels and tokens: +1 the person, -1 the background, 0 neither.

    Inside a UNet it is passed as `cross_attention_kwargs={"region": region}` with frames folded
    into the batch, N = B·F: mask (N, 1, h, w), tokens (N, T).
    """

    mask: Tensor  # (B, F, 1, h, w) in [-1, 1], at latent size
    tokens: Tensor  # (B, T) in {-1, 0, 1}

    def row(self, number: int) -> Region:
        """The region of one row of the batch, (1, ...)."""
        return Region(self.mask[number : number + 1], self.tokens[number : number + 1])


def guide(unet: nn.Module, gamma: float) -> None:
    """Enable mask-guided attention in the spatial layers of a UNet, in place.

    Sets the processors of `attentions.*.attn1` and `.attn2`, not those of motion modules. The
    region is then passed as an argument: `unet(..., cross_attention_kwargs={"region": r})`.
    Without it, or with gamma = 1, the result is bit-identical to that of diffusers' own processor.

    unet: UNet2DConditionModel or UNetMotionModel. gamma: in (0, 1], the weight of a key of the
    other region relative to one of the same region; 1 disables the guidance.
    Raises ValueError for a gamma out of range and for attention layers of an unknown type.
    """
    if not 0 < gamma <= 1:
        raise ValueError(f"gamma must lie in (0, 1], not {gamma}")
    layers = {
        name: layer
        for name, layer in unet.named_modules()
        if isinstance(layer, Attention) and "attentions" in name.split(".")
    }
    if not layers:
        raise ValueError(f"{type(unet).__name__} has no spatial attention to guide")
    for name, layer in layers.items():
        if not _is_plain(layer):
            raise ValueError(f"{name} is not the plain attention of Stable Diffusion")
        layer.set_processor(GuidedAttention(gamma))


class GuidedAttention(TrainingAttention):
    """diffusers' attention processor with the appended channel; without a region it is plain."""

    def __init__(self, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        region: Region | None = None,
    ) -> Tensor:
        """Attend from hidden_states (N, L, C) to encoder_hidden_states (N, T, D) or themselves."""
        if region is None or self.gamma == 1:
            return super().__call__(
                attn, hidden_states, encoder_hidden_states, attention_mask, temb
            )
        cross = encoder_hidden_states is not None
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q = attn.to_q(hidden_states).unflatten(-1, (attn.heads, -1)).transpose(1, 2)  # (N, H, L, d)
        k = attn.to_k(context).unflatten(-1, (attn.heads, -1)).transpose(1, 2)  # (N, H, T, d)
        v = attn.to_v(context).unflatten(-1, (attn.heads, -1)).transpose(1, 2)  # (N, H, T, d)
        if attention_mask is not None:
            rows, keys = context.shape[:2]
            attention_mask = attn.prepare_attention_mask(attention_mask, keys, rows)
            attention_mask = attention_mask.view(rows, attn.heads, -1, attention_mask.shape[-1])
        m_q = pixel_region(region.mask, q.shape[2])  # (N, L)
        m_k = region.tokens if cross else m_q  # (N, T)
        x = guided_attention(q, k, v, m_q, m_k, self.gamma, attention_mask)
        x = attn.to_out[0](x.transpose(1, 2).flatten(2))  # (N, L, C)
        return attn.to_out[1](x)


def guided_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    m_q: Tensor,
    m_k: Tensor,
    gamma: float,
    attention_mask: Tensor | None = None,
) -> Tensor:
    """Softmax attention in which keys of the other region have gamma times the weight of others.

    q: (N, H, L, d); k, v: (N, H, T, d); m_q: (N, L) and m_k: (N, T) regions in [-1, 1];
    gamma in (0, 1]; attention_mask: an additive bias as in scaled_dot_product_attention.
    Returns (N, H, L, d).
    """
    d = q.shape[-1]
    c = d**-0.5
    s = math.sqrt(-math.log(gamma) / (2 * c))
    # Fused CUDA kernels need head dimensions in multiples of 8; CPU kernels do not.
    spare = -(d + 1) % 8 if q.is_cuda else 0
    q = F.pad(_append(q, s * m_q), (0, spare))
    k = F.pad(_append(k, s * m_k), (0, spare))
    v = F.pad(v, (0, 1 + spare))
    x = F.scaled_dot_product_attention(q, k, v, attn_mask=attention_mask, scale=c)
    return x[..., :d]


def pixel_region(mask: Tensor, pixels: int) -> Tensor:
    """Downsample a region to a layer's resolution by area averaging, so that borders are soft.

    mask: (N, 1, h, w) in [-1, 1]; pixels: the layer's sequence length, from h and w halved
    repeatedly, rounded up as by strided convolutions. Returns (N, pixels). Raises ValueError for a
    length that is no such product.
    """
    h, w = mask.shape[-2:]
    while h * w > pixels:
        h, w = (h + 1) // 2, (w + 1) // 2
    if h * w != pixels:
        raise ValueError(f"a mask of {tuple(mask.shape[-2:])} cannot be halved to {pixels} pixels")
    return F.interpolate(mask.float(), size=(h, w), mode="area").flatten(1)


def _append(x: Tensor, m: Tensor) -> Tensor:
    """Append m (N, L) to x (N, H, L, d) as a channel, equal in all heads."""
    return torch.cat([x, m.to(x.dtype)[:, None, :, None].expand(*x.shape[:-1], 1)], dim=-1)


def _is_plain(attn: Attention) -> bool:
    odd = (attn.spatial_norm, attn.group_norm, attn.norm_q, attn.norm_k, attn.norm_cross)
    plain = not any(odd) and not attn.residual_connection and attn.rescale_output_factor == 1
    return plain and isinstance(attn.processor, AttnProcessor2_0)
