"""The processes that train together: their device and precision, and who does which passes."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import AutocastKwargs
from torch import nn

from animateanywhere.core.device import best_device, resolve_precision
from animateanywhere.core.errors import OtherEnded, UsageError
from animateanywhere.core.messages import say, warn
from animateanywhere.training.bfloat16 import use_bfloat16_layers
from animateanywhere.training.stage import Stage

# Environment variables of `accelerate launch`. Its accumulation would divide gradients once more
FSDP, PRECISION = "ACCELERATE_USE_FSDP", "ACCELERATE_MIXED_PRECISION"
ACCUMULATION = "ACCELERATE_GRADIENT_ACCUMULATION_STEPS"
# Other engines of accelerate, which would need other code
OTHERS = ("DEEPSPEED", "MEGATRON_LM", "PARALLELISM_CONFIG")
# In what gloo and NCCL say of a process that is gone
GONE = re.compile("peer|gloo|nccl|process ?group", re.IGNORECASE)
OTHER_ENDED = "another process of this training has ended; run the same command again to resume"


@dataclass(frozen=True)
class Share:
    """The passes of a step that this process does: every `count`-th of `passes`.

    A pass draws `Stage.batch` rows by a generator of its own number, so a step is the same whoever
    does its passes, up to the order in which gradients are summed.
    """

    passes: int  # of a step, over all processes
    index: int = 0  # of this process
    count: int = 1  # of processes
    even: bool = False  # FSDP: all processes must do as many, since each gathers the weights

    def of(self, step: int) -> list[tuple[int, float]]:
        """The passes of this process in a step: their numbers, counted over the run, and what their
        losses are divided by, so that the mean over processes is that over passes.

        Where there are too few for all processes to meet, some repeat the first for nothing.
        """
        first = step * self.passes
        numbers = range(first + self.index, first + self.passes, self.count)
        own = [(number, self.passes / self.count) for number in numbers]
        needed = math.ceil(self.passes / self.count) if self.even else 1
        return own + [(first, math.inf)] * (needed - len(own))


def passes_of(stage: Stage, processes: int) -> int:
    """The passes of a step over all processes, as the recipe says."""
    return stage.global_batch // stage.batch or stage.accumulate * processes


def accelerator_of(stage: Stage, model: nn.Module, track: str | None = None) -> Accelerator:
    """The device and precision of a stage. For bf16 on a processor, some of the model's
    layers are replaced by faster ones. track: another tracker of accelerate for the log."""
    AcceleratorState._reset_state()  # each stage has its own precision
    # Cast weights are not cached: within an autocast around this loop they would go stale
    kept = AutocastKwargs(cache_enabled=False)
    on_cpu, precision = best_device() == "cpu", resolve_precision(stage.precision)
    if on_cpu and precision == "bf16":
        use_bfloat16_layers(model)
    # Sharding is ours (`shards`): on a CPU, accelerate would ignore it
    with _without(FSDP), _without(ACCUMULATION):
        return Accelerator(
            mixed_precision=precision, cpu=on_cpu, log_with=track, kwargs_handlers=[kept]
        )


def device_of(accelerator: Accelerator) -> torch.device:
    """The device of an accelerator. On "cpu:0", as it calls that of several processes, PyTorch
    copies what is on "cpu": networks that share memory would no longer."""
    device: torch.device = accelerator.device
    return torch.device("cpu") if device.type == "cpu" else device


def total(accelerator: Accelerator, values: Sequence[float]) -> list[float]:
    """The sums of values over all processes."""
    if accelerator.num_processes == 1:
        return list(values)
    tensor = torch.tensor(values, dtype=torch.float64, device=accelerator.device)
    summed: list[float] = accelerator.reduce(tensor, reduction="sum").tolist()
    return summed


def fsdp_asked() -> bool:
    """Whether accelerate's configuration asks for sharded weights."""
    return os.environ.get(FSDP, "").lower() == "true"


def sharding(stage: Stage, processes: int) -> bool:
    """Whether accelerate's configuration asks for sharded weights (FSDP2) and there is more than
    one process. Raises UsageError for what it asks for and would not get."""

    def setting(name: str, default: str = "") -> str:
        return os.environ.get(name, default).lower()

    for name in OTHERS:
        if setting(f"ACCELERATE_USE_{name}") == "true":
            raise UsageError(
                f"ACCELERATE_USE_{name}: aa trains by data parallelism (DDP) or FSDP2 only; choose "
                "one of them in `accelerate config`"
            )
    given, own = setting(PRECISION, "no"), resolve_precision(stage.precision)
    if given not in ("no", own):
        warn(f"stage {stage.name}: precision is {own}, of the recipe, not accelerate's {given}")
    if not fsdp_asked():
        return False
    wrong = {
        "fsdp_version 1": setting("FSDP_VERSION", "2") == "1",
        "fsdp_offload_params": setting("FSDP_OFFLOAD_PARAMS") == "true",
        "fsdp_activation_checkpointing (the recipe has `recompute`)":
            setting("FSDP_ACTIVATION_CHECKPOINTING") == "true",
        f"optimizer = {stage.optimizer}": stage.optimizer != "adamw",
        "precision = fp16": own == "fp16",
    }  # fmt: skip
    for what, asked in wrong.items():
        if asked:
            raise UsageError(f"stage {stage.name}: FSDP does not work with {what}; change either")
    return processes > 1


def say_engine(stage: Stage, accelerator: Accelerator, sharded: bool) -> None:
    """Say what several processes, or one that was to shard weights, really do in a stage."""
    count, here = accelerator.num_processes, accelerator.device.type
    asked = fsdp_asked()
    if count == 1:
        if asked:
            say(f"stage {stage.name}: one process: FSDP has nothing to divide")
        return
    engine = "weights divided among them (FSDP2)" if sharded else "each with all weights (DDP)"
    why = ": this network is too small to divide" if asked and not sharded else ""
    say(f"stage {stage.name}: {count} processes on {here}, {engine}{why}")


def warn_of_single() -> None:
    """Warn of `accelerate launch --cpu --num_processes N`, which without MPI starts one process."""
    on_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true"
    asked = on_cpu and "MASTER_ADDR" in os.environ
    if asked and not any(name.endswith(("WORLD_SIZE", "PMI_SIZE")) for name in os.environ):
        warn(
            "accelerate launch --cpu starts one process only; for several on processors, write "
            "--multi_gpu in its place"
        )


def lost_another(error: BaseException) -> bool:
    """Whether an error means that another process has ended, which PyTorch raises as
    RuntimeError."""
    lost = isinstance(error, torch.distributed.DistError) or GONE.search(str(error))
    return isinstance(error, RuntimeError) and bool(lost)


@contextmanager
def others_named(count: int) -> Iterator[None]:
    """Raise OtherEnded for errors inside that mean that another of `count` processes has ended."""
    try:
        yield
    except Exception as error:
        if count > 1 and lost_another(error):
            raise OtherEnded(OTHER_ENDED) from error
        raise


@contextmanager
def _without(name: str) -> Iterator[None]:
    """Remove an environment variable inside."""
    value = os.environ.pop(name, None)
    try:
        yield
    finally:
        if value is not None:
            os.environ[name] = value
