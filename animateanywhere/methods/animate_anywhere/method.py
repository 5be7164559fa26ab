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

    Without masks it is plain denoising (base training), where `settings.heat` lets the person
    count more, as HumanSD's heatmap-guided loss does (arXiv 2304.04269; ours takes the heat from
    the pose itself). With masks, subject rows take eq. 1 and guided attention; regularization rows
    take the full frame and plain attention. noise_share: of the base, as in `video_noise`.
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
    if batch.heat is not None:
        error = error * (1 + settings.heat * batch.heat).sqrt()
    per_row = background_weakening(error, foreground_of(batch, settings), settings.alpha)  # (B,)
    per_row = per_row * min_snr_weight(levels, settings.snr_gamma, kind)
    if batch.regular is None:
        return per_row.mean(), {}
    weight = torch.where(batch.regular, settings.regularization_weight, 1.0)
    logs = {
        "subject": _mean(per_row[~batch.regular]),
        "regular": _mean(per_row[batch.regular]),
    }
    return (weight * per_row).mean(), logs


def foreground_of(batch: Batch, settings: Loss) -> Tensor:
    """M_fore, (B, F, 1, h, w): the person in subject rows, everything in the others.

    A background that the base made counts as `settings.keep` (ours): it holds the scenes, which
    eq. 1 leaves free wherever the token is named.
    """
    if batch.mask is None or not settings.weaken:
        return torch.ones_like(batch.latents[:, :, :1])
    least = torch.zeros(len(batch.mask)).to(batch.mask)  # (B,)
    if batch.made is not None:
        least = torch.where(batch.made, settings.keep, least)
    if batch.regular is not None:
        least = torch.where(batch.regular, 1.0, least)
    return torch.maximum(batch.mask, least[:, None, None, None, None])


def region_of(batch: Batch, settings: Loss) -> Region | None:
    """Who owns what, for the attention: subject rows by their masks, regularization rows nobody."""
    if batch.mask is None or batch.tokens is None or not settings.guide:
        return None
    rows = torch.ones(len(batch.mask)) if batch.regular is None else (~batch.regular).float()
    rows = rows.to(batch.mask)
    mask = (2 * batch.mask - 1) * rows[:, None, None, None, None]
    return Region(mask, batch.tokens * rows[:, None])


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


def _mean(values: Tensor) -> float:
    return float(values.detach().mean()) if len(values) else 0.0
