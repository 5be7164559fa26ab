"""The whole state of a training run in one safetensors file, written atomically."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from animateanywhere.core.files import write_aside


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
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    with write_aside(path) as aside:
        scale = {} if scaler is None else scaler.state_dict()
        save_file(tensors, aside, metadata={"step": str(step), "scaler": json.dumps(scale)})


def load_checkpoint(
    path: Path,
    parameters: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    shadow: Sequence[Tensor],
    scaler: Any = None,
) -> int:
    """Load a checkpoint of `save_checkpoint` in place; returns its step, 0 if there is none."""
    if not path.is_file():
        return 0
    state: dict[int, dict[str, Any]] = {}
    with safe_open(path, "pt") as file, torch.no_grad():
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
