"""Passes on fake tensors, which have shapes and no contents: their memory is counted, and is not
needed."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from animateanywhere.backbones.low_memory import autocast


class Counted(TorchDispatchMode):
    """Counts the bytes of storages that are made inside: `now`, and at most so far, `peak`."""

    def __init__(self, *networks: nn.Module) -> None:
        """networks: their weights are not counted, nor views of them."""
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self.now = self.peak = 0
        there = (t for network in networks for t in (*network.parameters(), *network.buffers()))
        self.known: weakref.WeakSet[Any] = weakref.WeakSet(t.untyped_storage() for t in there)

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


@contextmanager
def counted(precision: str, *networks: nn.Module) -> Iterator[Counted]:
    """Count what is made inside, by passes of networks in a precision."""
    count = Counted(*networks)
    with count, autocast("cpu", precision):
        yield count


def fill(*networks: nn.Module) -> float:
    """Put fake tensors in place of those on the meta device; return the GB of all weights. Within
    a FakeTensorMode."""
    for layer in (layer for network in networks for layer in network.modules()):
        for name, weight in layer._parameters.items():
            if weight is not None and weight.is_meta:
                empty = torch.empty(weight.shape, dtype=weight.dtype)
                layer._parameters[name] = nn.Parameter(empty, weight.requires_grad)
        for name, value in layer._buffers.items():
            if value is not None and value.is_meta:
                layer._buffers[name] = torch.zeros(value.shape, dtype=value.dtype)
    return sum(p.nbytes for network in networks for p in network.parameters()) / 1e9
