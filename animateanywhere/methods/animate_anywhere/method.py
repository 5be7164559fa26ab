"""AnimateAnywhere (Liu et al., MM '24) on one page.

The base is a text-to-image UNet whose input is the noisy latent with the pose latent beside it
(section 2.1, after HumanSD); with AnimateDiff's temporal layers put in it makes video. One person
is learned from one clip by the background-weakening loss (eq. 1) under mask-guided attention
(section 2.2), against regularization rows of the class.

Bases that are not the paper's take the same way: a UNet that a ControlNet leads, and Wan's
transformer, whose loss is on the flow.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import UNetMotionModel, WanVACETransformer3DModel
from einops import rearrange, repeat
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from animateanywhere.backbones import wan_vace
from animateanywhere.backbones.base import Base
from animateanywhere.backbones.controlnet import control_of, residuals
from animateanywhere.backbones.guided_attention import Region, guide
from animateanywhere.backbones.sd_unet import motion_unet
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
    """The network of a stage: the base's image UNet, or that with its temporal layers put in. Of
    Wan's kind one transformer makes both: to it a picture is a clip of one frame."""
    weighted = settings.guide and settings.gamma < 1
    if base.transformer is not None:
        if weighted:
            wan_vace.guide(base.transformer, settings.gamma)
        return base.transformer
    if not video:
        unet = base.unet
    elif base.motion_adapter is None:
        raise ValueError("the base has no motion adapter")
    else:
        unet = motion_unet(base.unet, base.motion_adapter)
    if weighted:
        guide(unet, settings.gamma)
    return unet


def predict(
    network: Any,
    x: Tensor,
    timesteps: Tensor,
    pose_latents: Tensor,
    text_states: Tensor,
    region: Region | None = None,
) -> Tensor:
    """One pass of a network that `build` made.

    Args:
        x: (B, F, C, h, w). timesteps: (B,). text_states: (B, T, D). pose_latents: like x, or what
            else the base sees of poses (`backbones.base.encode_poses`).
        region: None leaves attention plain.
    Returns: (B, F, C, h, w), in the scheduler's prediction type.
    """
    if isinstance(network, WanVACETransformer3DModel):
        return wan_vace.predict(network, x, timesteps, pose_latents, text_states, region)
    unet, frames = network, x.shape[1]
    controlnet = control_of(unet)
    text_states = repeat(text_states, "b t d -> (b f) t d", f=frames)
    options: dict[str, Any] = {}
    if region is not None:
        each_frame = Region(
            region.mask.flatten(0, 1), repeat(region.tokens, "b t -> (b f) t", f=frames)
        )
        options["cross_attention_kwargs"] = {"region": each_frame}
    if controlnet is None:
        x = torch.cat([x, pose_latents], dim=2)  # (B, F, 2C, h, w): conditioning by concatenation
    else:
        images, each = (
            rearrange(x, "b f c h w -> (b f) c h w"),
            repeat(timesteps, "b -> (b f)", f=frames),
        )
        options |= residuals(controlnet, images, each, pose_latents.flatten(0, 1), text_states)
    if isinstance(unet, UNetMotionModel):
        x = rearrange(x, "b f c h w -> b c f h w")
        y = unet(x, timesteps, encoder_hidden_states=text_states, **options).sample
        return rearrange(y, "b c f h w -> b f c h w")
    timesteps = repeat(timesteps, "b -> (b f)", f=frames)
    x = rearrange(x, "b f c h w -> (b f) c h w")
    y = unet(x, timesteps, encoder_hidden_states=text_states, **options).sample
    return rearrange(y, "(b f) c h w -> b f c h w", f=frames)


def loss(
    network: Any,
    batch: Batch,
    generator: torch.Generator,
    scheduler: Any,
    settings: Loss,
    timestep_shift: float = 1.0,
    noise_share: float = 0.0,
    row_by_row: bool = False,
) -> tuple[Tensor, dict[str, float]]:
    """The training loss of every stage, a scalar, and what to log.

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
                predict, network, *(part[row : row + 1] for part in inputs),
                None if region is None else region.row(row),
                use_reentrant=False, preserve_rng_state=False,
            )
            for row in range(rows)
        ])  # fmt: skip
    else:
        prediction = predict(network, *inputs, region)
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
    network: Any, conditions: Conditions, guidance_scale: float, rescale: float = 0.0
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
            return predict(network, torch.cat([x] * len(parts)), timesteps, poses, text)

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
