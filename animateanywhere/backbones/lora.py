"""LoRA (Hu et al. 2021, arXiv 2106.09685): instead of a weight W, the factors of W + B·A learn.

A (r, in, ...) and B (out, r, ...) are saved as `<layer>.lora_A.weight` and `<layer>.lora_B.weight`,
the names of peft and diffusers; their alpha is the rank, so the product counts once, and
`unet.load_lora_adapter(file, prefix="unet")` of diffusers takes the file as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from animateanywhere.core.errors import UsageError

Pairs = dict[str, tuple[Tensor, Tensor]]  # a weight's name -> its factors (A, B)
A, B = ".lora_A.weight", ".lora_B.weight"


def inject(
    parts: nn.ModuleDict,
    rank: int,
    patterns: tuple[str, ...],
    seed: int = 0,
    part: str = "unet",
) -> tuple[str, ...]:
    """Put adapters on the layers of `parts[part]` whose weight a pattern finds (`re.search`).

    Linear and Conv2d layers take one; the model's output is the same, bit for bit, as B is zero.
    Returns the names of what is to train in place of what the patterns find: the factors, and
    what they find in the other parts. Raises UsageError for a pattern that finds neither.
    """
    from peft import LoraConfig

    network: Any = parts[part]
    modules = network.named_modules()
    able = {f"{part}.{name}.weight": name for name, layer in modules if _takes(name, layer)}
    others = [name for name, _ in parts.named_parameters() if not name.startswith(f"{part}.")]
    for pattern in patterns:
        if not any(re.search(pattern, name) for name in [*able, *others]):
            raise UsageError(f"the pattern {pattern} of `train` matches no layer that takes LoRA")

    def found(name: str) -> bool:
        return any(re.search(pattern, name) for pattern in patterns)

    layers = [layer for name, layer in able.items() if found(name)]
    if not layers:
        raise UsageError(f"`train` names no layer of the {part}: lora_rank has nothing to act on")
    whole = "|".join(re.escape(layer) for layer in layers)  # a list would match ends of names
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=whole))
    factors = [f"{part}.{name}" for name, _ in network.named_parameters() if ".lora_" in name]
    return (*factors, *filter(found, others))


def merge(network: Any, part: str = "unet") -> dict[str, Tensor]:
    """Add what adapters learned to the weights and take them out; return the factors.

    The network is then as it was before `inject`, but for the values. Names begin with `part`.
    """
    factors = {
        f"{part}.{name.replace('.default', '')}": factor.detach().cpu().clone()
        for name, factor in network.named_parameters()
        if ".lora_" in name
    }
    network.fuse_lora()
    network.unload_lora()
    return factors


def shape(a: Tensor, b: Tensor) -> tuple[int, ...]:
    """Shape of the weight whose factors these are. Raises ValueError where they are of none."""
    if a.ndim not in (2, 4) or b.ndim != a.ndim or b.flatten(1).shape[1] != len(a):
        raise ValueError(f"no factors of one weight: {tuple(a.shape)}, {tuple(b.shape)}")
    return len(b), *a.shape[1:]


def product(a: Tensor, b: Tensor) -> Tensor:
    """B·A in float32, of the weight's shape, for Linear and Conv2d; as peft has it."""
    return (b.flatten(1).float() @ a.flatten(1).float()).view(shape(a, b))


def split(
    tensors: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], Pairs]:
    """Personal weights as whole tensors, and pairs (A, B) by the name of their weight.

    Raises ValueError for a factor without the other.
    """
    whole = {name: tensor for name, tensor in tensors.items() if not name.endswith((A, B))}
    layers = {name.removesuffix(A).removesuffix(B) for name in tensors.keys() - whole.keys()}
    for layer in layers:
        if not {layer + A, layer + B} <= tensors.keys():
            raise ValueError(f"{layer} has one LoRA factor of two")
    pairs = {f"{layer}.weight": (tensors[layer + A], tensors[layer + B]) for layer in layers}
    return whole, pairs


def follow(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What two stages changed, the second after the first, as personal weights.

    Factors of both become one pair of both ranks, as B₁A₁ + B₂A₂ = [B₁ B₂]·[A₁; A₂]; a whole
    tensor of the second has the first's adapter in it already.
    """
    both = dict(before)
    for name, tensor in after.items():
        layer = name.removesuffix(".weight")
        if name.endswith((A, B)):
            if name in before:
                tensor = torch.cat([before[name], tensor], dim=0 if name.endswith(A) else 1)
        else:
            both.pop(layer + A, None)
            both.pop(layer + B, None)
        both[name] = tensor
    return both


def _takes(name: str, layer: nn.Module) -> bool:
    """Whether a layer can carry an adapter. Not the projections of motion modules: diffusers calls
    them by keyword, which peft's layers do not understand."""
    if re.search(r"motion_modules\.\d+\.proj_(in|out)$", name):
        return False
    return isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
