"""Weights, gradients and optimizer state divided among processes: FSDP2 (Zhao et al. 2023, arXiv
2304.11277; PyTorch's `fully_shard`).

Each process keeps a share of every parameter; a block's are gathered while it runs. accelerate's
own plugin for it gives plain data parallelism on a CPU, without a word, so it is not used.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

SMALLEST = 1_000_000  # parameters of a block that is gathered by itself


class Shards:
    """The parameters of a network, divided among all processes from here on, and put together again
    by `restore`. An optimizer must be made in between.

    What shares memory with the network, as an image UNet does with the video UNet made of it, is
    empty meanwhile.
    """

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
        self.network = network
        # With their data, which other networks may share
        self.places = [
            (module, name, parameter, parameter.data)
            for module in network.modules()
            for name, parameter in module._parameters.items()
            if parameter is not None
        ]
        for block in (*blocks(network), network):
            fully_shard(block, mesh=mesh)
        self.freed = _free([data for *_, data in self.places])

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """All parameters are whole on every process inside, for passes without gradients, which
        need not be the same on all of them."""
        units = [m for m in self.network.modules() if isinstance(m, FSDPModule)]
        for unit in units:
            unit.set_reshard_after_forward(False, recurse=False)
            unit.unshard()
        try:
            yield
        finally:
            for unit in units:
                unit.reshard()
                unit.set_reshard_after_forward(unit is not self.network, recurse=False)

    @torch.no_grad()
    def restore(self) -> None:
        """Put the former parameters, with the values of now, back into the network."""
        for storage, size in self.freed:
            storage.resize_(size)
        done: set[int] = set()
        for module, name, parameter, data in self.places:
            if id(parameter) not in done:
                done.add(id(parameter))
                shared: Any = module._parameters[name]
                data.copy_(whole(shared))
                parameter.data = data
        for module, name, parameter, _ in self.places:
            module._parameters[name] = parameter


def blocks(network: nn.Module) -> list[nn.Module]:
    """The members of lists of layers that have `SMALLEST` parameters or more, without those of
    blocks in them; the innermost come first."""
    found: list[nn.Module] = []
    members = {id(one) for m in network.modules() if isinstance(m, nn.ModuleList) for one in m}

    def size(module: nn.Module) -> int:
        """Parameters of a module that belong to no block in it."""
        own = sum(p.numel() for p in module.parameters(recurse=False))
        own += sum(size(child) for child in module.children())
        if id(module) in members and own >= SMALLEST:
            found.append(module)
            return 0
        return own

    size(network)
    return found


def divisible(network: nn.Module) -> bool:
    """Whether FSDP2 can divide a network: it has no parameter that is a single number."""
    return all(parameter.ndim for parameter in network.parameters())


def whole(tensor: Tensor) -> Tensor:
    """A tensor that is divided among processes as a whole; all of them must call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def part_of(tensor: Tensor, like: Any) -> Tensor:
    """This process's part of a whole tensor, if it has the shape of `like` and that is divided."""
    if not isinstance(like, DTensor) or tensor.shape != like.shape:
        return tensor
    place = tensor.to(like.device)
    # Each process has read all of it: nothing is sent
    return distribute_tensor(place, like.device_mesh, like.placements, src_data_rank=None)


def _free(tensors: list[Tensor]) -> list[tuple[torch.UntypedStorage, int]]:
    """Free the memory of tensors whose values are no longer needed; returns it, with its sizes.

    Memory that holds other tensors as well, or belongs to a mapped file, is left.
    """
    used: dict[int, int] = {}
    storages: dict[int, torch.UntypedStorage] = {}
    for tensor in {(t.data_ptr(), t.shape): t for t in tensors}.values():
        storage = tensor.untyped_storage()
        storages[storage._cdata] = storage
        used[storage._cdata] = used.get(storage._cdata, 0) + tensor.nbytes
    freed = []
    for key, storage in storages.items():
        size = storage.nbytes()
        if used[key] >= size and storage.resizable():
            freed.append((storage, size))
            storage.resize_(0)
    return freed
