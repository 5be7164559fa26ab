"""ContextAnyone (Mai and Tai 2025, arXiv 2512.07328) on one page.

A picture of a person and a prompt in, a video of that person out; nothing is learned per person.
One diffusion transformer sees the latents of the reference and the noisy ones of the video as one
sequence (figure 2b):

    [f_r, f_v] = f([z_r, z_t ⊕ p], t, c, e)

z_r the clean latents of the picture, z_t = (1 − σ)·x + σ·ε the noisy ones of the video, c the
states of the prompt; e image tokens of the picture, from the second encoder, in cross-attention
(figure 2a). With reference tokens r and video tokens v, a block is (`transformer.CastBlock`):

    a_r = softmax(q_r k_rᵀ) v_r                        one-way self-attention (figure 2d), with
    a_v = softmax(q_v [k_r, k_v]ᵀ) [v_r, v_v]            Gap-RoPE on queries and keys (figure 3)
    x  += gate · W a
    v  += W_e softmax(q(v) [k(r), 0]ᵀ) [v(r), 0]       Emphasize-Attention (figure 2c)
    x  += cross-attention to c and, apart, to e
    x  += gate · FFN(x)

Gap-RoPE gives the K pictures the temporal indices 0 … K − 1 and the frames of the video those from
K + β on. The dual-guidance loss is that of the flow and of the reconstructed reference:

    L = mean w·|(ε − x) − f_v|²  +  λ · mean |−z_r − f_r|²

References show the person in another action, light and scene than the video does (figure 4), so
that pixels cannot be copied (`pairs`).

The paper's text and code are not public but for abstract, introduction and figures. What these
leave open, and is ours here:
- The reference is clean, at time 0. Its tokens then depend on neither σ nor the video.
- What "reconstruct" predicts: −z_r. At σ = 0 the best flow is E[ε − x | x] = −x, so this is the
  flow's own loss at σ = 0 without its noise, by the same output layer. λ is 0.1.
- β is at least the number of token frames of a clip: no two frames of a video are then as far from
  each other as one of them is from a reference.
- Values are not rotated, though figure 3 draws RoPE on Q, K and V: Wan's are not.
- Emphasize-Attention comes after self-attention, has projections and a norm of its own, no
  positions, an empty key for what has no counterpart, and an output layer that starts at zero.
- Reference tokens see text and image tokens, as all others do.
- Guidance on reference and text apart, in three passes (`denoiser`), and what is left out for it in
  training: reference with its image tokens for all rows of a pass, the prompt row by row.
- Several pictures of a person, and p: pose latents beside the noisy ones, left out in part of the
  training. The error counts more near the limbs (w), as for this project's other bases.

Each mechanism has a switch, for its ablation: `one_way`, `gap` (0 is plain RoPE), `emphasis` and
`image_dim` (None: no second encoder) of the network, `reconstruction` (λ) of the loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from animateanywhere.diffusion.losses import (
    add_noise,
    draw_timesteps,
    level,
    target,
    training_noise,
)
from animateanywhere.diffusion.sampling import Denoiser


@dataclass(frozen=True)
class Reference:
    """K pictures of each of B people."""

    latents: Tensor  # z_r, (B, K, C, h, w)
    tokens: Tensor | None = None  # e, (B, M, D); None: without the second encoder


class Scales(NamedTuple):
    """Scales of guidance; 1 for both is one pass."""

    likeness: float = 1.0  # on the reference
    guidance: float = 1.0  # on the prompt


def predict(
    network: Any, x: Tensor, timesteps: Tensor, text: Tensor, reference: Reference | None = None,
    poses: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """One pass of a `CastTransformer`: the flows f_v (B, T, C, h, w) and f_r (B, K, C, h, w), the
    latter None without a reference.

    x: noisy latents (B, T, C, h, w). timesteps: (B,). text: states (B, L, D). poses: (B, T, C', h,
    w), None for none.
    """
    latents, tokens = (None, None) if reference is None else (reference.latents, reference.tokens)
    out = network(
        _channels_first(x), timesteps, text, tokens,
        None if latents is None else _channels_first(latents),
        None if poses is None else _channels_first(poses),
    )  # fmt: skip
    again = None if out.references is None else _channels_first(out.references)
    return _channels_first(out.sample), again


def loss(
    network: Any,
    latents: Tensor,
    text: Tensor,
    reference: Reference | None,
    poses: Tensor | None,
    weight: Tensor,
    scheduler: Any,
    generator: torch.Generator,
    timestep_shift: float = 1.0,
    reconstruction: float = 0.1,
) -> tuple[Tensor, dict[str, float]]:
    """The dual-guidance loss, a scalar, and its parts to log.

    latents: x, (B, T, C, h, w). weight: w, (B, T, 1, h, w). reconstruction: λ.
    """
    noise = training_noise(latents, generator)
    timesteps = draw_timesteps(scheduler, len(latents), timestep_shift, generator)
    timesteps = timesteps.to(latents.device)
    levels = level(scheduler, timesteps)
    flow, again = predict(
        network, add_noise(latents, noise, levels), timesteps, text, reference, poses
    )
    wanted = target(latents, noise, levels, scheduler.config.prediction_type)
    diffusion = (weight * (wanted - flow.float()).square()).mean()
    logs = {"diffusion": diffusion.item()}
    if reference is None or again is None or not reconstruction:
        return diffusion, logs
    rebuilt = (reference.latents + again.float()).square().mean()
    return diffusion + reconstruction * rebuilt, logs | {"reconstruction": rebuilt.item()}


def denoiser(
    network: Any, text: Tensor, empty: Tensor, reference: Reference | None, poses: Tensor | None,
    scales: Scales,
) -> Denoiser:  # fmt: skip
    """The function that a sampler calls, with guidance on the reference r and the prompt c apart:

        y = f(∅, ∅) + likeness · (f(r, ∅) − f(∅, ∅)) + guidance · (f(r, c) − f(r, ∅))

    Passes without weight in this sum are left out. text, empty: states (1, L, D) of the prompt and
    of the empty one. poses are in all passes.
    """

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        timesteps = t.reshape(1).expand(len(x)).to(x.device)

        def flow(given: Reference | None, states: Tensor) -> Tensor:
            return predict(network, x, timesteps, states, given, poses)[0]

        return guided(flow, scales, reference, None, text, empty)

    return denoise


def guided(
    flow: Callable[[Any, Tensor], Tensor], scales: Scales, reference: Any, nothing: Any,
    text: Tensor, empty: Tensor,
) -> Tensor:  # fmt: skip
    """The sum of `denoiser`. flow: a pass f(r, c) of a reference and of states; nothing: what is
    given in place of the reference."""
    likeness = scales.likeness if reference is not None else 1.0
    weights = 1 - likeness, likeness - scales.guidance, scales.guidance
    passes = (nothing, empty), (reference, empty), (reference, text)
    parts = [w * flow(*given).float() for w, given in zip(weights, passes, strict=True) if w]
    return reduce(torch.add, parts)


def _channels_first(x: Tensor) -> Tensor:
    """(B, T, C, h, w) to (B, C, T, h, w), and back."""
    return rearrange(x, "b t c h w -> b c t h w")
