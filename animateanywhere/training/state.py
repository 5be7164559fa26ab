"""What a training changes and saves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from rich.markup import escape
from safetensors import SafetensorError
from torch import nn

from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.core.messages import say, warn
from animateanywhere.training.checkpoint import (
    Position,
    load_checkpoint,
    state_of,
    write_state,
)
from animateanywhere.training.checkpoint_files import PREVIOUS
from animateanywhere.training.ema import Ema
from animateanywhere.training.optimizer import make_optimizer
from animateanywhere.training.processes import device_of, say_engine, sharding
from animateanywhere.training.shards import Shards, divisible
from animateanywhere.training.stage import Stage

Parameters = dict[str, nn.Parameter]
UNWRITTEN = (Failure, OSError, SafetensorError)  # what a full or broken disk raises


class State:
    """The parameters of a stage, their optimizer and EMA, and the position of the run, which is
    that of its checkpoint at first."""

    def __init__(
        self, model: nn.Module, network: nn.Module, stage: Stage, accelerator: Accelerator,
        folder: Path,
    ) -> None:  # fmt: skip
        """network: a module around `model`, whose forward pass gives the loss."""
        names = select(model, stage.train).keys()
        self.stage, self.accelerator, self.folder = stage, accelerator, folder
        self.model, self.names, self.shards = model, names, None
        if sharding(stage, accelerator.num_processes) and divisible(network):
            self.shards = Shards(network, device_of(accelerator))
        say_engine(stage, accelerator, self.shards is not None)
        self.parameters = self._parameters()
        self.optimizer: Any = make_optimizer(self.parameters, stage)
        self.ema = Ema(self.parameters, stage.ema)
        self.intact = True  # not in the middle of a step
        self.position, self.sound = self._load()  # sound: the newest checkpoint is
        self.saved = self.step

    @property
    def step(self) -> int:
        """Steps done."""
        return self.position.step

    def prepared(self, network: nn.Module) -> tuple[Any, Any]:
        """The network and the optimizer for use by several processes."""
        if self.shards is not None:
            return network, self.accelerator.prepare(self.optimizer, device_placement=[False])
        both = network, self.optimizer  # which are on their device
        prepared, optimizer = self.accelerator.prepare(*both, device_placement=[False, False])
        return prepared, optimizer

    def save(self, together: bool = True) -> bool:
        """Save the state; returns whether it is. A disk that cannot take it is no reason to lose a
        run: the former checkpoint is kept, and the user warned.

        together: all processes call it, and learn whether the first one could write; otherwise none
        of them waits for another, and those that write nothing do not know.
        """
        if self.step == self.saved:
            return True
        main = self.accelerator.is_main_process
        if not (main or together):
            return False
        tensors = state_of(self.parameters, self.optimizer, self.ema.shadow, keep=main)
        reason = None
        try:
            if main:
                scaler = self.accelerator.scaler
                write_state(self.folder, tensors, self.position, scaler, keep=self.sound)
        except UNWRITTEN as error:
            reason = str(error)
        if together:  # all save again at the same step, or none: sharded weights are gathered
            (reason,) = broadcast_object_list([reason])
        if reason is None:
            self.saved, self.sound = self.step, True
        else:
            kept = f"the checkpoint is of step {self.saved}" if self.saved else "nothing is saved"
            name = self.stage.name
            warn(escape(f"{name}: step {self.step} could not be saved: {reason}; {kept}"))
        return reason is None

    def end(self) -> None:
        """The stage is over: of two checkpoints, each of which has the weights several times, the
        last suffices."""
        if self.accelerator.is_main_process and self.saved == self.step:
            (self.folder / PREVIOUS).unlink(missing_ok=True)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the parameters are their average, and whole on every process."""
        gathered = nullcontext() if self.shards is None else self.shards.gathered()
        with self.ema.applied(), gathered:
            yield
        self.model.train()

    def finish(self) -> Parameters:
        """Set the parameters to their average, for use; returns them."""
        self.ema.apply()
        if self.shards is not None:
            self.shards.restore()
        self.model.eval()
        return self._parameters()

    def _parameters(self) -> Parameters:
        return {name: p for name, p in self.model.named_parameters() if name in self.names}

    def _load(self) -> tuple[Position, bool]:
        self.folder.mkdir(parents=True, exist_ok=True)
        position, sound = load_checkpoint(
            self.folder, self.parameters, self.optimizer, self.ema.shadow, self.accelerator.scaler
        )
        if self.accelerator.num_processes > 1:
            (first,) = broadcast_object_list([position])
            if first != position:
                raise Failure(
                    f"{self.folder}: the processes found different checkpoints: --out must be on a "
                    "file system that all of them see"
                )
        self.ema.resume(position.step)
        return position, sound


def select(model: nn.Module, patterns: tuple[str, ...]) -> Parameters:
    """Freeze the model except for parameters whose name matches a pattern (`re.search`).

    Returns the trainable parameters by name. Raises UsageError for a pattern without a match, which
    would silently train nothing.
    """
    named = dict(model.named_parameters())
    chosen: set[str] = set()
    for pattern in patterns:
        found = {name for name in named if re.search(pattern, name)}
        if not found:
            raise UsageError(f"the pattern {pattern} of `train` matches no parameter")
        chosen |= found
    for name, parameter in named.items():
        parameter.requires_grad_(name in chosen)
    size = sum(named[name].numel() for name in chosen)
    say(f"training {len(chosen)} of {len(named)} tensors, {size / 1e6:.2f} M parameters")
    return {name: p for name, p in named.items() if name in chosen}
