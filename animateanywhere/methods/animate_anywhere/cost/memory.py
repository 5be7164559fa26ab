"""Memory that learning and generating take, foretold without weights, without a GPU, and without
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
from diffusers import (
    ControlNetModel,
    MotionAdapter,
    UNet2DConditionModel,
    WanVACETransformer3DModel,
)
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from animateanywhere.backbones.base import KINDS, Base, latent_shape, load_config, window_length
from animateanywhere.backbones.controlnet import attach
from animateanywhere.backbones.low_memory import autocast, halve
from animateanywhere.backbones.spec import Model
from animateanywhere.backbones.vae import VAES, decoded_pixels, encode_frames, latent_count, packs
from animateanywhere.core.console import quietly
from animateanywhere.methods.animate_anywhere import method
from animateanywhere.methods.animate_anywhere.batch import Batch, Conditions
from animateanywhere.methods.animate_anywhere.personal_stages import networks
from animateanywhere.methods.animate_anywhere.prior_preservation import clip_frames
from animateanywhere.methods.animate_anywhere.settings import Loss, Recipe
from animateanywhere.training.loop import select
from animateanywhere.training.stage import Stage

# Networks that a base may have, beside those that all have
SHAPED = {
    "unet": UNet2DConditionModel, "transformer": WanVACETransformer3DModel,
    "motion_adapter": MotionAdapter, "controlnet": ControlNetModel,
}  # fmt: skip
SAID = 64  # tokens of a prompt, about, where silence is not held
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
    frames on their way through the VAE ("frames"), while on a GPU what denoises waits elsewhere.

    Of `folder` the config.json of each network is read, and no weights.
    """
    base = hollow(folder, config)
    peaks = {
        stage.name: step(hollow(folder, config), stage, recipe)
        for stage in recipe.stages("appearance", "motion")
    }
    return peaks | {"frames": _through_vae(base, recipe.precision, clip_frames(base, recipe))}


def generating(
    folder: Path, config: dict[str, Any], precision: str = "no", pixels: bool = True
) -> float:
    """GB at the peak of generation: a pass of one window with guidance; with `pixels` also
    encoding its poses and decoding frames, while on a GPU what denoises waits elsewhere."""
    base = hollow(folder, config)
    halve(base, precision)
    network = method.build(base, Loss(guide=False), video=True).eval()
    count = window_length(base)
    with _faked(precision) as counted, torch.no_grad():
        words = base.text_encoder if base.learns_words else None
        for part in (network, words, base.vae, base.controlnet):
            _fill(part)
        poses = torch.zeros(1, count, *_pose_shape(base))
        text = torch.zeros(1, *_text_shape(base))
        scale = float(config.get("guidance_scale", Model.guidance_scale))
        denoise = method.denoiser(network, Conditions(poses, text, text), scale)
        latents = torch.zeros(1, count, *latent_shape(base))
        denoise(latents, torch.tensor(0))
    peak = counted.peak / 1e9
    if pixels:
        peak = max(peak, _through_vae(hollow(folder, config), precision, int(config["frames"])))
    return peak


def _through_vae(base: Base, precision: str, frames: int) -> float:
    """GB at the peak of a clip's way through the VAE, there and back."""
    size = int(base.config["size"])
    with _faked(precision) as counted, torch.no_grad():
        for part in (base.vae, base.text_encoder if base.learns_words else None):
            _fill(part)
        drawn = torch.zeros(frames, size, size, 3, dtype=torch.uint8)
        latents = encode_frames(base.vae, drawn, clip=True)
        for _ in islice(decoded_pixels(base.vae, latents, clip=True), 3):  # then it repeats
            pass
    return counted.peak / 1e9


def hollow(folder: Path, config: dict[str, Any]) -> Base:
    """The base in `folder` without its weights: tensors on the "meta" device."""
    of_wan = (folder / "transformer").is_dir()
    with torch.device("meta"):
        vae = load_config(folder / "vae")
        text = KINDS["text_encoder"][of_wan]
        parts: dict[str, Any] = {
            "vae": VAES[vae["_class_name"]].from_config(vae),
            "text_encoder": text(text.config_class.from_pretrained(folder / "text_encoder")),
        }
        for name, kind in SHAPED.items():
            there = (folder / name / "config.json").is_file()
            parts[name] = kind.from_config(load_config(folder / name)) if there else None
    if not of_wan:
        attach(parts["unet"], parts["controlnet"])
    for part in parts.values():
        if part is not None:
            part.eval().requires_grad_(False)
    scheduler = KINDS["scheduler"][of_wan].from_pretrained(folder / "scheduler")
    packed = packs(parts["vae"])
    return Base(folder, config, "", tokenizer=None, scheduler=scheduler, packed=packed, **parts)


def step(base: Base, stage: Stage, recipe: Recipe) -> float:
    """GB at the peak of one step of a stage, on a base without weights (`hollow`)."""
    halve(base, stage.precision if stage.lora_rank else "no")
    parts, stage = networks(base, stage, recipe, 0)
    with quietly():
        learns = select(parts, stage.train).values()
    parts.train()
    rows = stage.batch + stage.regular_batch
    frames = latent_count(stage.frames, base.packed)
    shape = latent_shape(base)
    with _faked(stage.precision) as counted:
        for part in (*parts.values(), base.controlnet):
            _fill(part)
        counted.hold(int(sum(p.numel() for p in learns) * STATE[stage.optimizer]))
        text = torch.zeros(rows, *_text_shape(base))  # (B, T, D)
        if "text_encoder" in parts:
            text = parts["text_encoder"](text[..., 0].long()).last_hidden_state
        batch = Batch(
            torch.zeros(rows, frames, *shape),
            torch.zeros(rows, frames, *_pose_shape(base)),
            text,
            torch.zeros(rows, frames, 1, *shape[1:]),
            torch.zeros(text.shape[:2]),
        )
        network = parts[base.network_name]
        loss, _ = method.loss(
            network, batch, torch.Generator(), base.scheduler, recipe.loss,
            row_by_row=stage.row_by_row,
        )  # fmt: skip
        loss.backward()
    return counted.peak / 1e9


def _text_shape(base: Base) -> tuple[int, int]:
    """Of a prompt: tokens, and width of their states."""
    if base.transformer is not None:
        return SAID, base.transformer.config.text_dim
    config = base.text_encoder.config
    return config.max_position_embeddings, config.hidden_size


def _pose_shape(base: Base) -> tuple[int, ...]:
    """Of one frame: latents, what VACE's branch reads, or for a ControlNet the picture."""
    size = int(base.config["size"])
    if base.transformer is not None:
        return base.transformer.config.vace_in_channels, *latent_shape(base)[1:]
    return latent_shape(base) if base.controlnet is None else (3, size, size)


@contextmanager
def _faked(precision: str) -> Iterator[Counted]:
    counted = Counted()
    with FakeTensorMode(allow_non_fake_inputs=True), counted, autocast("cpu", precision):
        yield counted


def _fill(network: nn.Module | None) -> None:
    """Put fake tensors in place of those without memory."""
    for layer in [] if network is None else network.modules():
        for name, weight in layer._parameters.items():
            if weight is not None and weight.is_meta:
                empty = torch.empty(weight.shape, dtype=weight.dtype)
                layer._parameters[name] = nn.Parameter(empty, weight.requires_grad)
        for name, value in layer._buffers.items():
            if value is not None and value.is_meta:
                layer._buffers[name] = torch.zeros(value.shape, dtype=value.dtype)
