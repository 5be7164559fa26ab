"""The three attentions of a block (figure 2 of the paper), as processors of diffusers'
`WanAttention`.

The sequence of a block is (B, n + N, D): n tokens of the reference, then N of the video.
"""

from __future__ import annotations

import torch
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.transformers.transformer_wan import WanAttention, WanAttnProcessor
from torch import Tensor
from torch.nn import functional as F

from animateanywhere.diffusion.attention import FEW_TOKENS, trains_in_bfloat16

Rope = tuple[Tensor, Tensor]  # cosines and sines (1, L, 1, d) of L tokens


class OneWayAttention(WanAttnProcessor):
    """Self-attention in which the reference does not see the video (figure 2d):

        a_r = softmax(q_r k_rᵀ / √d) v_r
        a_v = softmax(q_v [k_r, k_v]ᵀ / √d) [v_r, v_v]

    These are two calls of a fused kernel. A mask would be a tensor of (n + N)² values, with which
    most of such kernels do not work.
    """

    def __call__(
        self,
        attn: WanAttention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        rotary_emb: Rope | None = None,
        references: int = 0,
    ) -> Tensor:
        """hidden_states: (B, n + N, D), of which `references` is n. Returns the same shape."""
        q, k, v = projected(attn, hidden_states, hidden_states)
        if rotary_emb is not None:
            q, k = rotated(q, *rotary_emb), rotated(k, *rotary_emb)
        n = references
        if not n:
            return merged(attn, attend(q, k, v))
        of_reference = attend(q[:, :n], k[:, :n], v[:, :n])
        of_video = attend(q[:, n:], k, v)
        return merged(attn, torch.cat([of_reference, of_video], 1))


class EmphasizeAttention(WanAttnProcessor):
    """Attention from the video to the reference (figure 2c):

        a_v = softmax(q(v) [k(r), 0]ᵀ / √d) [v(r), 0]

    The zeros are an empty token, by which a token of the background may look at nothing. There is
    no position in it: what looks alike is found by content.
    """

    def __call__(
        self,
        attn: WanAttention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        rotary_emb: Rope | None = None,
    ) -> Tensor:
        """hidden_states: the video (B, N, D). encoder_hidden_states: the reference (B, n, D).
        Returns (B, N, D)."""
        q, k, v = projected(attn, hidden_states, encoder_hidden_states)
        empty = (0, 0, 0, 0, 0, 1)  # one more token
        return merged(attn, attend(q, F.pad(k, empty), F.pad(v, empty)))


class DualAttention(WanAttnProcessor):
    """Cross-attention to the text and, with keys and values of their own, to image tokens
    (figure 2a); the results are added, as in Wan's image-to-video network.

    diffusers' processor takes the last 512 tokens for the text, as many as Wan's prompts have.
    """

    def __call__(
        self,
        attn: WanAttention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        rotary_emb: Rope | None = None,
        images: int = 0,
    ) -> Tensor:
        """hidden_states: (B, L, D). encoder_hidden_states: (B, images + T, D), image tokens first,
        then the text. Returns (B, L, D)."""
        assert encoder_hidden_states is not None
        text, pictures = encoder_hidden_states[:, images:], encoder_hidden_states[:, :images]
        q, k, v = projected(attn, hidden_states, text)
        out = attend(q, k, v)
        if images:
            k = attn.norm_added_k(attn.add_k_proj(pictures)).unflatten(2, (attn.heads, -1))
            v = attn.add_v_proj(pictures).unflatten(2, (attn.heads, -1))
            out = out + attend(q, k, v)
        return merged(attn, out)


def projected(attn: WanAttention, x: Tensor, context: Tensor | None) -> tuple[Tensor, ...]:
    """Queries (B, L, H, d) of x (B, L, D), and keys and values (B, S, H, d) of a context
    (B, S, D)."""
    each = attn.norm_q(attn.to_q(x)), attn.norm_k(attn.to_k(context)), attn.to_v(context)
    return tuple(part.unflatten(2, (attn.heads, -1)) for part in each)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of queries (B, L, H, d) to keys and values (B, S, H, d) as (B, L, H·d), by the
    kernel that diffusers is set to; by products of matrices where those train faster."""
    if trains_in_bfloat16(q) and k.shape[1] <= FEW_TOKENS:
        q, k, v = (part.transpose(1, 2) for part in (q * q.shape[-1] ** -0.5, k, v))
        return ((q @ k.mT).softmax(-1).type_as(v) @ v).transpose(1, 2).flatten(2)
    return dispatch_attention_fn(q, k, v).flatten(2).type_as(q)


def merged(attn: WanAttention, x: Tensor) -> Tensor:
    """The output layer, with its dropout."""
    for layer in attn.to_out:
        x = layer(x)
    return x


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding (Su et al. 2021, arXiv 2104.09864) of x (B, L, H, d): each pair of
    channels is turned by its angle, whose cosine and sine stand twice in `Rope`."""
    first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = cos[..., 0::2], sin[..., 0::2]
    pairs = torch.stack([first * cos - second * sin, first * sin + second * cos], -1)
    return pairs.flatten(-2).type_as(x)
