"""Less memory and time for networks: half-precision weights, gradient checkpointing, compiled
blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from animateanywhere.backbones.family import Base, Family
from animateanywhere.core.device import is_gpu, resolve_precision
from animateanywhere.core.errors import UsageError, first_line

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def to_device(
    base: Base, device: str, precision: str | None = None, half_weights: bool = True
) -> AbstractContextManager[None]:
    """Move a base to a device and set its precision; return the autocast context for its passes.

    precision: "no" (float32), "bf16" or "fp16"; None for generation (`generation_precision`).
    half_weights: store weights in that precision too, which is right if only adapters train.
    """
    if precision is None:
        precision = generation_precision(base.family, device)
    if half_weights:
        halve(base, precision)
    convert(
        (part for name, part in base.networks.items()
         if name != "text_encoder" or base.family.learns_tokens),
        lambda tensor: tensor.to(device),
    )  # fmt: skip
    return autocast(device, precision)


def generation_precision(family: Family, device: str | torch.device) -> str:
    """The precision of generation: "no" on a CPU; on a GPU the family's, "bf16" or "fp16", and fp16
    on one that only emulates bf16."""
    if not is_gpu(device):
        return "no"
    return "bf16" if family.half == resolve_precision("auto") else "fp16"


@contextmanager
def room_for_vae(base: Base, *networks: nn.Module) -> Iterator[None]:
    """Move the denoiser to the CPU inside, if the base is on a CUDA GPU: frames in the VAE can take
    as much memory as a training step. networks: further networks to move."""
    waiting = [
        part
        for part in (*base.denoising.values(), *networks)
        if next(part.parameters()).device.type == "cuda"  # MPS shares main memory
    ]
    if not waiting:
        yield
        return
    place = next(waiting[0].parameters()).device
    convert(waiting, lambda tensor: tensor.cpu())
    try:
        yield
    finally:
        convert(waiting, lambda tensor: tensor.to(place))


def convert(parts: Iterable[nn.Module], change: Callable[[Tensor], Tensor]) -> None:
    """Apply `change` to the weights and buffers of networks, in place.

    Tensors that networks share, as image and video UNet do, stay shared; `nn.Module.to` would copy
    them for each network.
    """
    # The old tensors are kept alive so that their addresses, in the keys, stay unique
    changed: dict[tuple[Any, ...], tuple[Tensor, Tensor]] = {}
    for part in parts:
        for tensor in (*part.parameters(), *part.buffers()):
            old = tensor.data
            key = (old.device, old.data_ptr(), old.dtype, old.shape, old.stride())
            if key not in changed:
                changed[key] = (old, change(old))
            tensor.data = changed[key][1]


def halve(base: Base, precision: str) -> None:
    """Store the denoiser's weights in half precision, in place; "no" leaves them unchanged.

    Only weights of linear and convolution layers are converted: norms are small. The VAE is small
    too, and its loss of precision is visible; the text encoder trains the token. Run passes under
    `autocast` afterwards.
    """
    if precision == "no":
        return
    for part in base.denoising.values():
        kept = set(getattr(part, "_keep_in_fp32_modules", None) or ())  # set by its authors
        for name, layer in part.named_modules():
            if isinstance(layer, (nn.Linear, nn.Conv2d)) and not kept & set(name.split(".")):
                layer.to(DTYPES[precision])


def autocast(device: str | torch.device, precision: str) -> AbstractContextManager[None]:
    """Run passes inside in half precision; "no" changes nothing.

    Cast weights are not cached: PyTorch frees the cache only when the outermost autocast ends, so
    after an optimizer step inside, passes would still use the old weights.
    """
    return torch.autocast(
        torch.device(device).type, DTYPES.get(precision), enabled=precision in DTYPES,
        cache_enabled=False,
    )  # fmt: skip


def compile_blocks(network: Any, family: Family) -> None:
    """Compile each block of a network in place (torch.compile): the first pass takes up to a
    minute, later passes are faster. Raises UsageError if this machine cannot compile."""
    try:
        torch.compile(torch.neg)(torch.zeros(1))
    except Exception as error:  # types differ: no compiler, no headers, no Triton
        raise UsageError(
            f"--compile: torch.compile does not work on this machine ({first_line(error)}); "
            "install a C++ compiler, or leave --compile out"
        ) from None
    torch._dynamo.config.recompile_limit = 64  # blocks differ in shape
    for part in (getattr(network, name, None) for name in family.stacks):
        for block in part if isinstance(part, nn.ModuleList) else [part]:
            if block is not None:
                block.compile()


def recompute(network: nn.Module, family: Family) -> None:
    """Enable gradient checkpointing (Chen et al. 2016, arXiv 1604.06174) of each block, in place:
    its input is stored, and its activations are recomputed in the backward pass.

    diffusers' own checkpointing stores all activations of temporal layers: in a UNet of Stable
    Diffusion's size twice as much in total.
    """
    for layer in network.modules():
        if isinstance(layer, family.blocks) and "forward" not in vars(layer):
            layer.forward = partial(
                checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False
            )
