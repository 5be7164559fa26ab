"""A prompt and a skeleton through a base to frames: for `aa generate`, regularization clips and
the samples of a training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from animateanywhere.backbones.base import (
    Base,
    encode_text,
    guidance_rescale,
    latent_shape,
    noise_share,
    window_length,
)
from animateanywhere.backbones.vae import decoded
from animateanywhere.core.messages import progress
from animateanywhere.diffusion.losses import video_noise
from animateanywhere.diffusion.sampling import (
    Denoiser,
    blend,
    free_noise,
    make_scheduler,
    sample,
    switch_denoisers,
    windows,
)
from animateanywhere.methods.animate_anywhere import method
from animateanywhere.methods.animate_anywhere.batch import Conditions

LATE = 0.25  # of the steps, of what is applied late only
BATCH = 8  # pictures that are made at once
STEPS = 25  # of bases from before base.toml said it


def render(
    base: Base,
    unet: nn.Module,
    prompt: str,
    pose_latents: Tensor,
    seed: int,
    *,
    guidance_scale: float | None = None,
    steps: int | None = None,
    sampler: str | None = None,
    early: tuple[nn.Module, str] | None = None,
    free: bool = False,
) -> Iterator[np.ndarray]:
    """Frames (H, W, 3) uint8 of a prompt that follow pose latents (F, C, h, w), one after another,
    so that those of a long video need not all be held. Arguments as of `render_latents`."""
    steps = steps or steps_of(base)
    with progress("generating", total=steps) as bar:
        latents = render_latents(
            base, unet, prompt, pose_latents, seed, guidance_scale=guidance_scale, steps=steps,
            sampler=sampler, early=early, free=free, on_step=lambda: bar.advance(1),
        )  # fmt: skip
    return _decoded(base, latents)


def _decoded(base: Base, latents: Tensor) -> Iterator[np.ndarray]:
    count = 1 + base.packed * (len(latents) - 1)
    with progress("pictures", total=count) as bar:
        for frames in decoded(base.vae, latents, clip=True):
            yield from frames
            bar.advance(len(frames))


def render_latents(
    base: Base,
    unet: nn.Module,
    prompt: str,
    pose_latents: Tensor,
    seed: int,
    *,
    guidance_scale: float | None = None,
    steps: int | None = None,
    sampler: str | None = None,
    early: tuple[nn.Module, str] | None = None,
    free: bool = False,
    on_step: Callable[[], None] = lambda: None,
) -> Tensor:
    """Latents (F, C, h, w) of a prompt that follow pose latents of as many frames.

    unet: what `animate_anywhere.build` makes of the base. guidance_scale, steps, sampler: without,
    the base's own. early: another UNet and prompt for the first steps, of which `LATE` are left to
    `unet`: what was learned then changes looks, and motion and layout stay the base's. free: all
    windows start from the noise of the first (`sampling.free_noise`).
    Beyond the training length, windows go through it one at a time, so memory does not grow.
    """
    scheduler = make_scheduler(base.scheduler.config, sampler or sampler_of(base))
    steps = steps or steps_of(base)
    scale = base.config["guidance_scale"] if guidance_scale is None else guidance_scale
    count, length = len(pose_latents), window_length(base)
    # Noise from the CPU is the same on every device.
    generator = torch.Generator().manual_seed(seed)
    noise = video_noise((1, count, *latent_shape(base)), generator, noise_share(base))
    overlap = length // 4
    if free:
        noise = free_noise(noise, length, length - overlap, generator)
    noise = noise.to(pose_latents.device)
    rescale = guidance_rescale(base)

    def by(unet: nn.Module, prompt: str) -> Denoiser:
        with torch.no_grad():
            prompted, empty = encode_text(base, [prompt, ""]).split(1)
        conditions = Conditions(pose_latents[None], prompted, empty)

        def denoiser_of(start: int, stop: int) -> Denoiser:
            return method.denoiser(
                base.family, unet, conditions.window(start, stop), scale, rescale
            )

        return blend(denoiser_of, windows(count, length, overlap))

    denoiser = by(unet, prompt)
    if early is not None:
        denoiser = switch_denoisers(by(*early), denoiser, round(steps * (1 - LATE)))
    return sample(denoiser, noise, scheduler, steps, generator, lambda *_: on_step())[0]


def render_images(
    base: Base,
    unet: nn.Module,
    prompts: Sequence[str],
    pose_latents: Tensor,
    seed: int,
    steps: int,
    on_step: Callable[[int], None],
) -> Tensor:
    """Latents (N, C, h, w) of N pictures, each of its own prompt, pose (N, C, h, w) and noise.

    unet: the image UNet. on_step: called with how many pictures are a step further.
    """
    scheduler = make_scheduler(base.scheduler.config, sampler_of(base))
    scale, rescale = base.config["guidance_scale"], guidance_rescale(base)
    generator = torch.Generator().manual_seed(seed)
    made = []
    for start in range(0, len(prompts), BATCH):
        some = list(prompts[start : start + BATCH])
        with torch.no_grad():
            *states, empty = encode_text(base, [*some, ""]).split(1)
        poses = pose_latents[start : start + BATCH, None]  # (B, 1, C, h, w)
        denoiser = method.denoiser(
            base.family, unet, Conditions(poses, torch.cat(states), empty), scale, rescale
        )
        noise = torch.randn((len(some), 1, *latent_shape(base)), generator=generator)
        noise = noise.to(pose_latents.device)

        def told(*_: object, count: int = len(some)) -> None:
            on_step(count)

        made.append(sample(denoiser, noise, scheduler, steps, generator, told)[:, 0])
    return torch.cat(made)


def sampler_of(base: Base) -> str:
    """The sampler a base asks for."""
    return str(base.config.get("sampler", "dpm++"))


def steps_of(base: Base) -> int:
    """How many denoising steps a base asks for."""
    return int(base.config.get("steps", STEPS))
