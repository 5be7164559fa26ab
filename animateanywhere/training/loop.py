"""The training loop. The same command resumes: a step depends only on seed and number."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from rich.markup import escape
from torch import Tensor, nn

from animateanywhere.core.errors import Failure, OtherEnded, UsageError
from animateanywhere.core.messages import progress, say, warn
from animateanywhere.training.log import Log
from animateanywhere.training.processes import (
    OTHER_ENDED,
    Share,
    accelerator_of,
    device_of,
    lost_another,
    passes_of,
    total,
)
from animateanywhere.training.shards import whole
from animateanywhere.training.stage import Stage, learning_rate
from animateanywhere.training.state import UNWRITTEN, Parameters, State
from animateanywhere.training.stopping import Stop
from animateanywhere.training.throughput import Draw, Throughput

Logs = dict[str, float]
LossFn = Callable[[nn.Module, torch.Generator], tuple[Tensor, Logs]]


def step_generator(seed: int, number: int) -> torch.Generator:
    """The random generator of one pass: batch, noise, timesteps, dropout. number: of the pass, over
    all processes and steps of a run (`processes.Share`)."""
    return torch.Generator().manual_seed((seed * 1_000_003 + number) * 1_009)


def pass_number(generator: torch.Generator, seed: int) -> int:
    """The number of the pass that `step_generator` gave a generator for."""
    return generator.initial_seed() // 1_009 - seed * 1_000_003


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
    data: Draw[Any] | None = None,
    track: str | None = None,
) -> Parameters:
    """Train `model` by a stage of the recipe; returns the trained parameters (EMA if enabled).

    loss_fn: (model, generator) -> (scalar loss, logs); draws its own batch from the generator.
    folder: for `checkpoint.safetensors`, `log.jsonl` and TensorBoard events. The same call resumes
    from the checkpoint, with the losses of an uninterrupted run. on_sample: called with the step
    every `stage.sample_every` steps, on EMA weights, and again for the step from which a run
    resumes. on_save: called with the step and the trained parameters (EMA) before the first step
    and after each save, and again for the save from which a run resumes; returns whether to stop.
    It must not use torch's global generator. data: what `loss_fn` draws batches with, whose time is
    logged. track: see `log.Track`.

    All processes of `accelerate launch` call it and train one model. Raises Failure if the loss is
    not finite in `stage.max_skipped` steps in a row, UsageError if a pattern matches no parameter
    or the optimizer is not installed.
    """
    accelerator = accelerator_of(stage, model, track)
    network: Any = _Step(model, loss_fn).to(device_of(accelerator))
    with Stop() as stop:
        state = State(model, network, stage, accelerator, folder)
        if on_save is not None and state.shards is not None:
            raise UsageError("FSDP is for `aa base-train`: run this command in one process")
        network, update = state.prepared(network)
        share = _share(state, stage, accelerator)
        loop = _Loop(accelerator, network, update, state, share, stage, seed, stop, data)
        log = None
        if accelerator.is_main_process:
            log = Log(folder, state.step, stage, accelerator if track else None)
        model.train()
        try:
            with progress(stage.name, total=stage.steps, done=state.step, memory=True) as bar:
                stopping = loop.sample(on_sample)  # a run that was stopped may owe it
                end = stage.steps
                done = (state.step % stage.save_every == 0 or state.step == end) and loop.ended(
                    on_save
                )
                while state.step < end and not (done or stopping):
                    values, stopping = loop.advance()
                    if log is not None:
                        loop.log(log, values)
                    bar.advance(1, loss=values["loss"])
                    if loop.save_due():
                        state.save()
                        done = loop.ended(on_save)
                    stopping = loop.sample(on_sample) or stopping
                if stopping:
                    raise KeyboardInterrupt
                state.end()
        except KeyboardInterrupt:
            if state.intact and state.save():
                say(f"{stage.name}: saved after step {state.step}; run the same command to resume")
            stop.end()
        except Exception as error:
            # Whatever it was, such as a dead worker of the data, the steps are not lost
            if state.intact and state.shards is None and not state.position.in_a_row:
                with suppress(Exception):
                    state.save(together=False)
            if not loop.alone and lost_another(error):
                raise OtherEnded(f"{stage.name}: {OTHER_ENDED}") from error
            raise
        finally:
            if log is not None:
                log.close()
            if data is not None:
                data.close()
        return state.finish()


def _share(state: State, stage: Stage, accelerator: Accelerator) -> Share:
    """Which passes this process does. A run goes on with as many passes in each step as it began
    with, however many processes there are now."""
    count, step = accelerator.num_processes, state.step
    wanted = passes_of(stage, count)
    passes = state.position.passes or wanted
    state.position = replace(state.position, passes=passes)
    if 0 < step < stage.steps:
        say(f"resuming {stage.name} after step {step} of {stage.steps}")
        if passes != wanted:
            say(f"{stage.name}: {passes * stage.batch} rows a step, as this run began")
    if passes % count:
        warn(
            f"{stage.name}: {passes} batches a step for {count} processes: some of them wait for "
            "others in each step"
        )
    return Share(passes, accelerator.process_index, count, even=state.shards is not None)


@dataclass
class _Loop:
    """The parts of a step."""

    accelerator: Accelerator
    network: Any
    update: Any  # the optimizer
    state: State
    share: Share
    stage: Stage
    seed: int
    stop: Stop
    data: Draw[Any] | None

    def __post_init__(self) -> None:
        self.alone = self.accelerator.num_processes == 1
        rows, timed = self.share.passes * self.stage.batch, self.data is not None
        self.throughput = Throughput(rows, timed)

    def advance(self) -> tuple[Logs, bool]:
        """Do a step; returns its values to log, and whether a process was asked to stop."""
        state, count = self.state, self.share.count
        for group in self.update.param_groups:
            group["lr"] = learning_rate(self.stage, state.step) * group["rate"]
        start, drawn = time.perf_counter(), self._drawn()
        with self.stop.at_once() if self.alone else nullcontext():  # no weight has changed yet
            loss, logs = self._backward()
            clipped = self.accelerator.clip_grad_norm_(
                list(state.parameters.values()), self.stage.clip
            )
            norm = float(whole(clipped))
        drawn = self._drawn() - drawn
        loss, drawn, stopping = total(
            self.accelerator, [loss / count, drawn / count, bool(self.stop.requested)]
        )
        state.intact = False
        self._update(loss, norm)
        state.intact = True
        self.throughput.add(time.perf_counter() - start, drawn)
        self._check()
        return {"loss": loss, **logs, "gradient_norm": norm}, bool(stopping)

    def _backward(self) -> tuple[float, Logs]:
        """The gradients of this process's passes of a step; returns the sum of their losses, of
        which the mean over processes is the step's, and the logs of the last."""
        sum_, logs = 0.0, Logs()
        passes = self.share.of(self.state.step)
        for place, (number, divisor) in enumerate(passes, 1):
            generator = step_generator(self.seed, number)
            with self._synchronized(place == len(passes)):
                with self.accelerator.autocast():
                    loss, logs = self.network(generator)
                self.accelerator.backward(loss / divisor)
            sum_ += loss.item() / divisor
        return sum_, logs

    def _synchronized(self, last: bool) -> Any:
        """A backward pass that sums gradients over processes, if it is the last of a step."""
        if self.state.shards is not None:
            self.network.set_requires_gradient_sync(last)
            return nullcontext()
        return nullcontext() if last else self.accelerator.no_sync(self.network)

    def _update(self, loss: float, norm: float) -> None:
        """Take the step, or skip it if loss or gradient are not finite."""
        scaler, position = self.accelerator.scaler, self.state.position
        # In float16, a gradient that overflows only makes the scaler leave out the step and lower
        # its scale, until that is 1
        overflow = scaler is not None and not math.isfinite(norm) and scaler.get_scale() >= 1
        if math.isfinite(loss) and (math.isfinite(norm) or overflow):
            self.update.step()
            position = replace(position, in_a_row=0)
        else:
            if scaler is not None:
                scaler.update()
            position = replace(
                position, skipped=position.skipped + 1, in_a_row=position.in_a_row + 1
            )
        self.update.zero_grad()
        self.state.ema.update()
        self.state.position = replace(position, step=position.step + 1)

    def _check(self) -> None:
        position, name = self.state.position, self.stage.name
        if position.in_a_row >= self.stage.max_skipped:
            saved = self.state.saved
            kept = f"The checkpoint is of step {saved}, before that" if saved else (
                "Nothing was saved before that"
            )  # fmt: skip
            raise Failure(
                f"{name}: neither loss nor gradient was finite in {position.in_a_row} steps in a "
                f"row, up to step {position.step}; lower learning_rate in the recipe. {kept}"
            )
        if position.in_a_row == 1:
            warn(f"{name}: the loss or gradient of step {position.step} is not finite: skipped")

    def log(self, log: Log, values: Logs) -> None:
        """Write the values of a step to the log, if it is due or was skipped."""
        position = self.state.position
        if log.due(position.step) or position.in_a_row:
            counted = {"skipped": float(position.skipped)} if position.skipped else {}
            log.write(position.step, values | counted | self.throughput.read())

    def save_due(self) -> bool:
        """Whether to save: not what may be the cause of losses that are not finite."""
        position = self.state.position
        regular = position.step % self.stage.save_every == 0 and not position.in_a_row
        return regular or position.step == self.stage.steps

    def ended(self, on_save: Callable[[int, Parameters], bool] | None) -> bool:
        """What `on_save` returns in the first process."""
        answer = [False]
        if self.accelerator.is_main_process and on_save is not None:
            with self.state.averaged(), self.stop.at_once() if self.alone else nullcontext():
                answer = [on_save(self.state.step, self.state.parameters)]
        return bool(broadcast_object_list(answer)[0])  # on all processes or none

    def sample(self, on_sample: Callable[[int], None] | None) -> bool:
        """Call `on_sample` in the first process, if the step is one of a sample; returns whether
        any process was asked to stop meanwhile."""
        every, step = self.stage.sample_every, self.state.step
        if on_sample is None or not every or not step or step % every:
            return False
        try:
            with self.state.averaged():
                if self.accelerator.is_main_process:
                    with self.stop.at_once():
                        on_sample(step)
        except KeyboardInterrupt:
            pass
        except UNWRITTEN as error:
            warn(escape(f"{self.stage.name}: the sample of step {step}: {error}"))
        self.state.model.train()
        return bool(total(self.accelerator, [bool(self.stop.requested)])[0])

    def _drawn(self) -> float:
        return self.data.seconds if self.data is not None else 0.0
