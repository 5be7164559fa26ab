"""Windows that fit into the memory; of a network of the paper's own size the memory is counted
without contents (`cost.memory`), before anything long is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from animateanywhere.backbones.base import Base, latent_shape, load_parts, window_length
from animateanywhere.backbones.low_memory import generation_precision, halve
from animateanywhere.core.device import memory_now, peak_memory
from animateanywhere.core.estimate import fits
from animateanywhere.core.findings import Finding, refuse, verdict, warn_findings
from animateanywhere.core.messages import say, warn
from animateanywhere.methods.animate_anywhere.cost import memory
from animateanywhere.methods.animate_anywhere.cost.cache import cached
from animateanywhere.methods.animate_anywhere.cost.fake import counted, fill
from animateanywhere.methods.animate_anywhere.cost.memory import Peak
from animateanywhere.methods.anycharv import full_size, method

T = TypeVar("T")

SHORTEST = 6  # latents of a window


def within_memory(base: Base) -> Base:
    """The base with windows that fit into the memory, as `fitting`; its estimate is printed."""
    precision = generation_precision(base.family, base.denoiser.device)

    def look(base: Base) -> tuple[tuple[float, float], list[Finding]]:
        found = cached(
            lambda: peaks(base.folder, base.config, precision),
            "swap", torch.__version__, base.hash, base.config, precision,
        )  # fmt: skip
        own = {name: Peak(*values) for name, values in found.items()}
        least, most = memory.needed(base, own, memory_now())
        least, most = max(least, peak_memory()), max(most, peak_memory())
        return (least, most), fits(most, least=least)

    base, (least, most) = fitting(base, look)
    say(f"swapping takes {least:.1f} to {most:.1f} GB of memory (estimated)")
    return base


def fitting(base: Base, look: Callable[[Base], tuple[T, list[Finding]]]) -> tuple[Base, T]:
    """The base with windows as long as it was trained with, or halved until the memory suffices,
    which is said; and what `look` tells of it beside its findings. Raises UsageError if the memory
    is too small for the shortest, too."""
    trained = int(base.config["frames"])
    found, findings = look(base)
    while verdict(findings) == "unusable" and window_length(base) // 2 >= SHORTEST:
        frames = (window_length(base) // 2 - 1) * base.packed + 1
        base = replace(base, config=base.config | {"frames": frames})
        found, findings = look(base)
    warn_findings("swapping", findings)
    refuse("swapping", findings)
    if (frames := int(base.config["frames"])) < trained:
        warn(
            f"{frames} frames pass through the network at once, not the {trained} that it was "
            "trained with, for which the memory is too small: the result may flicker more"
        )
    return base, found


def peaks(folder: Path, config: dict[str, Any], precision: str) -> dict[str, Peak]:
    """Peaks of a swap by the base in `folder`, of which config.json files are read: "window", a
    step of one with guidance, and "frames", those of a window in the VAE, while on a GPU the
    denoiser waits elsewhere."""
    base = load_parts(folder, config, "meta", full_size.FAMILY)
    halve(base, precision)
    with FakeTensorMode(allow_non_fake_inputs=True):
        return {
            "window": window(base, precision),
            "frames": memory.through_vae(base, precision, int(config["frames"])),
        }


@torch.no_grad()
def window(base: Base, precision: str) -> Peak:
    """A step of a window with guidance, on a base on the meta device; within fake tensors."""
    network, reader = method.build(base, True).eval(), method.reader_of(base)
    weights = fill(network, base.parts["pose_guider"], base.vae)
    fill(reader)  # which is elsewhere then
    shape, frames = latent_shape(base), window_length(base)
    with counted(precision, network, reader, base.vae) as count:
        width = base.denoiser.config.cross_attention_dim
        pictures, nothing = torch.zeros(1, 1, *shape), torch.zeros(1, 1, width)
        character = method.read(reader, pictures, None, nothing[None], nothing[:, :0])
        count.peak = count.now  # of a step alone
        scene = method.Scene(
            torch.zeros(1, frames, *shape), torch.zeros(1, frames, 1, *shape[1:]),
            torch.zeros(1, frames, *base.family.pose_shape(base)),
        )  # fmt: skip
        denoise = method.denoiser(
            base, network, scene, nothing, character, float(base.config["guidance_scale"])
        )
        denoise(torch.zeros(1, frames, *shape), torch.tensor(0))
    return Peak(weights, count.peak / 1e9)
