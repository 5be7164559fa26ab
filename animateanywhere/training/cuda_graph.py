"""A network's forward and backward pass as a CUDA graph, recorded once and replayed.

A small network's thousand kernels take a GPU less time than Python takes to launch them: a step of
the bundled base's image stage took as long for 256 rows as for 512.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor, nn

from animateanywhere.core.messages import warn
from animateanywhere.training.processes import passes_of
from animateanywhere.training.stage import Stage


def replayed(family: Any, stage: Stage) -> Any:
    """A family whose `predict` is replayed in a stage's training steps where that gives the same
    gradients: on a CUDA GPU, in one process, with one pass a step.

    More passes would add up in the memory that each replay overwrites.
    """
    alone = PartialState().num_processes == 1 and passes_of(stage, 1) == 1
    if PartialState().device.type != "cuda" or not alone or stage.precision == "fp16":
        return family
    return replace(family, predict=Replay(family.predict))


class Replay:
    """A `Predict` of one network, recorded at its first pass with gradients; passes of other shapes
    and with regions are computed as usual."""

    def __init__(self, predict: Callable[..., Tensor]) -> None:
        self.predict = predict
        self._pass: nn.Module | None = None
        self._shapes: list[torch.Size] | None = None

    def __call__(self, network: Any, *inputs: Any) -> Tensor:
        """See `Predict`."""
        tensors = [x for x in inputs if x is not None]
        plain = not all(isinstance(x, Tensor) for x in tensors) or not torch.is_grad_enabled()
        shapes = None if plain else [x.shape for x in tensors]
        if not plain and self._shapes is None:
            self._shapes = shapes
            self._pass = _recorded(_Pass(self.predict, network), tensors)
        if plain or self._pass is None or shapes != self._shapes:
            return self.predict(network, *inputs)
        found: Tensor = self._pass(*tensors)
        return found


class _Pass(nn.Module):
    """A forward pass as a module of tensors alone."""

    def __init__(self, predict: Callable[..., Tensor], network: Any) -> None:
        super().__init__()
        self.predict, self.network = predict, network

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.predict(self.network, *inputs)


def _recorded(module: nn.Module, inputs: list[Tensor]) -> nn.Module | None:
    """A module whose passes are replayed; None, with a warning, if it cannot be recorded."""
    examples = tuple(x.detach().clone().requires_grad_(x.requires_grad) for x in inputs)
    if hasattr(torch.autograd.graph, "set_warn_on_accumulate_grad_stream_mismatch"):
        torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(
            False
        )  # of no account here
    try:
        torch.cuda.make_graphed_callables(module, examples, allow_unused_input=True)
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        warn(f"this network's passes cannot be recorded ({reason}): each is launched anew, slower")
        return None
    return module
