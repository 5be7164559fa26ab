"""Generation of videos of a picture's person: for `aa cast` and for samples of a training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from animateanywhere.backbones.base import Base, encode_prompts, window_length
from animateanywhere.backbones.family import latent_shape
from animateanywhere.backbones.vae import encode_frames, latent_count
from animateanywhere.diffusion.kept_steps import kept
from animateanywhere.diffusion.sampling import Denoiser, blend, make_scheduler, sample, windows
from animateanywhere.methods.context_anyone import method
from animateanywhere.methods.context_anyone.full_size import image_tokens
from animateanywhere.methods.context_anyone.method import Reference, Scales
from animateanywhere.training.picture_encoder import PictureEncoder

STEPS = 16  # denoising steps of bases whose base.toml has none
LIKENESS = 2.0  # scale of guidance on the reference of those


@dataclass(frozen=True)
class Options:
    """Options of sampling; None stands for the base's default."""

    seed: int = 0
    steps: int | None = None
    likeness: float | None = None
    guidance: float | None = None
    sampler: str | None = None
    # Folder of these inputs alone, to keep the steps in (`kept_steps`); None: they are not kept
    steps_folder: Path | None = None


@torch.no_grad()
def read_reference(base: Base, pictures: Sequence[np.ndarray]) -> Reference:
    """The reference of one person from pictures as of `reference_picture`, each (H, W, 3) uint8 of
    the base's frame."""
    latents = encode_frames(base.vae, np.stack(pictures))[None]  # (1, K, C, h, w)
    encoder = base.parts.get("image_encoder")
    if encoder is None or isinstance(encoder, PictureEncoder):
        return read_latents(encoder, latents)
    return Reference(latents, image_tokens(encoder, pictures).flatten(0, 1)[None])


def read_latents(encoder: nn.Module | None, pictures: Tensor) -> Reference:
    """The reference of B people from latents (B, K, C, h, w) of their pictures. encoder: the
    picture encoder, None without."""
    if encoder is None:
        return Reference(pictures)
    tokens = encoder(pictures.flatten(0, 1))  # (B·K, M, D)
    return Reference(pictures, tokens.unflatten(0, pictures.shape[:2]).flatten(1, 2))


def encode_motion(base: Base, keypoints: np.ndarray) -> Tensor:
    """Pose latents (T, C, h, w) of keypoints (F, 18, 3) in pixels of the base's frame."""
    drawn = base.family.draw(keypoints, base.frame.height, base.frame.width)
    return encode_frames(base.vae, drawn, clip=True)


def cast_latents(
    base: Base,
    prompt: str,
    reference: Reference | None,
    frames: int,
    poses: Tensor | None = None,
    options: Options | None = None,
    progress: Callable[[], None] = lambda: None,
) -> Tensor:
    """The latents (T, C, h, w) of a video of at least `frames` frames.

    reference: of one person, None for the prompt alone. poses: latents (T, C, h, w), None for a
    motion of the network's own. progress: called after each denoising step. Videos beyond the
    length the network was trained with are denoised in overlapping windows, each of which sees the
    reference, one at a time, so that memory does not grow with length.
    """
    options = options or Options()
    network, patch = base.denoiser, base.denoiser.config.patch_size[0]
    count = -(-latent_count(frames, base.packed) // patch) * patch
    if poses is not None:  # the last one is held for the frames that fill a patch
        poses = torch.cat([poses, poses[-1:].expand(count - len(poses), -1, -1, -1)])
    scheduler = make_scheduler(base.scheduler.config, sampler_name(base, options))
    generator = torch.Generator().manual_seed(options.seed)  # on the CPU: the same on each device
    noise = torch.randn((1, count, *latent_shape(base)), generator=generator).to(network.device)
    with torch.no_grad():
        text, empty = encode_prompts(base, [prompt, ""]).split(1)
    scales = scales_of(base, options)

    def denoiser_of(start: int, stop: int) -> Denoiser:
        pose = None if poses is None else poses[None, start:stop]
        return method.denoiser(network, text, empty, reference, pose, scales)

    length = window_length(base)
    joint = kept(blend(denoiser_of, windows(count, length)), options.steps_folder)
    steps = steps_of(base, options)
    return sample(joint, noise, scheduler, steps, generator, lambda *_: progress())[0]


def steps_of(base: Base, options: Options) -> int:
    """The number of denoising steps."""
    return options.steps or int(base.config.get("steps", STEPS))


def scales_of(base: Base, options: Options) -> Scales:
    """The scales of guidance."""
    likeness, guidance = options.likeness, options.guidance
    return Scales(
        float(base.config.get("likeness", LIKENESS)) if likeness is None else likeness,
        float(base.config["guidance_scale"]) if guidance is None else guidance,
    )


def sampler_name(base: Base, options: Options) -> str:
    """The sampler; "unipc" for bases whose base.toml has none."""
    return options.sampler or str(base.config.get("sampler", "unipc"))
