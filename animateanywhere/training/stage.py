"""A training stage, as defined by a table `[[stage]]` of a recipe."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from animateanywhere.core.errors import UsageError


@dataclass(frozen=True)
class Stage:
    """A training stage: which parameters are trained, by which optimizer, for how long.

    Each method adds on which data.
    """

    name: str
    kind: str  # one of the kinds that the method defines
    steps: int
    batch: int = 1  # images or clips of a pass
    learning_rate: float = 1e-4
    warmup: int = 0  # steps
    decay: float = 0.0  # share of the steps at the end with linear decay of the learning rate to 0
    train: tuple[str, ...] = (".*",)  # regular expressions on parameter names
    # Other learning rates: pattern on names -> factor of learning_rate; the first that matches
    rates: dict[str, float] = field(default_factory=dict)
    accumulate: int = 1  # passes of each process per step
    # Images or clips per step of all processes together, a multiple of `batch`; 0: `batch` times
    # `accumulate` times the number of processes
    global_batch: int = 0
    # Steps in a row whose loss or gradient is not finite, after which the run stops; fewer are
    # skipped
    max_skipped: int = 10
    clip: float = 1.0  # maximum norm of the gradient
    ema: float = 0.0  # decay of the exponential moving average of the weights; 0 is off
    # Of the passes: "no" is float32; "auto" is bf16 where the device in use computes it in hardware
    # (NVIDIA GPUs since Ampere, processors with AMX or AVX512_BF16), elsewhere "no"
    precision: Literal["no", "bf16", "fp16", "auto"] = "no"
    # "adamw8bit": its state needs a quarter of the memory (Dettmers et al. 2022), by bitsandbytes
    # "muon": for matrices and convolutions, AdamW for the rest
    optimizer: Literal["adamw", "adamw8bit", "muon"] = "adamw"
    weight_decay: float = 0.01
    log_every: int = 10  # steps
    save_every: int = 200  # steps between checkpoints
    sample_every: int = 0  # steps between samples; 0: no samples


def check_stages(stages: Sequence[Stage], where: str) -> None:
    """Raise UsageError for values that would fail only after long work. where: the file."""
    names = [stage.name for stage in stages]
    if len(set(names)) < len(names):
        raise UsageError(f"{where}: two stages have the same name; rename one")
    for name in names:
        if name in ("", "..") or name != Path(name).name:
            raise UsageError(
                f"{where}: the name of a stage is a folder's name, such as appearance, not {name!r}"
            )
    for stage in stages:
        here = f"{where}: stage {stage.name}"
        for key in ("steps", "batch", "accumulate", "log_every", "save_every", "max_skipped"):
            if getattr(stage, key) < 1:
                raise UsageError(f"{here}: {key} must be at least 1")
        if stage.global_batch % stage.batch or stage.global_batch < 0:
            raise UsageError(f"{here}: global_batch must be a multiple of batch, {stage.batch}")
        if stage.global_batch and stage.accumulate > 1:
            raise UsageError(f"{here}: global_batch sets accumulate: remove one of them")
        for key in ("warmup", "weight_decay", "sample_every"):
            if not getattr(stage, key) >= 0:  # nor nan
                raise UsageError(f"{here}: {key} must be at least 0")
        for key in ("learning_rate", "clip"):
            if not getattr(stage, key) > 0:
                raise UsageError(f"{here}: {key} must be above 0")
        if not 0 <= stage.decay <= 1:
            raise UsageError(f"{here}: decay is a share and must be 0 to 1")
        if not 0 <= stage.ema < 1:
            raise UsageError(f"{here}: ema must be at least 0 and below 1")
        for pattern in (*stage.train, *stage.rates):
            try:
                re.compile(pattern)
            except re.error as error:
                raise UsageError(f"{here}: the pattern {pattern}: {error}") from None
        for pattern, rate in stage.rates.items():
            if isinstance(rate, bool) or not isinstance(rate, int | float) or rate <= 0:
                raise UsageError(f"{here}: rates: {pattern} must be a number above 0")


def learning_rate(stage: Stage, step: int) -> float:
    """Linear warm-up, constant, and linear decay to 0 over the last `decay` of the steps."""
    up = (step + 1) / max(stage.warmup, 1)
    down = (stage.steps - step) / max(stage.decay * stage.steps, 1)
    return stage.learning_rate * min(1.0, up, down)
