"""The optimizer of a stage."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from animateanywhere.core.errors import UsageError
from animateanywhere.core.paths import install_command
from animateanywhere.training.muon import Muon, is_matrix
from animateanywhere.training.stage import Stage

# Parameters that weight decay would only pull back: the embedding of a learned token
NOT_DECAYED = r"^token_embedding\."


def make_optimizer(parameters: Mapping[str, nn.Parameter], stage: Stage) -> Any:
    """The optimizer of a stage, its groups with their `rate` relative to the stage's learning rate.
    The embedding of a learned token is not decayed. Raises UsageError where its package is not
    installed, or a pattern of `rates` matches nothing."""
    kind: Any = partial(torch.optim.AdamW, fused=True)
    if stage.optimizer == "adamw8bit":
        try:
            kind = importlib.import_module("bitsandbytes.optim").AdamW8bit
        except ImportError:
            raise UsageError(
                f"the optimizer of stage {stage.name} needs bitsandbytes; run: "
                + install_command("vram")
            ) from None
    if stage.optimizer == "muon":
        kind = Muon
    return kind(_groups(parameters, stage), stage.learning_rate, (0.9, 0.99))


def _groups(parameters: Mapping[str, nn.Parameter], stage: Stage) -> list[dict[str, Any]]:
    groups: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    used: set[str] = set()
    for name, parameter in parameters.items():
        found = [pattern for pattern in stage.rates if re.search(pattern, name)]
        used |= set(found)
        rate = stage.rates[found[0]] if found else 1.0
        decay = 0.0 if re.search(NOT_DECAYED, name) else stage.weight_decay
        matrix = stage.optimizer == "muon" and is_matrix(name, parameter)
        groups.setdefault((rate, decay, matrix), []).append(parameter)
    for pattern in stage.rates.keys() - used:
        raise UsageError(f"the pattern {pattern} of `rates` matches no trainable parameter")
    return [
        {"params": some, "rate": rate, "weight_decay": decay, "matrices": matrices}
        for (rate, decay, matrices), some in groups.items()
    ]
