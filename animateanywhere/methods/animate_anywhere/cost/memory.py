"""Memory that learning and generating take, estimated without weights, without a GPU, and without
the memory.

Steps run on fake tensors, which have shapes and no contents: one at full size takes seconds on any
machine. Every storage that comes and goes is counted. What a driver and an allocator hold beside
that is not: on a GPU about 0.7 GB.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from animateanywhere.backbones.base import Base, latent_shape, load_parts, window_length
from animateanywhere.backbones.low_memory import autocast, halve
from animateanywhere.backbones.spec import Model
from animateanywhere.backbones.token_embedding import TokenEmbedding
from animateanywhere.backbones.vae import decoded_pixels, encode_frames, latent_count
from animateanywhere.core.messages import quietly
from animateanywhere.methods.animate_anywhere import method
from animateanywhere.methods.animate_anywhere.batch import Batch, Conditions
from animateanywhere.methods.animate_anywhere.personal_stages import networks
from animateanywhere.methods.animate_anywhere.prior_preservation import clip_frames
from animateanywhere.methods.animate_anywhere.settings import Loss, Recipe, Stage
from animateanywhere.training.loop import select

# Bytes of the optimizer's state for each number that learns: two moments; by eight bits, a byte
# each and a scale for 256 of them
STATE = {"adamw": 8.0, "adamw8bit": 2 + 8 / 256}


class Counted(TorchDispatchMode):
    """Counts the bytes of storages that are made inside: `now`, and at most so far, `peak`."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self.now = self.peak = 0
        self.known: weakref.WeakSet[Any] = weakref.WeakSet()

    def hold(self, count: int) -> None:
        self.now += count
        self.peak = max(self.peak, self.now)

    def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = call(*args, **(kwargs or {}))
        for made in tree_iter(out):
            if isinstance(made, Tensor) and made.untyped_storage() not in self.known:
                storage = made.untyped_storage()
                self.known.add(storage)
                self.hold(storage.nbytes())
                weakref.finalize(storage, self.hold, -storage.nbytes())
        return out


def learning(folder: Path, config: dict[str, Any], recipe: Recipe) -> dict[str, float]:
    """GB at the peak of each stage of learning a person on the base in `folder`, by name, and of
    frames on their way through the VAE ("frames"), while on a GPU the denoiser waits elsewhere.

    Of `folder` the config.json of each network is read, and no weights.
    """
    base = load_parts(folder, config, "meta")
    peaks = {
        stage.name: step(load_parts(folder, config, "meta"), stage, recipe)
        for stage in recipe.personal_stages
    }
    return peaks | {"frames": _through_vae(base, recipe.precision, clip_frames(base, recipe))}


def generating(
    folder: Path, config: dict[str, Any], precision: str = "no", pixels: bool = True
) -> float:
    """GB at the peak of generation: a pass of one window with guidance; with `pixels` also
    encoding its poses and decoding frames, while on a GPU the denoiser waits elsewhere."""
    base = load_parts(folder, config, "meta")
    halve(base, precision)
    network = method.build(base, Loss(guide=False), video=True).eval()
    count = window_length(base)
    with _faked(precision) as counted, torch.no_grad():
        for part in (network, *_beside(base), *_encoders(base)):
            _fill(part)
        poses = torch.zeros(1, count, *base.family.pose_shape(base))
        text = torch.zeros(1, *base.family.text_shape(base))
        scale = float(config.get("guidance_scale", Model.guidance_scale))
        denoise = method.denoiser(base.family, network, Conditions(poses, text, text), scale)
        latents = torch.zeros(1, count, *latent_shape(base))
        denoise(latents, torch.tensor(0))
    peak = counted.peak / 1e9
    if pixels:
        fresh = load_parts(folder, config, "meta")
        peak = max(peak, _through_vae(fresh, precision, int(config["frames"])))
    return peak


def _through_vae(base: Base, precision: str, frames: int) -> float:
    """GB at the peak of a clip's way through the VAE, there and back."""
    size = int(base.config["size"])
    with _faked(precision) as counted, torch.no_grad():
        for part in _encoders(base):
            _fill(part)
        drawn = torch.zeros(frames, size, size, 3, dtype=torch.uint8)
        latents = encode_frames(base.vae, drawn, clip=True)
        for _ in islice(decoded_pixels(base.vae, latents, clip=True), 3):  # then it repeats
            pass
    return counted.peak / 1e9


def step(base: Base, stage: Stage, recipe: Recipe) -> float:
    """GB at the peak of one step of a stage, on a base on the meta device."""
    halve(base, stage.precision if stage.lora_rank else "no")
    token = TokenEmbedding(base.text_encoder, 0) if base.family.learns_tokens else None
    parts, stage = networks(base, stage, recipe, 0, token)
    with quietly():
        learns = select(parts, stage.train).values()
    parts.train()
    rows = stage.batch + stage.prior_batch
    frames = latent_count(stage.frames, base.packed)
    shape = latent_shape(base)
    with _faked(stage.precision) as counted:
        for part in (*parts.values(), *_beside(base)):
            _fill(part)
        counted.hold(int(sum(p.numel() for p in learns) * STATE[stage.optimizer]))
        text = torch.zeros(rows, *base.family.text_shape(base))  # (B, T, D)
        if token is not None and ("text_encoder" in parts or "token_embedding" in parts):
            _fill(base.text_encoder)
            with token.spliced():
                text = base.text_encoder(text[..., 0].long()).last_hidden_state
        batch = Batch(
            torch.zeros(rows, frames, *shape),
            torch.zeros(rows, frames, *base.family.pose_shape(base)),
            text,
            torch.zeros(rows, frames, 1, *shape[1:]),
            torch.zeros(text.shape[:2]),
        )
        network = parts[base.family.denoiser]
        loss, _ = method.loss(
            base.family, network, batch, torch.Generator(), base.scheduler, recipe.loss,
            row_by_row=stage.row_by_row,
        )  # fmt: skip
        loss.backward()
    return counted.peak / 1e9


def _beside(base: Base) -> list[nn.Module]:
    """What runs with the denoiser, and is no part of it."""
    return [base.parts[name] for name in base.family.beside]


def _encoders(base: Base) -> list[nn.Module]:
    """VAE and text encoder, where they are on the device of the denoiser."""
    return [base.vae, *([base.text_encoder] if base.family.learns_tokens else [])]


@contextmanager
def _faked(precision: str) -> Iterator[Counted]:
    counted = Counted()
    with FakeTensorMode(allow_non_fake_inputs=True), counted, autocast("cpu", precision):
        yield counted


def _fill(network: nn.Module) -> None:
    """Put fake tensors in place of those without memory."""
    for layer in network.modules():
        for name, weight in layer._parameters.items():
            if weight is not None and weight.is_meta:
                empty = torch.empty(weight.shape, dtype=weight.dtype)
                layer._parameters[name] = nn.Parameter(empty, weight.requires_grad)
        for name, value in layer._buffers.items():
            if value is not None and value.is_meta:
                layer._buffers[name] = torch.zeros(value.shape, dtype=value.dtype)
