"""Videos by a base that takes pictures in front of a clip (`Family.encode_reference`): their
positions are denoised with those of the clip, and then dropped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from animateanywhere.backbones.base import Base, sampler_of, window_length
from animateanywhere.backbones.family import latent_shape
from animateanywhere.diffusion.kept_steps import kept
from animateanywhere.diffusion.sampling import (
    Denoiser,
    blend,
    guided,
    make_scheduler,
    sample,
    windows,
)


class Words(NamedTuple):
    """States (1, L, D) of a prompt and of an empty one."""

    prompt: Tensor
    empty: Tensor


def sample_behind(
    base: Base, pictures: Tensor, control: Tensor, words: Words, seed: int, steps: int,
    guidance: float | None, sampler: str | None, progress: Callable[[], None] = lambda: None,
    steps_folder: Path | None = None,
) -> Tensor:  # fmt: skip
    """The latents (T, C, h, w) of a clip behind pictures.

    pictures: (R, K, h, w), of `Family.encode_reference`. control: (T, K, h, w), as of
    `Family.encode_pose`. guidance, sampler: None for the base's default. Each window of a long clip
    gets the pictures. steps_folder: see `kept_steps.kept`.
    """
    front, count = len(pictures), len(control)
    inputs = torch.cat([pictures, control])[None]
    scheduler = make_scheduler(base.scheduler.config, sampler or sampler_of(base))
    scale = float(base.config["guidance_scale"]) if guidance is None else guidance
    generator = torch.Generator().manual_seed(seed)  # on the CPU: the same on each device
    noise = torch.randn(1, front + count, *latent_shape(base), generator=generator)

    def denoiser_of(start: int, stop: int) -> Denoiser:
        rows = [*range(front), *range(front + start, front + stop)]
        return _denoiser(base, inputs[:, rows], words, scale)

    joint = blend(denoiser_of, windows(count, window_length(base)), front)
    joint = kept(joint, steps_folder)
    made = sample(joint, noise.to(inputs), scheduler, steps, generator, lambda *_: progress())
    return made[0, front:]


def _denoiser(base: Base, inputs: Tensor, words: Words, guidance: float) -> Denoiser:
    """The function that a sampler calls, with classifier-free guidance by the prompt, in two passes
    for half the memory. inputs: of VACE's branch, (1, R + T, K, h, w)."""

    def predict(x: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        return base.family.predict(base.denoiser, x, timesteps, inputs, text)

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        timesteps = t.reshape(1).to(x.device)
        y = predict(x, timesteps, words.prompt)
        if guidance == 1:
            return y
        return guided(y, predict(x, timesteps, words.empty), guidance)

    return denoise
