"""AnimateAnywhere (Liu et al., MM '24) on one page.

The base is a text-to-image UNet whose input is the noisy latent with the pose latent beside it
(section 2.1, after HumanSD); with AnimateDiff's temporal layers put in it makes video. One person
is learned from one clip by the background-weakening loss (eq. 1) under mask-guided attention
(section 2.2), against regularization rows of the class.

What a backbone does in its own way is its `Family` (`backbones.family`), so that bases that are not
the paper's take the same way: a UNet that a ControlNet leads, and Wan VACE, whose loss is on the
flow.
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
    video_noise,
)
from animateanywhere.diffusion.sampling import Denoiser, guided
from animateanywhere.methods.animate_anywhere.batch import Batch, Conditions
from animateanywhere.methods.animate_anywhere.settings import Loss

TOGETHER = 2**15  # latent pixels; 16 frames of 512 pixels a side are twice as many


def build(base: Base, settings: Loss, video: bool) -> Any:
    """The network of a stage: the base's, for images or for video. They share weights."""
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
    """The training loss of every stage, a scalar, and what to log. network: as `build` made it for
    a base of the family.

    Subject rows take eq. 1 and guided attention, regularization rows the full frame and plain
    attention, as the batch says. noise_share: of the base, as in `video_noise`.
    row_by_row: keep nothing of a row's pass, and pass it again for its gradient (Chen et al. 2016).
    """
    latents = batch.latents  # (B, F, C, h, w)
    rows = len(latents)
    device = latents.device
    noise = video_noise(latents.shape, generator, noise_share).to(device)
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
    """Who owns which pixel and which word, for mask-guided attention."""
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
    """The function a sampler walks on, with classifier-free guidance: in one batch, or of large
    clips, of which one fills a GPU, in two passes, which take half of the memory.

    Returns a callable (x (B, F, C, h, w), timestep) -> prediction (B, F, C, h, w).
    """
    poses, text = conditions.pose_latents, conditions.text_states
    silent = conditions.negative_states.expand_as(text)

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        def passed(*parts: tuple[Tensor, Tensor]) -> Tensor:  # poses and text of each
            poses, text = map(torch.cat, zip(*parts, strict=True))
            timesteps = t.reshape(1).expand(len(poses)).to(x.device)
            return family.predict(network, torch.cat([x] * len(parts)), timesteps, poses, text)

        if guidance_scale == 1:
            return passed((poses, text))
        if x[:, :, 0].numel() <= TOGETHER:
            y, empty = passed((poses, text), (poses, silent)).chunk(2)
        else:
            y, empty = passed((poses, text)), passed((poses, silent))
        return guided(y, empty, guidance_scale, rescale)

    return denoise


def _logs(per_row: Tensor, batch: Batch) -> dict[str, float]:
    """The losses (B,) of subject rows, whose captions name the person, and of regularization rows,
    apart; nothing in base training."""
    if batch.tokens is None or batch.background is None:
        return {}
    subject = (batch.tokens > 0).any(1)
    rows = {"subject": per_row[subject], "regularization": per_row[~subject]}
    return {name: float(some.mean()) if len(some) else 0.0 for name, some in rows.items()}
