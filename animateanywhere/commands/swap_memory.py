"""Memory that `aa swap` takes with a network of the paper's own size, counted without contents
(`cost.memory`), before anything long is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from animateanywhere.backbones.base import Base, latent_shape, load_parts, window_length
from animateanywhere.backbones.low_memory import generation_precision, halve
from animateanywhere.core.device import memory_now, peak_memory
from animateanywhere.core.estimate import fits
from animateanywhere.core.findings import refuse, warn_findings
from animateanywhere.core.messages import say
from animateanywhere.methods.animate_anywhere.cost import memory
from animateanywhere.methods.animate_anywhere.cost.cache import cached
from animateanywhere.methods.animate_anywhere.cost.fake import counted, fill
from animateanywhere.methods.animate_anywhere.cost.memory import Peak
from animateanywhere.methods.anycharv import full_size, method


def require_memory(base: Base) -> None:
    """Estimate and print the memory at the peak. Raises UsageError if it is too small."""
    precision = generation_precision(base.family, base.denoiser.device)
    found = cached(
        lambda: peaks(base.folder, base.config, precision),
        "swap", torch.__version__, base.hash, base.config, precision,
    )  # fmt: skip
    own = {name: Peak(*values) for name, values in found.items()}
    least, most = memory.needed(base, own, memory_now())
    least, most = max(least, peak_memory()), max(most, peak_memory())
    findings = fits(most, least=least)
    warn_findings("swapping", findings)
    refuse("swapping", findings)
    say(f"swapping takes {least:.1f} to {most:.1f} GB of memory (estimated)")


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
