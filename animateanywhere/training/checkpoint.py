"""The whole state of a training run in one safetensors file, written atomically; the one before is
kept beside it.

The file does not depend on the number of processes, nor on whether they shard weights (FSDP2).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from rich.markup import escape
from torch import Tensor

from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.core.files import flush
from animateanywhere.core.messages import warn
from animateanywhere.core.tensor_file import checked, write_tensors
from animateanywhere.training.checkpoint_files import CHECKPOINT, NEXT, PREVIOUS, checkpoint_files
from animateanywhere.training.shards import part_of, whole


@dataclass(frozen=True)
class Position:
    """Where a run is. Its data are a function of seed, step and `passes` (`processes.Share`)."""

    step: int = 0  # steps done
    passes: int = 0  # batches of a step, over all processes; 0: not known
    skipped: int = 0  # steps whose loss was not finite
    in_a_row: int = 0  # of these, the last ones without another in between


def state_of(
    parameters: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    shadow: Sequence[Tensor],
    keep: bool = True,
) -> dict[str, Tensor]:
    """Copies of parameters, optimizer state and EMA weights (`shadow`), by name, in main memory.

    All processes that shard weights must call it; with keep False it returns {}.
    """
    tensors = {f"model.{name}": p.detach() for name, p in parameters.items()}
    for index, state in optimizer.state_dict()["state"].items():
        flat = {k: v for k, v in state.items() if not isinstance(v, dict)}
        for inner in (v for v in state.values() if isinstance(v, dict)):
            # bitsandbytes nests tensors that differ in shape from the weight; it loads both forms
            flat |= inner
        tensors |= {f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in flat.items()}
    tensors |= {f"ema.{index}": value for index, value in enumerate(shadow)}
    copies = {}
    for name, tensor in tensors.items():
        full = whole(tensor)
        if keep:  # copied, since tensors in a file must not share memory
            copies[name] = full.cpu() if full.device.type != "cpu" else full.clone()
    return copies


def write_state(
    folder: Path, tensors: Mapping[str, Tensor], position: Position, scaler: Any = None,
    keep: bool = True,
) -> None:  # fmt: skip
    """Write a state of `state_of` and that of a `GradScaler` (with fp16). It becomes the checkpoint
    of a folder once it is complete and on the disk, and the former one `PREVIOUS`.

    keep: False if the former one could not be loaded: it is replaced, and `PREVIOUS` stays.

    Raises Failure if the disk is full, or if a tensor is not finite, from which no training would
    recover; both files are then as they were.
    """
    if name := _not_finite(tensors.items()):
        raise Failure(f"{name} is not finite")
    scale = {} if scaler is None else scaler.state_dict()
    about = {key: str(value) for key, value in asdict(position).items()}
    write_tensors(folder / NEXT, tensors, {**about, "scaler": json.dumps(scale)})
    if keep and (folder / CHECKPOINT).exists():
        os.replace(folder / CHECKPOINT, folder / PREVIOUS)
    os.replace(folder / NEXT, folder / CHECKPOINT)
    flush(folder)


def _not_finite(tensors: Iterable[tuple[str, Tensor]]) -> str | None:
    """The name of a tensor that has values which are not finite; None if there is none."""
    return next((name for name, some in tensors if not some.isfinite().all()), None)


def load_checkpoint(
    folder: Path,
    parameters: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    shadow: Sequence[Tensor],
    scaler: Any = None,
) -> tuple[Position, bool]:
    """Load the checkpoint of a folder in place; returns its position, that of a start if there is
    none, and whether no newer one is damaged.

    If it is damaged or of other parameters, the one before is loaded, with a warning; without one,
    nothing is changed.
    """
    found = checkpoint_files(folder)
    for number, path in enumerate(found, 1):
        try:
            return _load(path, parameters, optimizer, shadow, scaler), number == 1
        except UsageError as error:
            earlier = number < len(found)
            then = "the checkpoint before it is used" if earlier else "this stage starts from the "
            warn(escape(f"{error}; {then}" + ("" if earlier else "beginning")))
    return Position(), not found


def load_averaged(path: Path, parameters: Mapping[str, Tensor]) -> None:
    """Load the averaged weights of a checkpoint, or those of its last step if it has no averages,
    in place, without what a training needs to go on.

    parameters: of the network, by name, in its order; those that were not trained stay. Raises
    UsageError for a damaged file, and for weights of other shapes.
    """
    with checked(path) as file, torch.no_grad():
        names = set(file.keys())
        trained = [(n, p) for n, p in parameters.items() if f"model.{n}" in names]
        for index, (name, parameter) in enumerate(trained):
            averaged = f"ema.{index}"
            tensor = file.get_tensor(averaged if averaged in names else f"model.{name}")
            if tensor.shape != parameter.shape:
                raise UsageError(f"{path}: of a run with other parameters")
            parameter.copy_(tensor)


def _load(
    path: Path,
    parameters: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    shadow: Sequence[Tensor],
    scaler: Any,
) -> Position:
    state: dict[int, dict[str, Any]] = {}
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    with checked(path) as file, torch.no_grad():
        wanted = {f"model.{name}": list(p.shape) for name, p in parameters.items()}
        wanted |= {f"ema.{index}": list(value.shape) for index, value in enumerate(shadow)}
        found = {n: file.get_slice(n).get_shape() for n in file.keys() if "optimizer." not in n}  # noqa: SIM118
        if found != wanted:
            raise UsageError(f"{path}: of a run with other parameters")
        # Of earlier versions, which did not look
        if name := _not_finite((n, file.get_tensor(n)) for n in wanted):
            raise UsageError(f"{path}: {name} is not finite")
        for name, parameter in parameters.items():
            parameter.copy_(part_of(file.get_tensor(f"model.{name}"), parameter))
        for key in file.keys():  # noqa: SIM118 - not a dict
            if key.startswith("optimizer."):
                _, index, name = key.split(".")
                value = part_of(file.get_tensor(key), trained[int(index)])
                counted = name == "step" and not value.is_floating_point()  # as in bitsandbytes
                state.setdefault(int(index), {})[name] = int(value) if counted else value
        for index, value in enumerate(shadow):
            value.copy_(part_of(file.get_tensor(f"ema.{index}"), value))
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
        # Fused kernels go through memory as it lies: moments must lie as their weight does, which
        # may be channels last
        for parameter, values in optimizer.state.items():
            for name, value in values.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        about = file.metadata()
        scale = json.loads(about.get("scaler", "{}"))  # earlier versions have none
        if scaler is not None and scale:
            scaler.load_state_dict(scale)
        return Position(**{f.name: int(about.get(f.name, 0)) for f in fields(Position)})
