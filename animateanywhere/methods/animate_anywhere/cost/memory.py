"""Memory that learning and generating take, estimated without weights, without a GPU, and without
the memory.

Each part of the work runs once on fake tensors, which have shapes and no contents: one at full size
takes seconds on any machine. Every storage that comes and goes is counted; weights are added up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from animateanywhere.backbones.base import Base, latent_shape, load_parts, window_length
from animateanywhere.backbones.low_memory import halve
from animateanywhere.backbones.spec import Model
from animateanywhere.backbones.token_embedding import TokenEmbedding
from animateanywhere.backbones.vae import decoded_pixels, encode_frames, latent_count, raw_latents
from animateanywhere.core.device import resolve_precision
from animateanywhere.core.messages import quietly
from animateanywhere.methods.animate_anywhere import appearance_search, generation, method
from animateanywhere.methods.animate_anywhere.batch import Batch, Conditions
from animateanywhere.methods.animate_anywhere.cost.cache import cached
from animateanywhere.methods.animate_anywhere.cost.fake import Counted, counted, fill
from animateanywhere.methods.animate_anywhere.cost.measure import shortened
from animateanywhere.methods.animate_anywhere.personal_stages import networks
from animateanywhere.methods.animate_anywhere.prior_preservation import clip_frames
from animateanywhere.methods.animate_anywhere.settings import Loss, Recipe, Stage, to_dict
from animateanywhere.training.state import select

# Bytes of the optimizer's state for each number that learns: two moments; by eight bits, a byte
# each and a scale for 256 of them
STATE = {"adamw": 8.0, "adamw8bit": 2 + 8 / 256}
# On a CPU the C library keeps pieces of what was freed, and convolutions copy what they read. With
# glibc, on the bundled base, a process grew by as much as is counted in an image step, 1.4 times as
# much in a motion step, and 1.7 times by the motion stage after all that comes before it.
ALLOCATOR = 1.6
VAE_ROWS = 8  # of a step of `personal_stages.fit_vae`
LIBRARIES = 0.06  # GB of libraries that a command loads after its beginning, on a CPU


class Peak(NamedTuple):
    """GB that a part of the work takes."""

    weights: float  # of networks on the device
    work: float  # at most beside them
    saving: float = 0.0  # beside the weights, in main memory, while a checkpoint is written


def needed(base: Base, peaks: dict[str, Peak], held: float) -> tuple[float, float]:
    """GB at the peak of a process that holds so many with the base loaded, on the base's device: at
    least, and at most."""
    if base.denoiser.device.type == "cuda":
        weights = (p for part in base.networks.values() for p in part.parameters() if p.is_cuda)
        own = sum(weight.nbytes for weight in weights) / 1e9
        most = held - own + max(peak.weights + peak.work for peak in peaks.values())
        return most, most
    work = max(max(peak.work, peak.saving) for peak in peaks.values())
    return held + LIBRARIES + work, held + LIBRARIES + ALLOCATOR * work


def learning(folder: Path, config: dict[str, Any], recipe: Recipe) -> dict[str, Peak]:
    """Peaks of learning a person on the base in `folder`, of which config.json files are read.

    By name: each stage; "images" and "clips", which the base makes for regularization, synthetic
    backgrounds and scoring, and by which it searches for the appearance; "frames" on their way
    through the VAE, while on a GPU the denoiser waits elsewhere; "vae", where that is fitted.
    """
    short = shortened(recipe)
    return _kept(lambda: learning_peaks(folder, config, short), folder, config, to_dict(short))


def generating(folder: Path, config: dict[str, Any], precision: str = "no") -> dict[str, Peak]:
    """Peaks of generation: "window", a step of one with guidance, and "frames", as `learning`."""
    return _kept(lambda: generating_peaks(folder, config, precision), folder, config, precision)


def _kept(
    find: Callable[[], dict[str, Peak]], folder: Path, config: dict[str, Any], work: Any
) -> dict[str, Peak]:
    """Peaks, found once for networks of such shapes."""
    shapes = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*/config.json"))]
    found = cached(find, "memory", torch.__version__, shapes, config, work)
    return {name: Peak(*values) for name, values in found.items()}


def learning_peaks(folder: Path, config: dict[str, Any], recipe: Recipe) -> dict[str, Peak]:
    """As `learning`, found anew."""
    peaks = {
        stage.name: step(load_parts(folder, config, "meta"), stage, recipe)
        for stage in recipe.personal_stages
    }
    base = load_parts(folder, config, "meta")
    halve(base, recipe.precision if recipe.only_adapters else "no")
    extras, rows = recipe.extras, 1
    if extras.appearance == appearance_search.AUTO:  # a pass without guidance
        rows = ceil(appearance_search.FRAMES * len(appearance_search.TIMES) / 2)
    if extras.background_augmentation:
        rows = generation.BATCH
    length = clip_frames(base, recipe)
    with FakeTensorMode(allow_non_fake_inputs=True):
        peaks["images"] = denoising(base, recipe.precision, False, rows, 1)
        latents = latent_count(length, base.packed)
        peaks["clips"] = denoising(base, recipe.precision, True, 1, latents)
        peaks["frames"] = through_vae(base, recipe.precision, length)
        if extras.fit_vae_steps:
            peaks["vae"] = _fitting_vae(base)
    return peaks


def generating_peaks(folder: Path, config: dict[str, Any], precision: str) -> dict[str, Peak]:
    """As `generating`, found anew."""
    base = load_parts(folder, config, "meta")
    halve(base, precision)
    with FakeTensorMode(allow_non_fake_inputs=True):
        return {
            "window": denoising(base, precision, True, 1, window_length(base)),
            "frames": through_vae(base, precision, int(config["frames"])),
        }


@torch.no_grad()
def denoising(base: Base, precision: str, video: bool, rows: int, latents: int) -> Peak:
    """A denoising step of so many rows and latents each, with guidance; within fake tensors."""
    network = method.build(base, Loss(guide=False), video).eval()
    running = network, *_beside(base), *_encoders(base)
    weights = fill(*running)
    scale = float(base.config.get("guidance_scale", Model.guidance_scale))
    with counted(precision, *running) as count:
        poses = torch.zeros(rows, latents, *base.family.pose_shape(base))
        text = torch.zeros(rows, *base.family.text_shape(base))
        denoise = method.denoiser(base.family, network, Conditions(poses, text, text), scale)
        denoise(torch.zeros(rows, latents, *latent_shape(base)), torch.tensor(0))
    return Peak(weights, count.peak / 1e9)


@torch.no_grad()
def through_vae(base: Base, precision: str, frames: int) -> Peak:
    """A clip there and back."""
    frame, weights = base.frame, fill(*_encoders(base))
    with counted(precision, *_encoders(base)) as count:
        drawn = torch.zeros(frames, frame.height, frame.width, 3, dtype=torch.uint8)
        latents = encode_frames(base.vae, drawn, clip=True)
        for _ in islice(decoded_pixels(base.vae, latents, clip=True), 3):  # then it repeats
            pass
    return Peak(weights, count.peak / 1e9)


def _fitting_vae(base: Base) -> Peak:
    """A step of `personal_stages.fit_vae`."""
    vae: Any = base.vae
    weights = fill(base.denoiser, *_beside(base), *_encoders(base))
    with quietly():
        learns = select(vae, ("^decoder",)).values()
    with counted("no", vae) as count:
        states = _hold_states(count, list(learns), "adamw", False)
        latents = raw_latents(vae, torch.zeros(VAE_ROWS, *latent_shape(base)))
        made = vae.decode(latents).sample
        (made - torch.zeros_like(made)).square().mean().backward()
    vae.requires_grad_(False)
    return Peak(weights, count.peak / 1e9, states)


def step(base: Base, stage: Stage, recipe: Recipe) -> Peak:
    """A step of a stage, on a base on the meta device."""
    precision = resolve_precision(stage.precision)
    halve(base, precision if stage.lora_rank else "no")
    token = TokenEmbedding(base.text_encoder, 0) if base.family.learns_tokens else None
    parts, stage = networks(base, stage, recipe, 0, token)
    reads = token is not None and ("text_encoder" in parts or "token_embedding" in parts)
    with quietly():
        learns = select(parts, stage.train).values()
    parts.train()
    running = *parts.values(), *_beside(base), *([base.text_encoder] if reads else [])
    with FakeTensorMode(allow_non_fake_inputs=True):
        weights = fill(*running)
        with counted(precision, *running) as count:
            saving = _hold_states(count, learns, stage.optimizer, bool(stage.ema))
            batch = _batch(base, stage, token if reads else None)
            loss, _ = method.loss(
                base.family, parts[base.family.denoiser], batch, torch.Generator(), base.scheduler,
                recipe.loss, row_by_row=stage.row_by_row,
            )  # fmt: skip
            loss.backward()
    return Peak(weights, count.peak / 1e9, saving)


def _batch(base: Base, stage: Stage, token: TokenEmbedding | None) -> Batch:
    """token: where the text encoder reads in the step."""
    rows, shape = stage.batch + stage.prior_batch, latent_shape(base)
    frames = latent_count(stage.frames, base.packed)
    text = torch.zeros(rows, *base.family.text_shape(base))  # (B, T, D)
    if token is not None:
        with token.spliced():
            text = base.text_encoder(text[..., 0].long()).last_hidden_state
    return Batch(
        torch.zeros(rows, frames, *shape),
        torch.zeros(rows, frames, *base.family.pose_shape(base)),
        text,
        torch.zeros(rows, frames, 1, *shape[1:]),
        torch.zeros(text.shape[:2]),
    )


def _hold_states(count: Counted, learns: Iterable[Tensor], optimizer: str, ema: bool) -> float:
    """Count the optimizer's state and the averaged weights; return the GB that a process on a CPU
    holds while it saves them: copies of them and of the weights beside them."""
    numbers = sum(weight.numel() for weight in learns)
    states = int(numbers * (STATE[optimizer] + 4 * ema))
    count.hold(states)
    return (2 * states + 4 * numbers) / 1e9


def _beside(base: Base) -> list[nn.Module]:
    """Networks that run with the denoiser, and never train."""
    return [base.parts[name] for name in base.family.auxiliary]


def _encoders(base: Base) -> list[nn.Module]:
    """VAE and text encoder, where they are on the device of the denoiser."""
    return [base.vae, *([base.text_encoder] if base.family.learns_tokens else [])]
