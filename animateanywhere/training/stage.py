"""One row of training, as a table `[[stage]]` of a recipe says it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Stage:
    """One row of training: what trains, on what, for how long."""

    name: str
    kind: str
    steps: int
    batch: int = 1  # images or clips a step and process
    regular_batch: int = 0  # regularization rows a step, on top of `batch`
    frames: int = 1
    learning_rate: float = 1e-4
    warmup: int = 0  # steps
    decay: float = 0.0  # share of the steps, at the end, in which the learning rate falls to 0
    train: tuple[str, ...] = (".*",)  # regular expressions on parameter names
    # What learns at another pace: pattern on names -> times learning_rate
    rates: dict[str, float] = field(default_factory=dict)
    lora_rank: int = 0  # of a person: above 0, LoRA of that rank on the layers of `train` learns
    accumulate: int = 1
    clip: float = 1.0  # norm of the gradient
    ema: float = 0.0  # decay; 0 is off
    dropout: float = 0.1  # share of rows trained without a caption, for guidance
    # Above 1, noisy timesteps are drawn more often (Esser et al. 2024): there words count.
    timestep_shift: float = 1.0
    # Rows go through the network one after another: the same step in less memory, a quarter slower
    row_by_row: bool = False
    precision: Literal["no", "bf16", "fp16"] = "no"
    # "adamw8bit": its state takes a quarter of the memory (Dettmers et al. 2022), by bitsandbytes
    optimizer: Literal["adamw", "adamw8bit"] = "adamw"
    weight_decay: float = 0.01
    log_every: int = 10
    save_every: int = 200
    sample_every: int = 0
