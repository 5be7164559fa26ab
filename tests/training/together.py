"""What each of the processes of `test_processes` runs: trainings, one after the other."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor, nn

from animateanywhere.backbones.base import base_config, latent_shape, load_parts, noise_share
from animateanywhere.backbones.low_memory import recompute
from animateanywhere.core.errors import OtherEnded
from animateanywhere.methods.animate_anywhere import method
from animateanywhere.methods.animate_anywhere.batch import Batch
from animateanywhere.methods.animate_anywhere.settings import Loss
from animateanywhere.training import shards
from animateanywhere.training.loop import fit, pass_number
from animateanywhere.training.picture_encoder import PictureEncoder, learn_words
from animateanywhere.training.stage import Stage

STEPS, ROWS = 12, 4


class Net(nn.Module):
    """Three layers that FSDP gathers one by one, and one that it does not."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(7, 7) for _ in range(3))
        self.last = nn.Linear(7, 2)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + layer(x).tanh()
        out: Tensor = self.last(x)
        return out


def loss(net: nn.Module, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
    x = torch.randn(ROWS, 7, generator=generator)
    return (net(x) - x.square().sum(1, keepdim=True)).square().mean(), {}


def stage(**changes: Any) -> Stage:
    options = {"batch": ROWS, "learning_rate": 0.01, "ema": 0.9, "log_every": 1, "save_every": 5}
    return Stage("toy", "image", STEPS, **(options | changes))


def until(step: int) -> Callable[..., tuple[Tensor, dict[str, float]]]:
    """`loss`, in a process that dies after so many passes."""
    left = [step]

    def dies(net: nn.Module, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        left[0] -= 1
        if left[0] < 0:
            raise SystemExit
        return loss(net, generator)

    return dies


def video(base_folder: Path, out: Path, **changes: Any) -> dict[str, Tensor]:
    """Two steps of temporal layers, with recomputation; returns what they learned."""
    base = load_parts(base_folder, base_config(base_folder), PartialState().device)
    network = method.build(base, Loss(), video=True)
    recompute(network, base.family)

    def error(net: nn.Module, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        x, pose = (torch.randn(1, 4, *latent_shape(base), generator=generator) for _ in range(2))
        text = torch.randn(1, *base.family.text_shape(base), generator=generator)
        rows = Batch(x, pose, text)
        scheduler = base.scheduler_for(net)
        return method.loss(base.family, net, rows, generator, scheduler, Loss(), 1.0,
                           noise_share(base))  # fmt: skip

    row = Stage("video", "video", 2, train=("motion_modules",), log_every=1, **changes)
    fit(network, row, error, out, seed=1)
    # The adapter shares memory with the network that was trained
    return {n: p.detach().clone() for n, p in base.parts["motion_adapter"].named_parameters()}


def words(out: Path, **changes: Any) -> dict[str, Tensor]:
    """Two steps of a picture encoder, whose tokens captions do not teach; returns it."""
    torch.manual_seed(0)
    encoder = PictureEncoder(2, 8, width=8)

    def draw(generator: torch.Generator) -> tuple[list[str], Tensor]:
        return ["a", "b", "c"], torch.randn(3, 2, 4, 4, generator=generator)

    def read(texts: list[str]) -> Tensor:
        return torch.eye(8)[: len(texts)]

    row = Stage("tower", "tower", 2, batch=3, log_every=1, **changes)
    learn_words(encoder, 8, draw, read, row, out, seed=1)
    return {name: p.detach().clone() for name, p in encoder.named_parameters()}


def training(place: Path, seen: dict[str, Any]) -> Callable[..., None]:
    """A function that trains in a folder of `place`; `seen` gets weights, and the sample's."""

    def train(name: str, row: Stage, error: Any = loss) -> None:
        net = Net()

        def sample(step: int) -> None:  # in the first process alone
            with torch.no_grad():
                seen[f"{name} sample"] = net(torch.ones(1, 7)).clone()

        fit(net, row, error, place / name, seed=3, on_sample=sample)
        seen[name] = net.state_dict()

    return train


def use_fsdp() -> None:
    os.environ |= {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}


def two(place: Path, base: Path) -> None:
    """Trainings of two processes, in folders of `place`."""
    shards.SMALLEST = 50
    seen: dict[str, Any] = {}
    train = training(place, seen)
    train("ddp", stage(accumulate=2, sample_every=STEPS))
    train("uneven", stage(global_batch=3 * ROWS))
    train("idle", stage(global_batch=ROWS))
    train("ddp of one", stage(accumulate=2))
    seen["words"] = words(place / "words")
    for kind in ("", "fsdp "):
        if kind:
            use_fsdp()
        for end in ("one", "three"):
            with suppress(SystemExit):
                train(f"{kind}to {end}", stage(accumulate=2), until(7 * 2))
    train("fsdp", stage(accumulate=2, sample_every=STEPS))
    train("fsdp uneven", stage(global_batch=3 * ROWS))
    train("fsdp of one", stage(accumulate=2))
    seen["video"] = video(base, place / "video")
    if os.environ["RANK"] == "0":
        torch.save(seen, place / "seen.pt")


def three(place: Path) -> None:
    """Three processes go on where two stopped."""
    shards.SMALLEST = 50
    seen: dict[str, Any] = {}
    train = training(place, seen)
    train("to three", stage(accumulate=2))
    use_fsdp()
    train("fsdp to three", stage(accumulate=2))
    if os.environ["RANK"] == "0":
        torch.save(torch.load(place / "seen.pt") | seen, place / "seen.pt")


def loses_another(folder: Path, killed: int) -> None:
    """A training of two processes, one of which is killed in its eighth step."""

    def dies(net: nn.Module, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        number = pass_number(generator, 3)
        if number // 4 == 7 and int(os.environ["RANK"]) == killed:
            os.kill(os.getpid(), signal.SIGKILL)
        return loss(net, generator)

    with suppress(OtherEnded):
        fit(Net(), stage(accumulate=2), dies, folder, seed=3)
        raise AssertionError("the other one went on alone")
