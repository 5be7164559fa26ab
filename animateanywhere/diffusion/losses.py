"""Losses: pure functions on tensors."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

FLOW = "flow_prediction"  # of a scheduler: from latents to noise in a straight line


def background_weakening(error: Tensor, foreground: Tensor, alpha: float) -> Tensor:
    """L_BW, eq. 1 of the paper, per row: |M_fore (e - e_theta)|² + |alpha M_back (e - e_theta)|².

    alpha stands inside the norm, so the background weighs alpha squared. The paper's masks are
    hard, so squaring leaves them as they are; a latent covers many pixels, and their mean M² is the
    mean M. So a soft mask weighs as it is: squared, what is smaller than a latent, such as a hand
    or a shoe, would count four times less than its area.

    Args:
        error: (B, F, C, h, w), target minus prediction.
        foreground: (B, F, 1, h, w) in [0, 1], the share of each latent that the person covers.
        alpha: 0 forgets the background, 1 is the plain squared error.
    Returns: (B,), means over frames, channels and pixels.
    """
    weight = foreground + alpha**2 * (1 - foreground)
    return (weight * error.square()).flatten(1).mean(1)


def reconstruction(made: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """How far an autoencoder's pictures (N, 3, H, W) in [-1, 1] are from the wanted ones, a scalar:
    absolute and squared error, and that of neighboring pixels' differences, which keeps edges
    sharp. `weight`, of a shape that expands to theirs, says how much a pixel counts."""
    error = made - wanted
    weight = weight.expand_as(error)
    plain = (weight * (error.abs() + error.square())).mean()
    down = (weight[:, :, 1:] * error.diff(dim=2).abs()).mean()
    return plain + down + (weight[..., 1:] * error.diff(dim=3).abs()).mean()


class Level(NamedTuple):
    """How much of each x_t holds, (B,): x_t = signal · x_0 + noise · epsilon."""

    signal: Tensor
    noise: Tensor


def level(scheduler: Any, timesteps: Tensor) -> Level:
    """Of timesteps (B,) of a scheduler of diffusers: sqrt(alpha_bar) and sqrt(1 − alpha_bar), or
    where it is flow matching 1 − sigma and sigma (Lipman et al. 2023), timesteps being sigma in
    thousandths."""
    if scheduler.config.prediction_type == FLOW:
        sigma = timesteps.float() / scheduler.config.num_train_timesteps
        return Level(1 - sigma, sigma)
    alpha_bar = scheduler.alphas_cumprod.to(timesteps.device)[timesteps]
    return Level(alpha_bar.sqrt(), (1 - alpha_bar).sqrt())


def draw_timesteps(scheduler: Any, rows: int, shift: float, generator: torch.Generator) -> Tensor:
    """Timesteps (rows,) int64 to train at, uniform but for `shift` (see `shifted`)."""
    count = scheduler.config.num_train_timesteps
    timesteps = shifted(torch.randint(count, (rows,), generator=generator), count, shift)
    flow = scheduler.config.prediction_type == FLOW  # counts from pure latents, which teach nothing
    return timesteps + 1 if flow else timesteps


def target(latents: Tensor, noise: Tensor, level: Level, prediction_type: str) -> Tensor:
    """What the network is to predict, (B, F, C, h, w).

    `epsilon` is the noise (Ho et al. 2020), `v_prediction` is a·noise − s·latents (Salimans & Ho
    2022), `flow_prediction` is noise − latents (Lipman et al. 2023).
    """
    if prediction_type == "epsilon":
        return noise
    if prediction_type == FLOW:
        return noise - latents
    if prediction_type == "v_prediction":
        a, s = map(_wide, level)
        return a * noise - s * latents
    raise ValueError(f"unknown prediction type {prediction_type}")


def add_noise(latents: Tensor, noise: Tensor, level: Level) -> Tensor:
    """x_t = signal · x_0 + noise · epsilon; shapes as in `target`."""
    a, s = map(_wide, level)
    return a * latents + s * noise


def video_noise(
    shape: torch.Size | tuple[int, ...], generator: torch.Generator, share: float = 0.0
) -> Tensor:
    """Unit noise (B, F, C, h, w), of whose variance `share` is common to all frames of a clip.

    The mixed noise of PYoCo (Ge et al. 2023, arXiv 2305.10474, section 4.1): frames of one video
    come from noise that is alike, and backgrounds then stand still of themselves. The same share
    belongs into training and sampling. 0 is independent noise, as AnimateDiff's.
    """
    noise = torch.randn(shape, generator=generator)
    if not share:
        return noise
    common = torch.randn((shape[0], 1, *shape[2:]), generator=generator)
    mixed: Tensor = share**0.5 * common + (1 - share) ** 0.5 * noise
    return mixed


def shifted(timesteps: Tensor, count: int, shift: float) -> Tensor:
    """Uniform timesteps (B,) of 0..count-1 moved towards noise: s·u / (1 + (s − 1)·u) of Esser et
    al. 2024 (arXiv 2403.03206, eq. 23) on their share u of the way; shift 1 changes nothing."""
    u = (timesteps + 0.5) / count
    return (count * shift * u / (1 + (shift - 1) * u)).long().clamp(0, count - 1)


def min_snr_weight(level: Level, gamma: float, prediction_type: str) -> Tensor:
    """Min-SNR-gamma loss weight (Hang et al. 2023, arXiv 2303.09556), (B,); 1 where gamma is 0.

    min(SNR, gamma) on the error of the clean latents: times s² on that of v or of a flow, which is
    finite where no signal is left, and times s² / a² on that of the noise.
    """
    if gamma <= 0:
        return torch.ones_like(level.signal)
    snr = level.signal.square() / level.noise.square().clamp_min(1e-8)
    capped = snr.clamp_max(gamma)
    if prediction_type == "epsilon":
        return capped / snr.clamp_min(1e-8)
    return capped * level.noise.square()


def _wide(values: Tensor) -> Tensor:
    return values[:, None, None, None, None]  # (B, 1, 1, 1, 1)
