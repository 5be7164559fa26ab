"""Networks in less memory and time: weights in half precision, activations computed again, blocks
compiled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from animateanywhere.backbones.family import Base, Family
from animateanywhere.core.errors import UsageError

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def to_device(
    base: Base, device: str, precision: str | None = None, half_weights: bool = True
) -> AbstractContextManager[None]:
    """Bring a base to a device in the precision of its work there; return the autocast context of
    its passes.

    precision: "no", "bf16" or "fp16"; None, for generation: fp16 on a GPU, else "no".
    half_weights: hold weights in it too, as nothing but adapters trains.
    """
    if precision is None:
        precision = "no" if device == "cpu" else "fp16"
    if half_weights:
        halve(base, precision)
    for name, part in base.networks.items():
        if name != "text_encoder" or base.family.learns_tokens:
            part.to(device)
    return autocast(device, precision)


@contextmanager
def room_for_vae(base: Base, *networks: nn.Module) -> Iterator[None]:
    """The denoiser waits on the CPU inside, where the base is on a GPU: frames on their way
    through the VAE can take as much memory as a step. networks: others that are to wait."""
    places = [
        (part, weight.device)
        for part in (*base.denoising.values(), *networks)
        if (weight := next(part.parameters())).device.type != "cpu"
    ]
    for part, _ in places:
        part.cpu()
    try:
        yield
    finally:
        for part, place in places:
            part.to(place)


def halve(base: Base, precision: str) -> None:
    """Hold the denoiser's weights in half precision, in place; "no" leaves them.

    Only those of linear and convolution layers: norms are small. So is the VAE, and it shows what
    it loses; in the text encoder the token learns. Passes then go under `autocast`.
    """
    if precision == "no":
        return
    for part in base.denoising.values():
        kept = set(getattr(part, "_keep_in_fp32_modules", None) or ())  # as its authors ask
        for name, layer in part.named_modules():
            if isinstance(layer, (nn.Linear, nn.Conv2d)) and not kept & set(name.split(".")):
                layer.to(DTYPES[precision])


def autocast(device: str | torch.device, precision: str) -> AbstractContextManager[None]:
    """Passes inside are in half precision; "no" leaves them."""
    return torch.autocast(
        torch.device(device).type, DTYPES.get(precision), enabled=precision in DTYPES
    )


def compile_blocks(network: Any, family: Family) -> None:
    """Compile each block of a network of a family in place (torch.compile): the first pass takes up
    to a minute, each later one less. Raises UsageError where nothing can compile."""
    try:
        torch.compile(torch.neg)(torch.zeros(1))
    except Exception as error:  # of many kinds: no compiler, no headers, no Triton
        reason = str(error).strip().splitlines()[0]
        raise UsageError(f"--compile: nothing to compile with here ({reason})") from None
    torch._dynamo.config.recompile_limit = 64  # blocks differ in shape
    for part in (getattr(network, name, None) for name in family.stacks):
        for block in part if isinstance(part, nn.ModuleList) else [part]:
            if block is not None:
                block.compile()


def recompute(network: nn.Module, family: Family) -> None:
    """Keep what goes into a block of a network of a family, and compute the rest again in the
    backward pass (Chen et al. 2016, arXiv 1604.06174). What diffusers calls so keeps all of the
    temporal layers, and in a UNet of Stable Diffusion's size twice as much in all.
    """
    for layer in network.modules():
        if isinstance(layer, family.blocks) and "forward" not in vars(layer):
            layer.forward = partial(
                checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False
            )
