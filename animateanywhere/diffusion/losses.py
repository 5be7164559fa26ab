"""Diffusion losses, noise and timesteps: pure functions on tensors."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

FLOW = "flow_prediction"  # prediction type of a flow matching scheduler


def background_weakening(
    error: Tensor, mask: Tensor | None = None, background: Tensor | None = None
) -> Tensor:
    """L_BW, eq. 1 of the paper, per row: |M_fore (e - e_theta)|² + |alpha M_back (e - e_theta)|².

    alpha is inside the norm, so the weight of the background is alpha squared. The paper's masks
    are hard, so squaring does not change them; a latent covers many pixels, and their mean M² is
    the mean M. Therefore a soft mask is not squared here: otherwise a part smaller than a latent,
    such as a hand or a shoe, would have a smaller weight than its area.

    Args:
        error: (B, F, C, h, w), target minus prediction.
        mask: (B, F, 1, h, w) in [0, 1], the share of each latent that the person covers; without,
            the plain squared error.
        background: (B,), alpha squared: 0 ignores the background, 1 is the plain squared error.

    Returns:
        (B,), means over frames, channels and pixels.
    """
    if mask is None or background is None:
        return error.square().flatten(1).mean(1)
    weight = mask + background[:, None, None, None, None] * (1 - mask)
    return (weight * error.square()).flatten(1).mean(1)


def reconstruction(generated: Tensor, original: Tensor, weight: Tensor) -> Tensor:
    """Reconstruction loss of an autoencoder's pictures (N, 3, H, W) in [-1, 1], a scalar.

    Absolute and squared error, and the absolute error of the differences of neighboring pixels,
    which keeps edges sharp. weight: of each pixel, of a shape that expands to the pictures'.
    """
    error = generated - original
    weight = weight.expand_as(error)
    plain = (weight * (error.abs() + error.square())).mean()
    down = (weight[:, :, 1:] * error.diff(dim=2).abs()).mean()
    return plain + down + (weight[..., 1:] * error.diff(dim=3).abs()).mean()


class Level(NamedTuple):
    """Coefficients (B,) of x_t = signal · x_0 + noise · epsilon."""

    signal: Tensor
    noise: Tensor


def level(scheduler: Any, timesteps: Tensor) -> Level:
    """Signal and noise of timesteps (B,) of a diffusers scheduler.

    sqrt(alpha_bar) and sqrt(1 − alpha_bar), or for flow matching 1 − sigma and sigma (Lipman et al.
    2023), where a timestep is sigma times the number of training timesteps.
    """
    if scheduler.config.prediction_type == FLOW:
        sigma = timesteps.float() / scheduler.config.num_train_timesteps
        return Level(1 - sigma, sigma)
    alpha_bar = scheduler.alphas_cumprod.to(timesteps.device)[timesteps]
    return Level(alpha_bar.sqrt(), (1 - alpha_bar).sqrt())


def draw_timesteps(scheduler: Any, rows: int, shift: float, generator: torch.Generator) -> Tensor:
    """Random timesteps (rows,) int64 for training, uniform if `shift` is 1 (see `shifted`)."""
    count = scheduler.config.num_train_timesteps
    timesteps = shifted(torch.randint(count, (rows,), generator=generator), count, shift)
    flow = (
        scheduler.config.prediction_type == FLOW
    )  # its timestep 0 is the clean latents, without noise to learn
    return timesteps + 1 if flow else timesteps


def target(latents: Tensor, noise: Tensor, level: Level, prediction_type: str) -> Tensor:
    """The training target of the network, (B, F, C, h, w).

    `epsilon` is the noise (Ho et al. 2020), `v_prediction` is a·noise − s·latents (Salimans & Ho
    2022), `flow_prediction` is noise − latents (Lipman et al. 2023).
    Raises ValueError for another prediction type.
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
    """Unit Gaussian noise (B, F, C, h, w); `share` of its variance is common to a clip's frames.

    The mixed noise model of PYoCo (Ge et al. 2023, arXiv 2305.10474, section 4.1): frames of one
    video start from similar noise, so backgrounds remain still more easily. Use the same share in
    training and sampling. 0 is independent noise, as in AnimateDiff.
    """
    device = generator.device
    noise = torch.randn(shape, generator=generator, device=device)
    if not share:
        return noise
    common = torch.randn((shape[0], 1, *shape[2:]), generator=generator, device=device)
    mixed: Tensor = share**0.5 * common + (1 - share) ** 0.5 * noise
    return mixed


def training_noise(latents: Tensor, generator: torch.Generator, share: float = 0.0) -> Tensor:
    """`video_noise` for latents (B, F, C, h, w), on their device. A CUDA GPU draws it by a
    generator of its own, which the given one seeds: a processor takes longer to draw the noise of a
    large batch than the GPU to use it."""
    device = latents.device
    if device.type == "cuda":
        seed = int(torch.randint(2**62, (), generator=generator))
        generator = torch.Generator(device).manual_seed(seed)
    return video_noise(latents.shape, generator, share).to(device)


def shifted(timesteps: Tensor, count: int, shift: float) -> Tensor:
    """Uniform timesteps (B,) of 0..count-1 shifted towards noise, int64.

    s·u / (1 + (s − 1)·u) of Esser et al. 2024 (arXiv 2403.03206, eq. 23) with u the timestep as a
    share of `count`; a shift s of 1 changes nothing.
    """
    u = (timesteps + 0.5) / count
    return (count * shift * u / (1 + (shift - 1) * u)).long().clamp(0, count - 1)


def min_snr_weight(level: Level, gamma: float, prediction_type: str) -> Tensor:
    """Min-SNR-gamma loss weight (Hang et al. 2023, arXiv 2303.09556), (B,); 1 if gamma is 0.

    min(SNR, gamma) for the error of the clean latents; times s² for that of v or of a flow, which
    is finite without signal, and times s² / a² for that of the noise.
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
