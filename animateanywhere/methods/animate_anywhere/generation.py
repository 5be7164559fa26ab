"""Generation of images and videos from prompts and skeletons: for `aa generate`, regularization
data and samples during training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from animateanywhere.backbones.base import (
    Base,
    encode_prompts,
    encode_text,
    guidance_rescale,
    latent_shape,
    noise_share,
    sampler_of,
    window_length,
)
from animateanywhere.backbones.vae import decoded
from animateanywhere.core.messages import progress
from animateanywhere.diffusion.circular import blend_circle
from animateanywhere.diffusion.losses import video_noise
from animateanywhere.diffusion.sampling import (
    Denoiser,
    blend,
    free_noise,
    make_scheduler,
    sample,
    set_timesteps,
    shared_by,
    switch_denoisers,
    windows,
)
from animateanywhere.methods.animate_anywhere import method
from animateanywhere.methods.animate_anywhere.batch import Conditions

LATE = 0.25  # share of the denoising steps in which weights with `late_only` are applied
BATCH = 8  # images that are denoised at once
STEPS = 25  # denoising steps of bases whose base.toml has none


@dataclass(frozen=True)
class Sampling:
    """Options of sampling; None stands for the base's default.

    steps: number of denoising steps. early: another network and prompt for all steps but the last
    share `LATE`, so that learned weights change the appearance, while motion and layout are the
    base's. free: all windows start from the noise of the first (`sampling.free_noise`). negative:
    the prompt to move away from, "" by default. weighted: words of the prompts may have weights
    (`prompt_weights`); captions are taken literally. circle: the last frame leads to the first.
    """

    guidance_scale: float | None = None
    steps: int | None = None
    sampler: str | None = None
    early: tuple[nn.Module, str] | None = None
    free: bool = False
    negative: str = ""
    weighted: bool = False
    circle: bool = False


DEFAULTS = Sampling()


def render(
    base: Base,
    unet: nn.Module,
    prompt: str,
    pose_latents: Tensor,
    seed: int,
    sampling: Sampling = DEFAULTS,
) -> Iterator[np.ndarray]:
    """Generate a video as an iterator over frames (H, W, 3) uint8, so that the frames of a long
    video are never all in memory. Arguments: see `render_latents`."""
    with progress("generating", total=sampling.steps or steps_of(base)) as bar:
        latents = render_latents(
            base, unet, prompt, pose_latents, seed, sampling, lambda: bar.advance(1)
        )
    return _decoded(base, latents)


def _decoded(base: Base, latents: Tensor) -> Iterator[np.ndarray]:
    count = 1 + base.packed * (len(latents) - 1)
    with progress("decoding", total=count) as bar:
        for frames in decoded(base.vae, latents, clip=True):
            yield from frames
            bar.advance(len(frames))


def render_latents(
    base: Base,
    unet: nn.Module,
    prompt: str,
    pose_latents: Tensor,
    seed: int,
    sampling: Sampling = DEFAULTS,
    on_step: Callable[[], None] = lambda: None,
) -> Tensor:
    """Generate the latents (T, C, h, w) of a prompt that follow pose conditions (T, *pose_shape).

    unet: from `method.build`. on_step: called after each denoising step. Latents beyond the length
    the network was trained with are denoised in overlapping windows, one at a time, so that memory
    does not grow with length.
    """
    config = base.scheduler_for(unet).config
    scheduler = make_scheduler(config, sampling.sampler or sampler_of(base))
    steps = sampling.steps or steps_of(base)
    scale = sampling.guidance_scale
    scale = base.config["guidance_scale"] if scale is None else scale
    count, length = len(pose_latents), window_length(base)
    # Noise drawn on the CPU is the same for every device
    generator = torch.Generator().manual_seed(seed)
    share = noise_share(base)
    noise = video_noise((1, count, *latent_shape(base)), generator, share)
    ranges = windows(count, length)
    if sampling.free:
        noise = free_noise(noise, ranges, generator)
    noise = noise.to(pose_latents.device)
    rescale = guidance_rescale(base)

    def windowed(unet: nn.Module, prompt: str) -> Denoiser:
        encode = encode_prompts if sampling.weighted else encode_text
        with torch.no_grad():
            prompted, empty = encode(base, [prompt, sampling.negative]).split(1)
        poses = torch.cat([pose_latents, pose_latents]) if sampling.circle else pose_latents
        conditions = Conditions(poses[None], prompted, empty)

        def denoiser_of(start: int, stop: int) -> Denoiser:
            return method.denoiser(
                base.family, unet, conditions.window(start, stop), scale, rescale
            )

        if sampling.circle:
            return blend_circle(denoiser_of, count, length, shared_by(length))
        return blend(denoiser_of, ranges)

    denoiser = windowed(unet, prompt)
    if sampling.early is not None:
        set_timesteps(scheduler, steps, noise.device)
        late = scheduler.timesteps[round(steps * (1 - LATE)) :].tolist()  # [] with a single step
        denoiser = switch_denoisers(windowed(*sampling.early), denoiser, max(late, default=-1))
    return sample(denoiser, noise, scheduler, steps, generator, lambda *_: on_step(), share)[0]


def render_images(
    base: Base,
    unet: nn.Module,
    prompts: Sequence[str],
    pose_latents: Tensor,
    seed: int,
    steps: int,
    on_step: Callable[[int], None],
) -> Tensor:
    """Generate N images, each from its own prompt, pose condition and noise: latents (N, C, h, w).

    unet: the network for images. pose_latents: (N, *pose_shape). steps: number of denoising steps.
    on_step: called after each step with the number of images in the batch.
    """
    scheduler = make_scheduler(base.scheduler_for(unet).config, sampler_of(base))
    scale, rescale = base.config["guidance_scale"], guidance_rescale(base)
    generator = torch.Generator().manual_seed(seed)
    latents = []
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

        def advance(*_: object, count: int = len(some)) -> None:
            on_step(count)

        latents.append(sample(denoiser, noise, scheduler, steps, generator, advance)[:, 0])
    return torch.cat(latents)


def steps_of(base: Base) -> int:
    """The default number of denoising steps of a base."""
    return int(base.config.get("steps", STEPS))
