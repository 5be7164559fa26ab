"""The exponential moving average (EMA) of trained parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from animateanywhere.training.interrupts import without_interrupts


class Ema:
    """The EMA of parameters; without a `decay`, the parameters themselves."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self.parameters = list(parameters.values())
        self.model: Any = None
        if decay:
            self.model = EMAModel(self.parameters, decay=decay, use_ema_warmup=True, power=0.75)

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

    def apply(self) -> None:
        """Set the parameters to their average."""
        if self.model:
            self.model.copy_to(self.parameters)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The parameters are their average inside, and those of training again afterwards."""
        if not self.model:
            yield
            return
        self.model.store(self.parameters)
        try:
            with without_interrupts():
                self.model.copy_to(self.parameters)
            yield
        finally:
            with without_interrupts():
                self.model.restore(self.parameters)
