"""The training loop. The same command resumes: a step depends only on seed, rank and number."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import AutocastKwargs, broadcast_object_list
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from animateanywhere.core.device import best_device, resolve_precision
from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.core.files import write_aside
from animateanywhere.core.messages import progress, say
from animateanywhere.training.bfloat16 import use_bfloat16_norms
from animateanywhere.training.checkpoint import load_checkpoint, save_checkpoint
from animateanywhere.training.ema import Ema
from animateanywhere.training.interrupts import without_interrupts
from animateanywhere.training.optimizer import learning_rate, make_optimizer
from animateanywhere.training.stage import Stage

Logs = dict[str, float]
LossFn = Callable[[nn.Module, torch.Generator], tuple[Tensor, Logs]]
Parameters = dict[str, nn.Parameter]


def select(model: nn.Module, patterns: tuple[str, ...]) -> Parameters:
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


def pass_number(generator: torch.Generator, seed: int) -> int:
    """The number of the pass that `step_generator` gave a generator for, counted over all processes
    and steps of a run."""
    number, rank = divmod(generator.initial_seed(), 1_009)
    return (number - seed * 1_000_003) * int(PartialState().num_processes) + rank


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

    loss_fn: (model, generator) -> (scalar loss, logs); draws its own batch from the generator.
    folder: for `checkpoint.safetensors`, `log.jsonl` and TensorBoard events. The same call resumes
    from the checkpoint, with the losses of an uninterrupted run. on_sample: called with the step
    every `stage.sample_every` steps, on EMA weights, and again for the step from which a run
    resumes. on_save: called with the step and the trained parameters (EMA) before the first step
    and after each save, and again for the save from which a run resumes; returns whether to stop.
    It must not use torch's global generator.

    Raises Failure if the loss is not finite, UsageError if a pattern matches no parameter or the
    optimizer is not installed.
    """
    accelerator = _accelerator(stage, model)
    main, parameters = accelerator.is_main_process, select(model, stage.train)
    network: Any = _Step(model, loss_fn).to(accelerator.device)
    optimizer, ema = make_optimizer(parameters, stage), Ema(parameters, stage.ema)
    checkpoint = folder / "checkpoint.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    scaler = accelerator.scaler
    step = load_checkpoint(checkpoint, parameters, optimizer, ema.shadow, scaler)
    ema.resume(step)
    if 0 < step < stage.steps:
        say(f"resuming {stage.name} after step {step} of {stage.steps}")

    def save() -> None:
        if main:
            save_checkpoint(checkpoint, step, parameters, optimizer, ema.shadow, scaler)

    def should_stop() -> bool:
        stop = [False]
        if main and on_save is not None:
            with ema.applied():
                stop = [on_save(step, parameters)]
            model.train()
        return bool(broadcast_object_list(stop)[0])  # on all processes or none

    def sample() -> None:
        if main and on_sample and stage.sample_every and step and step % stage.sample_every == 0:
            with ema.applied():
                on_sample(step)
            model.train()

    network, update = accelerator.prepare(network, optimizer)
    log = _Log(folder, step, main)
    model.train()
    try:
        with progress(stage.name, total=stage.steps, done=step, memory=True) as bar:
            sample()  # the run may have stopped between the save and this
            done = (step % stage.save_every == 0 or step == stage.steps) and should_stop()
            while step < stage.steps and not done:
                for group in update.param_groups:
                    group["lr"] = learning_rate(stage, step) * group["rate"]
                loss, logs = _backward(accelerator, network, stage, seed, step)
                norm = accelerator.clip_grad_norm_(list(parameters.values()), stage.clip)
                with without_interrupts():  # what is saved is of whole steps, with their log
                    update.step()
                    update.zero_grad()
                    ema.update()
                    step += 1
                    log.write(step, {"loss": loss, **logs, "gradient_norm": float(norm)}, stage)
                bar.advance(1, loss=loss)
                if step % stage.save_every == 0 or step == stage.steps:
                    save()
                    done = should_stop()
                sample()
    except KeyboardInterrupt:
        save()
        say(f"{stage.name}: saved after step {step}; run the same command to resume")
        raise
    finally:
        log.close()
    ema.apply()
    model.eval()
    return parameters


def _accelerator(stage: Stage, model: nn.Module) -> Accelerator:
    """The device and precision of a stage. For bf16 on a processor, the model's norms are replaced
    by faster ones."""
    AcceleratorState._reset_state()  # each stage has its own precision
    # Cast weights are not cached: within an autocast around this loop they would go stale
    kept = AutocastKwargs(cache_enabled=False)
    on_cpu, precision = best_device() == "cpu", resolve_precision(stage.precision)
    if on_cpu and precision == "bf16":
        use_bfloat16_norms(model)
    return Accelerator(mixed_precision=precision, cpu=on_cpu, kwargs_handlers=[kept])


def _backward(
    accelerator: Accelerator, network: Any, stage: Stage, seed: int, step: int
) -> tuple[float, Logs]:
    """The gradients of a step's batches; returns their mean loss, and the logs of the last."""
    total, logs = 0.0, Logs()
    for part in range(stage.accumulate):
        number = step * stage.accumulate + part
        generator = step_generator(seed, accelerator.process_index, number)
        last = part == stage.accumulate - 1
        with nullcontext() if last else accelerator.no_sync(network):
            with accelerator.autocast():
                loss, logs = network(generator)
            accelerator.backward(loss / stage.accumulate)
            total += loss.item() / stage.accumulate
    if not math.isfinite(total):
        raise Failure(
            f"{stage.name}: the loss is {total} at step {step + 1}; "
            "lower learning_rate in the recipe"
        )
    return total, logs


class _Log:
    """log.jsonl and TensorBoard; on resume, entries after the checkpoint are removed."""

    def __init__(self, folder: Path, start: int, active: bool) -> None:
        self.active = active
        if not active:
            return
        path = folder / "log.jsonl"
        lines = (
            path.read_text(errors="replace").splitlines(True) if start and path.is_file() else []
        )
        kept = [line for line in lines if line.endswith("\n") and _step_of(line) <= start]
        with write_aside(path) as aside:
            aside.write_text("".join(kept))
        self.file = path.open("a")
        # Within the queue that TensorBoard's writer shares with its thread, an interrupt would
        # leave a lock held, and closing the writer would wait for two minutes or forever
        with without_interrupts():
            self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=start)

    def write(self, step: int, values: Logs, stage: Stage) -> None:
        if not self.active or (step % stage.log_every and step < stage.steps):
            return
        self.file.write(json.dumps({"step": step, **values}) + "\n")
        self.file.flush()
        with without_interrupts():
            for key, value in values.items():
                self.board.add_scalar(key, value, step)

    def close(self) -> None:
        if self.active:
            self.file.close()
            with without_interrupts():
                self.board.close()


def _step_of(line: str) -> float:
    """The step of a line of log.jsonl; infinite for a damaged line."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError):
        return math.inf
