"""The exponential moving average (EMA) of trained parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn


class Ema:
    """The EMA of parameters; without a `decay`, the parameters themselves."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self.parameters = list(parameters.values())
        self.model: Any = None
        if decay:
            # All at once on a GPU, which would wait for a thousand launches; it rounds differently
            on_gpu = self.parameters[0].device.type == "cuda"
            self.model = EMAModel(
                self.parameters, decay=decay, use_ema_warmup=True, power=0.75, foreach=on_gpu
            )

    @property
    def shadow(self) -> list[Tensor]:
        """The averages, for a checkpoint; [] without a decay."""
        return self.model.shadow_params if self.model else []

    def resume(self, step: int) -> None:
        """Go on after `step`, which the warm-up of the decay depends on."""
        if self.model:
            self.model.optimization_step = step

    def update(self) -> None:
        """Take the parameters after a step into the average."""
        if self.model:
            self.model.step(self.parameters)

    @torch.no_grad()
    def apply(self) -> None:
        """Set the parameters to their average."""
        for parameter, average in zip(self.parameters, self.shadow, strict=bool(self.shadow)):
            parameter.copy_(average)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The parameters are their average inside, and those of training again afterwards."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for parameter, average in zip(self.parameters, self.shadow, strict=bool(self.shadow)):
            before = parameter.clone()
            parameter.copy_(average)
            average.copy_(before)
