"""LoRA (Hu et al. 2021, arXiv 2106.09685): in place of a weight W, low-rank factors of a change B·A
are trained.

A (r, in, ...) and B (out, r, ...) are saved as `<layer>.lora_A.weight` and `<layer>.lora_B.weight`,
the names of peft and diffusers. Alpha equals the rank, so the factor on the product is 1, and
diffusers' `unet.load_lora_adapter(file, prefix="unet")` loads the file unchanged.
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
    """Add adapters to the Linear and Conv2d layers of `parts[part]` whose weight matches a pattern.

    Patterns are regular expressions for `re.search` on "<part>.<layer>.weight". B is initialized
    to zero, so the output stays bit-identical. Returns the names of the parameters to train: the
    factors, and all parameters of other parts that match. Raises UsageError for a pattern that
    matches neither, and if no layer of `parts[part]` matches.
    """
    from peft import LoraConfig

    network: Any = parts[part]
    modules = network.named_modules()
    able = {f"{part}.{name}.weight": name for name, layer in modules if _takes(name, layer)}
    others = [name for name, _ in parts.named_parameters() if not name.startswith(f"{part}.")]
    for pattern in patterns:
        if not any(re.search(pattern, name) for name in [*able, *others]):
            raise UsageError(
                f"the pattern {pattern} of `train` matches no layer that LoRA can be added to"
            )

    def found(name: str) -> bool:
        return any(re.search(pattern, name) for pattern in patterns)

    layers = [layer for name, layer in able.items() if found(name)]
    if not layers:
        raise UsageError(
            f"`train` matches no layer of the {part}, so lora_rank has no effect: add a pattern"
        )
    whole = "|".join(re.escape(layer) for layer in layers)  # a list would match suffixes of names
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=whole))
    own = [(name, p) for name, p in network.named_parameters() if ".lora_" in name]
    for _, factor in own:  # peft uses the layer's dtype; half precision would lose small updates
        factor.data = factor.data.to(torch.promote_types(factor.dtype, torch.float32))
    factors = [f"{part}.{name}" for name, _ in own]
    return (*factors, *filter(found, others))


def merge(network: Any, part: str = "unet") -> dict[str, Tensor]:
    """Merge the adapters of a network into its weights and remove them; return the factors.

    The network then has the same modules as before `inject`. Names of factors begin with `part`.
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
    """Shape of the weight with factors a and b. Raises ValueError for shapes that do not match."""
    if a.ndim not in (2, 4) or b.ndim != a.ndim or b.flatten(1).shape[1] != len(a):
        raise ValueError(f"LoRA factors do not match: {tuple(a.shape)}, {tuple(b.shape)}")
    return len(b), *a.shape[1:]


def product(a: Tensor, b: Tensor) -> Tensor:
    """B·A in float32 with the weight's shape, for Linear and Conv2d, as peft computes it."""
    return (b.flatten(1).float() @ a.flatten(1).float()).view(shape(a, b))


def split(
    tensors: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], Pairs]:
    """Split personal weights into full tensors, and pairs (A, B) by the name of their weight.

    Raises ValueError for a factor without its counterpart.
    """
    whole = {name: tensor for name, tensor in tensors.items() if not name.endswith((A, B))}
    layers = {name.removesuffix(A).removesuffix(B) for name in tensors.keys() - whole.keys()}
    for layer in layers:
        if not {layer + A, layer + B} <= tensors.keys():
            raise ValueError(f"{layer} has only one of its two LoRA factors")
    pairs = {f"{layer}.weight": (tensors[layer + A], tensors[layer + B]) for layer in layers}
    return whole, pairs


def follow(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Combine the personal weights of two consecutive stages.

    Factors of both become one pair with the sum of their ranks, since
    B₁A₁ + B₂A₂ = [B₁ B₂]·[A₁; A₂]. A full tensor of the second stage already contains the first
    stage's adapter and replaces it.
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
    """Whether an adapter can be added to a layer. Projections of motion modules are excluded:
    diffusers calls them by keyword, which peft's layers do not accept."""
    if re.search(r"motion_modules\.\d+\.proj_(in|out)$", name):
        return False
    return isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
