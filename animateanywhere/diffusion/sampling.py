"""Sampling from noise to latents: one function over `denoiser(x, t)`.

A denoiser takes x (B, F, C, h, w) and a timestep and returns the model's prediction of the same
shape, in the scheduler's prediction type. Guidance and windows are functions around it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    LCMScheduler,
    UniPCMultistepScheduler,
)
from torch import Tensor

from animateanywhere.core.errors import UsageError
from animateanywhere.diffusion.losses import FLOW, video_noise

Denoiser = Callable[[Tensor, Tensor], Tensor]
Scheduler = Any  # of diffusers, whose lazy imports hide the types

SAMPLERS = ("dpm++", "ddim", "unipc", "lcm")


def make_scheduler(config: Mapping[str, Any], sampler: str = "dpm++") -> Scheduler:
    """A sampler with a base's noise schedule.

    config: the config of the base's scheduler (any diffusers scheduler's: betas, prediction type,
    zero-terminal SNR). sampler: "dpm++" (DPM-Solver++ 2M, Lu et al. 2022), "unipc" (Zhao et al.
    2023), "ddim" (Song et al. 2021; for a flow, Euler steps) or "lcm" (Luo et al. 2023, for weights
    distilled for it). Raises UsageError for another name, and for "lcm" with a flow.
    """
    config = dict(config)
    # Sampling of a model with zero-terminal SNR must start there (Lin et al. 2024, section 3.3)
    if config.get("rescale_betas_zero_snr"):
        config["timestep_spacing"] = "trailing"
    if sampler == "unipc":
        return UniPCMultistepScheduler.from_config(config)
    if sampler == "lcm":
        if config.get("prediction_type") == FLOW:
            raise UsageError(
                "--sampler lcm cannot be used with a flow matching base; "
                "give --sampler unipc with as few --steps"
            )
        return LCMScheduler.from_config(config, clip_sample=False)
    if sampler == "ddim" and config.get("prediction_type") == FLOW:
        return FlowMatchEulerDiscreteScheduler(
            config["num_train_timesteps"], shift=config.get("flow_shift", 1.0)
        )
    if sampler == "ddim":
        # clip_sample is for pixels in [-1, 1]; latents exceed it
        return DDIMScheduler.from_config(config, clip_sample=False)
    if sampler == "dpm++":
        return DPMSolverMultistepScheduler.from_config(
            config, algorithm_type="dpmsolver++", solver_order=2, final_sigmas_type="zero"
        )
    raise UsageError(f"--sampler {sampler!r} does not exist; choose one of {', '.join(SAMPLERS)}")


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    x: Tensor,
    scheduler: Scheduler,
    steps: int,
    generator: torch.Generator | None = None,
    on_step: Callable[[int, Tensor], None] | None = None,
    noise_share: float = 0.0,
) -> Tensor:
    """Sample latents from noise.

    Args:
        denoiser: see the module's docstring.
        x: unit Gaussian noise (B, F, C, h, w), float32; the state keeps its dtype.
        steps: number of denoising steps.
        generator: for samplers that draw noise: "lcm". None: torch's global one.
        on_step: called after each step with the number of steps done and the state.
        noise_share: of the noise that such a sampler draws, see `losses.video_noise`.

    Returns:
        Latents of the shape and dtype of x.
    """
    set_timesteps(scheduler, steps, x.device)
    x = x * getattr(scheduler, "init_noise_sigma", 1.0)  # flow schedulers do not define it: 1
    scaled = getattr(scheduler, "scale_model_input", lambda x, _: x)
    for done, t in enumerate(scheduler.timesteps, start=1):
        prediction = denoiser(scaled(x, t), t).to(x.dtype)
        if isinstance(scheduler, LCMScheduler):
            x = _lcm_step(scheduler, prediction, t, x, generator or torch.default_generator,
                          noise_share)  # fmt: skip
        else:
            x = scheduler.step(prediction, t, x, return_dict=False)[0]
        if on_step is not None:
            on_step(done, x)
    return x


def _lcm_step(
    scheduler: Scheduler, prediction: Tensor, t: Tensor, x: Tensor, generator: torch.Generator,
    noise_share: float,
) -> Tensor:  # fmt: skip
    """A step of LCM: from the prediction to clean latents, and with new noise to the next timestep.

    diffusers' own draws independent noise for each frame; `noise_share` must be that of training.
    """
    with torch.random.fork_rng([]):  # what it draws is not used
        clean: Tensor = scheduler.step(prediction, t, x, return_dict=False)[1]
    if scheduler.step_index == len(scheduler.timesteps):
        return clean
    noise = video_noise(x.shape, generator, noise_share).to(x)
    following: Tensor = scheduler.add_noise(clean, noise, scheduler.timesteps[scheduler.step_index])
    return following


def guided(cond: Tensor, uncond: Tensor, scale: float, rescale: float = 0.0) -> Tensor:
    """Classifier-free guidance (Ho & Salimans 2022), rescaled against overexposure.

    cond, uncond: predictions (B, ...). scale: 1 gives cond. rescale: phi of Lin et al. 2024,
    equations 15 and 16, in [0, 1]: how far the standard deviation of each sample is rescaled to
    that of cond; about 0.7 for models with zero-terminal SNR. Returns (B, ...).
    """
    x = uncond + scale * (cond - uncond)
    if rescale == 0:
        return x
    dims = tuple(range(1, x.ndim))
    kept = cond.std(dims, keepdim=True) / x.std(dims, keepdim=True)
    return x * (rescale * kept + 1 - rescale)


def shared_by(length: int) -> int:
    """How many of the frames of a window its neighbor shares, unless asked for otherwise."""
    return length // 4


def windows(frames: int, length: int, overlap: int | None = None) -> list[tuple[int, int]]:
    """Ranges (start, stop) of at most `length` frames that cover `frames`.

    Neighbors share at least `overlap` frames, by default as many as `shared_by` says, and are
    evenly spaced, so that the last one is not shorter. Raises ValueError unless 0 <= overlap <
    length.
    """
    overlap = shared_by(length) if overlap is None else overlap
    if not 0 <= overlap < length:
        raise ValueError(f"an overlap of {overlap} does not fit windows of {length} frames")
    if frames <= length:
        return [(0, frames)]
    count = -(-(frames - overlap) // (length - overlap))
    starts = [i * (frames - length) // (count - 1) for i in range(count)]
    return [(start, start + length) for start in starts]


def free_noise(noise: Tensor, ranges: list[tuple[int, int]], generator: torch.Generator) -> Tensor:
    """Noise (B, F, C, h, w) for a long video by shuffling that of its first window.

    FreeNoise (Qiu et al. 2023, arXiv 2310.15169, section 3.2): the frames that a window has beyond
    the one before it get the noise of the frames it leaves behind, in another order. So each window
    starts from the noise of the first, every frame of it once, and all agree in content. ranges: as
    from `windows`, which need not be evenly spaced.
    """
    out = noise.clone()
    for (start, stop), (next_start, next_stop) in pairwise(ranges):
        left = start + torch.randperm(next_start - start, generator=generator)
        out[:, stop:next_stop] = out[:, left]
    return out


def blend(
    denoiser_of: Callable[[int, int], Denoiser], ranges: list[tuple[int, int]], front: int = 0
) -> Denoiser:
    """Combine the denoisers of windows into one for a long video.

    denoiser_of(start, stop): the denoiser for these frames, with their conditions. ranges: as from
    `windows`. Windows pass through the model one after another, so memory does not grow with the
    number of frames; overlapping predictions are averaged with triangular weights, so that the
    window in whose center a frame lies counts most. front: so many positions of x come before the
    frames, and before those of every window.
    """
    parts = [(start, stop, denoiser_of(start, stop)) for start, stop in ranges]
    if len(parts) == 1:
        return parts[0][2]

    def denoiser(x: Tensor, t: Tensor) -> Tensor:  # (B, front + F, C, h, w)
        total = torch.zeros_like(x)
        weights = x.new_zeros(x.shape[1], 1, 1, 1)
        for start, stop, part in parts:
            rows = [*range(front), *range(front + start, front + stop)]
            weight = torch.cat([torch.ones(front), triangle(stop - start)])
            weight = weight.to(x)[:, None, None, None]
            total[:, rows] += weight * part(x[:, rows], t)
            weights[rows] += weight
        return total / weights

    return denoiser


def switch_denoisers(first: Denoiser, then: Denoiser, last: float) -> Denoiser:
    """A denoiser that is `first` for timesteps above `last`, and `then` from there on.

    last: the first timestep of `then`, such as an entry of `scheduler.timesteps`.
    """

    def denoiser(x: Tensor, t: Tensor) -> Tensor:
        return (first if t > last else then)(x, t)

    return denoiser


def set_timesteps(scheduler: Scheduler, steps: int, device: torch.device) -> None:
    """Set the timesteps of a sampler, as `sample` does: with trailing spacing, a multistep solver
    gets more of them near the data.

    Evenly spaced, the last of 25 steps jumps from sigma 0.19 to 0 and blurs: for Gaussian data of
    standard deviation 0.35 (0.1) the sampled deviation was 13 % (56 %) too small. With spacing by
    the power 1.5 it is 1.8 % (25 %), and wider data improve as well. DDIM in diffusers supports
    even steps only.
    """
    trailing = scheduler.config.get("timestep_spacing") == "trailing"
    if trailing and isinstance(scheduler, DPMSolverMultistepScheduler):
        end = scheduler.config.num_train_timesteps
        spaced = (end * torch.linspace(1, 0, steps + 1)[:-1] ** 1.5).round().long() - 1
        if spaced.unique().numel() == steps and spaced[-1] >= 0:
            scheduler.set_timesteps(timesteps=spaced.tolist(), device=device)
            return
    scheduler.set_timesteps(steps, device=device)


def triangle(length: int) -> Tensor:
    """Triangular weights (length,), highest in the middle and never 0."""
    distance = (torch.arange(length) - (length - 1) / 2).abs()
    return (length + 1) / 2 - distance
