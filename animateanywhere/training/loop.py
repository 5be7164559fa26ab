"""The training loop. The same command resumes: a step depends only on seed, rank and number."""

from __future__ import annotations

import importlib
import json
import math
import re
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.core.messages import progress, say
from animateanywhere.training.bfloat16 import has_amx, use_bfloat16_norms
from animateanywhere.training.checkpoint import load_checkpoint, save_checkpoint
from animateanywhere.training.stage import Stage

Logs = dict[str, float]
LossFn = Callable[[nn.Module, torch.Generator], tuple[Tensor, Logs]]
Parameters = dict[str, nn.Parameter]


def select(model: nn.Module, patterns: tuple[str, ...]) -> dict[str, nn.Parameter]:
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


def step_generator(seed: int, rank: int, step: int) -> torch.Generator:
    """The random generator of one step on one process: batch, noise, timesteps, dropout."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) * 1_009 + rank)


def learning_rate(stage: Stage, step: int) -> float:
    """Linear warm-up, constant, and linear decay to 0 over the last `decay` of the steps."""
    up = (step + 1) / max(stage.warmup, 1)
    down = (stage.steps - step) / max(stage.decay * stage.steps, 1)
    return stage.learning_rate * min(1.0, up, down)


class _Step(nn.Module):
    """The loss as a forward pass, so that data parallelism wraps it."""

    def __init__(self, model: nn.Module, loss_fn: LossFn) -> None:
        super().__init__()
        self.model, self.loss_fn = model, loss_fn

    def forward(self, generator: torch.Generator) -> tuple[Tensor, Logs]:
        return self.loss_fn(self.model, generator)


def fit(
    model: nn.Module,
    stage: Stage,
    loss_fn: LossFn,
    folder: Path,
    seed: int,
    on_sample: Callable[[int], None] | None = None,
    on_save: Callable[[int, Parameters], bool] | None = None,
) -> Parameters:
    """Train `model` by a stage of the recipe; returns the trained parameters (EMA if enabled).

    Args:
        model: contains the parameters to train, selected by `stage.train`.
        loss_fn: (model, generator) -> (scalar loss, logs); draws its own batch from the generator.
        folder: for `checkpoint.safetensors`, `log.jsonl` and TensorBoard events. The same call
            resumes from the checkpoint, with the losses of an uninterrupted run.
        on_sample: called with the step every `stage.sample_every` steps, on EMA weights.
        on_save: called with the step and the trained parameters (EMA) before the first step and
            after each save, and again for the save from which a run resumes; returns whether to
            stop. It must not use torch's global generator.

    Raises:
        Failure: the loss is not finite.
        UsageError: a pattern matches no parameter, or the optimizer is not installed.
    """
    AcceleratorState._reset_state()  # each stage has its own precision
    gpu, precision = torch.cuda.is_available(), stage.precision
    if precision == "auto":
        precision = "bf16" if (torch.cuda.is_bf16_supported() if gpu else has_amx()) else "no"
    accelerator = Accelerator(mixed_precision=precision, cpu=not gpu)
    if precision == "bf16" and not gpu:
        use_bfloat16_norms(model)
    parameters = select(model, stage.train)
    optimizer = _optimizer(parameters, stage)
    step_module: Any = _Step(model, loss_fn).to(accelerator.device)
    ema = _ema(parameters, stage)
    checkpoint = folder / "checkpoint.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    start = load_checkpoint(checkpoint, dict(parameters), optimizer, ema and ema.shadow_params)
    if ema:
        ema.optimization_step = start
    step_module, optimizer = accelerator.prepare(step_module, optimizer)
    log = _Log(folder, start, accelerator.is_main_process)
    on_sample = on_sample if accelerator.is_main_process else None
    if 0 < start < stage.steps:
        say(f"resuming {stage.name} after step {start} of {stage.steps}")

    def save(step: int) -> None:
        if accelerator.is_main_process:
            optimizer_ = getattr(optimizer, "optimizer", optimizer)
            save_checkpoint(
                checkpoint, step, dict(parameters), optimizer_, ema and ema.shadow_params
            )

    def should_stop(step: int) -> bool:
        if on_save is None:
            return False
        stop = False
        if accelerator.is_main_process:
            with _ema_weights(ema, parameters):
                stop = on_save(step, parameters)
            model.train()
        return bool(broadcast_object_list([stop])[0])  # on all processes or none

    step, consistent = start, True  # consistent: not in the middle of a step
    model.train()
    try:
        with progress(stage.name, total=stage.steps, done=start, memory=True) as bar:
            done = (start % stage.save_every == 0 or start == stage.steps) and should_stop(start)
            while step < stage.steps and not done:
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(stage, step) * group["rate"]
                total = 0.0
                for part in range(stage.accumulate):
                    last = part == stage.accumulate - 1
                    with nullcontext() if last else accelerator.no_sync(step_module):
                        generator = step_generator(
                            seed, accelerator.process_index, step * stage.accumulate + part
                        )
                        with accelerator.autocast():
                            loss, logs = step_module(generator)
                        accelerator.backward(loss / stage.accumulate)
                        total += loss.item() / stage.accumulate
                if not math.isfinite(total):
                    raise Failure(
                        f"{stage.name}: the loss is {total} at step {step + 1}; "
                        "lower learning_rate in the recipe"
                    )
                norm = accelerator.clip_grad_norm_(list(parameters.values()), stage.clip)
                consistent = False
                optimizer.step()
                optimizer.zero_grad()
                if ema:
                    ema.step(parameters.values())
                step, consistent = step + 1, True
                values = {"loss": total, **logs, "gradient_norm": float(norm)}
                log.write(step, values, every=stage.log_every, last=step == stage.steps)
                bar.advance(1, loss=total)
                if step % stage.save_every == 0 or step == stage.steps:
                    save(step)
                    done = should_stop(step)
                if on_sample and stage.sample_every and step % stage.sample_every == 0:
                    with _ema_weights(ema, parameters):
                        on_sample(step)
                    model.train()
    except KeyboardInterrupt:
        if consistent:
            save(step)
            say(f"{stage.name}: saved after step {step}; run the same command to resume")
        raise
    finally:
        log.close()
    if ema:
        ema.copy_to(parameters.values())
    model.eval()
    return parameters


def _optimizer(parameters: dict[str, nn.Parameter], stage: Stage) -> Any:
    kind: Any = partial(torch.optim.AdamW, fused=True)
    if stage.optimizer == "adamw8bit":
        try:
            kind = importlib.import_module("bitsandbytes.optim").AdamW8bit
        except ImportError:
            raise UsageError(
                f"the optimizer of stage {stage.name} needs bitsandbytes: "
                "pip install 'animateanywhere[vram]'"
            ) from None
    rate, decay = stage.learning_rate, stage.weight_decay
    return kind(_groups(parameters, stage), rate, (0.9, 0.99), weight_decay=decay)


def _groups(parameters: dict[str, nn.Parameter], stage: Stage) -> list[dict[str, Any]]:
    """Parameter groups by their learning rate relative to the stage's."""
    groups: dict[float, list[nn.Parameter]] = {}
    used: set[str] = set()
    for name, parameter in parameters.items():
        pattern = next((p for p in stage.rates if re.search(p, name)), None)
        used |= {pattern} if pattern else set()
        groups.setdefault(stage.rates[pattern] if pattern else 1.0, []).append(parameter)
    for pattern in stage.rates.keys() - used:
        raise UsageError(f"the pattern {pattern} of `rates` matches no trainable parameter")
    return [{"params": some, "rate": rate} for rate, some in groups.items()]


def _ema(parameters: dict[str, nn.Parameter], stage: Stage) -> Any:
    if not stage.ema:
        return None
    return EMAModel(parameters.values(), decay=stage.ema, use_ema_warmup=True, power=0.75)


class _ema_weights:
    """A context with the EMA weights, which restores the training weights afterwards."""

    def __init__(self, ema: Any, parameters: dict[str, nn.Parameter]) -> None:
        self.ema, self.parameters = ema, parameters

    def __enter__(self) -> None:
        if self.ema:
            self.ema.store(self.parameters.values())
            self.ema.copy_to(self.parameters.values())

    def __exit__(self, *_: object) -> None:
        if self.ema:
            self.ema.restore(self.parameters.values())


class _Log:
    """log.jsonl and TensorBoard; on resume, entries after the checkpoint are removed."""

    def __init__(self, folder: Path, start: int, active: bool) -> None:
        self.active = active
        if not active:
            return
        path = folder / "log.jsonl"
        lines = path.read_text().splitlines(keepends=True) if start and path.is_file() else []
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= start]
        path.write_text("".join(kept))
        self.file = path.open("a")
        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=start)

    def write(self, step: int, values: Logs, every: int, last: bool) -> None:
        if not self.active or (step % every and not last):
            return
        self.file.write(json.dumps({"step": step, **values}) + "\n")
        self.file.flush()
        for key, value in values.items():
            self.board.add_scalar(key, value, step)

    def close(self) -> None:
        if self.active:
            self.file.close()
            self.board.close()
