"""Batches that other processes draw ahead."""

import multiprocessing
import os
import signal
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from animateanywhere.backbones import sd_unet
from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.core.messages import reporting_to, warn
from animateanywhere.core.reporter import Events
from animateanywhere.training import ahead
from animateanywhere.training.ahead import DrawAhead, on_device, processes_for
from animateanywhere.training.cuda_graph import Replay, replayed
from animateanywhere.training.loop import pass_number, step_generator
from animateanywhere.training.stage import Stage
from animateanywhere.training.throughput import Draw

SEED = 3


def batch(generator: torch.Generator) -> tuple[torch.Tensor, list[str], int]:
    """A batch, the words of it, and who drew it."""
    return torch.rand(2, 3, generator=generator), [f"pass {generator.initial_seed()}"], os.getpid()


def test_processes_draw_what_this_one_would() -> None:
    draw = Draw(DrawAhead(batch, SEED, 2))
    before = torch.random.get_rng_state()
    drawers = set()
    for number in [5, 6, 7, 2, 3]:  # a run that goes back, as one that is resumed
        here, there = step_generator(SEED, number), step_generator(SEED, number)
        values, words, _ = batch(here)
        found, told, process = draw(there)
        assert torch.equal(found, values) and told == words
        assert torch.equal(there.get_state(), here.get_state())  # the noise comes from it too
        drawers.add(process)
    assert len(drawers) > 2 and os.getpid() not in drawers
    assert torch.equal(torch.random.get_rng_state(), before)
    draw.close()
    assert not multiprocessing.active_children()


def test_an_error_and_warnings_of_a_process_are_those_of_the_pass() -> None:
    def draw(generator: torch.Generator) -> int:
        number = pass_number(generator, SEED)
        warn("row 4 is damaged")
        if number == 2:
            raise UsageError("all rows are damaged")
        return number

    events, ahead = Events(), DrawAhead(draw, SEED, 2)
    with reporting_to(events):
        assert [ahead(step_generator(SEED, n)) for n in range(2)] == [0, 1]
        with pytest.raises(UsageError, match="^all rows are damaged$"):
            ahead(step_generator(SEED, 2))
    assert [event["text"] for event in events.events] == ["row 4 is damaged"]  # once
    ahead.close()


def test_a_process_that_is_killed_ends_the_training_with_one_line() -> None:
    def draw(generator: torch.Generator) -> int:
        if pass_number(generator, SEED) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return 0

    ahead = DrawAhead(draw, SEED, 1)
    with pytest.raises(Failure, match="a process that draws batches ended"):
        for number in range(2):  # already at the first, which is drawn ahead of the second
            ahead(step_generator(SEED, number))
    ahead.close()


def test_only_beside_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)))
    assert processes_for("cpu") == 0 and processes_for("cuda:0") == 3
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert processes_for("cuda") == ahead.MOST


@dataclass(frozen=True)
class Row:
    """Parts of a batch."""

    latents: torch.Tensor
    words: list[str]
    inner: Any = None


def test_all_tensors_of_a_batch_are_moved() -> None:
    inner = Row(torch.ones(1), ["b"])
    moved = on_device(Row(torch.zeros(2), ["a"], inner), torch.device("meta"))
    assert moved.latents.is_meta and moved.inner.latents.is_meta
    assert moved.words == ["a"] and moved.inner.words == ["b"]


def test_passes_are_launched_one_by_one_on_a_processor() -> None:
    assert replayed(sd_unet.FAMILY, Stage("a", "image", 1)) is sd_unet.FAMILY


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_replayed_passes_have_the_gradients_of_launched_ones() -> None:
    device = torch.device("cuda")
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 4))
    network.to(device)

    def predict(net: Any, x: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = net(x * times[:, None])
        return found

    replay = Replay(predict)
    for seed in range(3):
        x = torch.rand(5, 4, generator=torch.Generator().manual_seed(seed)).to(device)
        times = torch.arange(5.0, device=device)
        found = []
        for each in (predict, replay):
            network.zero_grad()
            each(network, x, times).square().sum().backward()
            found.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
        for launched, repeated in zip(*found, strict=True):
            torch.testing.assert_close(launched, repeated)
