"""The whole state of a training run in one safetensors file, written atomically."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.markup import escape
from torch import Tensor

from animateanywhere.core.errors import UsageError
from animateanywhere.core.messages import warn
from animateanywhere.core.tensor_file import checked, write_tensors


def save_checkpoint(
    path: Path,
    step: int,
    parameters: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    shadow: Sequence[Tensor],
    scaler: Any = None,
) -> None:
    """Write parameters, optimizer state, EMA weights (`shadow`) and the state of a `GradScaler`
    (with fp16) of a step, atomically."""
    tensors = {f"model.{name}": p.detach() for name, p in parameters.items()}
    for index, state in optimizer.state_dict()["state"].items():
        flat = {k: v for k, v in state.items() if not isinstance(v, dict)}
        for inner in (v for v in state.values() if isinstance(v, dict)):
            # bitsandbytes nests tensors that differ in shape from the weight; it loads both forms
            flat |= inner
        tensors |= {f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in flat.items()}
    tensors |= {f"ema.{index}": value for index, value in enumerate(shadow)}
    scale = {} if scaler is None else scaler.state_dict()
    # Copied, since tensors in a file must not share memory
    copies = {name: t.detach().clone() for name, t in tensors.items()}
    write_tensors(path, copies, {"step": str(step), "scaler": json.dumps(scale)})


def load_checkpoint(
    path: Path,
    parameters: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    shadow: Sequence[Tensor],
    scaler: Any = None,
) -> int:
    """Load a checkpoint of `save_checkpoint` in place; returns its step, 0 if there is none.

    Nothing is changed, and 0 returned with a warning, if it is damaged or of other parameters.
    """
    if not path.is_file():
        return 0
    try:
        return _load(path, parameters, optimizer, shadow, scaler)
    except UsageError as error:
        warn(escape(f"{error}; this stage starts from the beginning"))
        return 0


def _load(
    path: Path,
    parameters: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    shadow: Sequence[Tensor],
    scaler: Any,
) -> int:
    state: dict[int, dict[str, Any]] = {}
    with checked(path) as file, torch.no_grad():
        wanted = {f"model.{name}": list(p.shape) for name, p in parameters.items()}
        wanted |= {f"ema.{index}": list(value.shape) for index, value in enumerate(shadow)}
        found = {n: file.get_slice(n).get_shape() for n in file.keys() if "optimizer." not in n}  # noqa: SIM118
        if found != wanted:
            raise UsageError(f"{path}: of a run with other parameters")
        for name, parameter in parameters.items():
            parameter.copy_(file.get_tensor(f"model.{name}"))
        for key in file.keys():  # noqa: SIM118 - not a dict
            if key.startswith("optimizer."):
                _, index, name = key.split(".")
                value = file.get_tensor(key)
                whole = name == "step" and not value.is_floating_point()  # as in bitsandbytes
                state.setdefault(int(index), {})[name] = int(value) if whole else value
        for index, value in enumerate(shadow):
            value.copy_(file.get_tensor(f"ema.{index}"))
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
        # Fused kernels go through memory as it lies: moments must lie as their weight does, which
        # may be channels last
        for parameter, values in optimizer.state.items():
            for name, value in values.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        scale = json.loads(file.metadata().get("scaler", "{}"))  # earlier versions have none
        if scaler is not None and scale:
            scaler.load_state_dict(scale)
        return int(file.metadata()["step"])
