"""A training stage, as defined by a table `[[stage]]` of a recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Stage:
    """A training stage: which parameters are trained, on which data, for how long."""

    name: str
    kind: str
    steps: int
    batch: int = 1  # images or clips per step and process
    regular_batch: int = 0  # regularization rows per step, in addition to `batch`
    frames: int = 1
    learning_rate: float = 1e-4
    warmup: int = 0  # steps
    decay: float = 0.0  # share of the steps at the end with linear decay of the learning rate to 0
    train: tuple[str, ...] = (".*",)  # regular expressions on parameter names
    # Other learning rates: pattern on names -> factor of learning_rate
    rates: dict[str, float] = field(default_factory=dict)
    lora_rank: int = 0  # of a person: above 0, train a LoRA of that rank on the layers of `train`
    accumulate: int = 1
    clip: float = 1.0  # maximum norm of the gradient
    ema: float = 0.0  # decay; 0 is off
    dropout: float = 0.1  # share of rows trained without a caption, for classifier-free guidance
    # Above 1, noisy timesteps are drawn more often (Esser et al. 2024), where the text counts most
    timestep_shift: float = 1.0
    # Rows pass through the network one by one: the same step in less memory, a quarter slower
    row_by_row: bool = False
    precision: Literal["no", "bf16", "fp16"] = "no"
    # "adamw8bit": its state needs a quarter of the memory (Dettmers et al. 2022), by bitsandbytes
    optimizer: Literal["adamw", "adamw8bit"] = "adamw"
    weight_decay: float = 0.01
    log_every: int = 10
    save_every: int = 200
    sample_every: int = 0
