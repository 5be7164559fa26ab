"""A network with exactly the weights of a file of somebody else's: none missing, none left over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def empty_network(kind: Any, config: Mapping[str, Any]) -> Any:
    """A network of class `kind` without weights. Raises ValueError for a config that is not of
    one."""
    try:
        with torch.device("meta"):
            return kind.from_config(dict(config))
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"its config.json is not of a {kind.__name__} ({error})") from None


def fill(network: nn.Module, found: Mapping[str, Tensor], subject: str = "") -> None:
    """Give a network its weights. Raises ValueError that names the first that is missing, unknown
    or of another shape. subject: what a message begins with where it is of the whole file."""
    needed = network.state_dict()
    for problem, names in (
        ("lacks", needed.keys() - found.keys()), ("has unknown", found.keys() - needed.keys()),
    ):  # fmt: skip
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ValueError(f"{subject}{problem} weights: {min(names)}{more}")
    for name, weight in needed.items():
        if found[name].shape != weight.shape:
            raise ValueError(
                f"{name} is {tuple(found[name].shape)}, where {tuple(weight.shape)} is needed"
            )
    network.load_state_dict(found, assign=True)
