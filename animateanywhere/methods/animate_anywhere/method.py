"""AnimateAnywhere (Liu et al., MM '24) on one page.

The base is a text-to-image UNet whose input is the noisy latent concatenated with the pose latent
(section 2.1, after HumanSD); AnimateDiff's temporal layers extend it to video. One person is
learned from one clip by the background-weakening loss (eq. 1) with mask-guided attention (section
2.2), and regularization rows of the class.

Differences between backbones are in their `Family` (`backbones.family`), so bases other than the
paper's run through the same code: a UNet with a ControlNet, and Wan VACE with flow matching.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from animateanywhere.backbones.family import Base, Family
from animateanywhere.backbones.guided_attention import Region
from animateanywhere.diffusion.losses import (
    add_noise,
    background_weakening,
    draw_timesteps,
    level,
    min_snr_weight,
    target,
    training_noise,
)
from animateanywhere.diffusion.sampling import Denoiser, guided
from animateanywhere.methods.animate_anywhere.batch import Batch, Conditions
from animateanywhere.methods.animate_anywhere.settings import Loss

# Latent pixels up to which classifier-free guidance is one batch; 16 frames of 512 pixels a side
# have twice as many
TOGETHER = 2**15


def build(base: Base, settings: Loss, video: bool) -> Any:
    """The network of a stage, for images or for video, with mask-guided attention if the settings
    say so. Networks of one base share their weights."""
    network = base.family.build(base, video)
    if settings.guide and settings.gamma < 1:
        base.family.guide(network, settings.gamma)
    return network


def loss(
    family: Family,
    network: Any,
    batch: Batch,
    generator: torch.Generator,
    scheduler: Any,
    settings: Loss,
    timestep_shift: float = 1.0,
    noise_share: float = 0.0,
    row_by_row: bool = False,
) -> tuple[Tensor, dict[str, float]]:
    """The training loss of all stages (eq. 1), a scalar, and values to log.

    network: from `build`, for a base of the family. The batch determines that subject rows have
    weakened backgrounds and guided attention, and regularization rows a loss on the full frame and
    plain attention. timestep_shift: see `draw_timesteps`. noise_share: see `video_noise`.
    row_by_row: pass rows through the network one by one with gradient checkpointing (Chen et al.
    2016, arXiv 1604.06174), which needs the memory of a single row.
    """
    latents = batch.latents  # (B, F, C, h, w)
    rows = len(latents)
    device = latents.device
    noise = training_noise(latents, generator, noise_share)
    timesteps = draw_timesteps(scheduler, rows, timestep_shift, generator).to(device)  # (B,)
    levels = level(scheduler, timesteps)
    x = add_noise(latents, noise, levels)
    region = region_of(batch, settings)
    inputs = (x, timesteps, batch.pose_latents, batch.text_states)
    if row_by_row:
        prediction = torch.cat([
            checkpoint(
                family.predict, network, *(part[row : row + 1] for part in inputs),
                None if region is None else region.row(row),
                use_reentrant=False, preserve_rng_state=False,
            )
            for row in range(rows)
        ])  # fmt: skip
    else:
        prediction = family.predict(network, *inputs, region)
    kind = scheduler.config.prediction_type
    error = target(latents, noise, levels, kind) - prediction.float()
    per_row = background_weakening(error, batch.mask, batch.background)  # (B,)
    per_row = per_row * min_snr_weight(levels, settings.snr_gamma, kind)
    weight = torch.ones_like(per_row) if batch.weight is None else batch.weight
    return (weight * per_row).mean(), _logs(per_row.detach(), batch)


def region_of(batch: Batch, settings: Loss) -> Region | None:
    """The regions of pixels and tokens for mask-guided attention; None for plain attention."""
    if batch.mask is None or batch.tokens is None or not settings.guide:
        return None
    return Region(2 * batch.mask - 1, batch.tokens)


def denoiser(
    family: Family,
    network: Any,
    conditions: Conditions,
    guidance_scale: float,
    rescale: float = 0.0,
) -> Denoiser:
    """The function that a sampler calls, with classifier-free guidance (Ho and Salimans 2022, arXiv
    2207.12598).

    Returns a callable (x (B, F, C, h, w), timestep) -> prediction (B, F, C, h, w). Conditional and
    unconditional predictions are one batch, or for large clips two passes with half the memory.
    rescale: see `base.guidance_rescale`.
    """
    poses, text = conditions.pose_latents, conditions.text_states
    unprompted = conditions.negative_states.expand_as(text)

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        def predict(*parts: tuple[Tensor, Tensor]) -> Tensor:  # parts: (poses, text states)
            poses, text = map(torch.cat, zip(*parts, strict=True))
            timesteps = t.reshape(1).expand(len(poses)).to(x.device)
            return family.predict(network, torch.cat([x] * len(parts)), timesteps, poses, text)

        if guidance_scale == 1:
            return predict((poses, text))
        if x[:, :, 0].numel() <= TOGETHER:
            y, empty = predict((poses, text), (poses, unprompted)).chunk(2)
        else:
            y, empty = predict((poses, text)), predict((poses, unprompted))
        return guided(y, empty, guidance_scale, rescale)

    return denoise


def _logs(per_row: Tensor, batch: Batch) -> dict[str, float]:
    """Mean losses of subject rows, whose captions name the person, and of regularization rows; {}
    in base training. per_row: (B,)."""
    if batch.tokens is None or batch.background is None:
        return {}
    subject = (batch.tokens > 0).any(1)
    rows = {"subject": per_row[subject], "regularization": per_row[~subject]}
    return {name: float(some.mean()) if len(some) else 0.0 for name, some in rows.items()}
