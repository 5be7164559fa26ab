"""Base training on 1, 8 and 64 GPUs, estimated: time of a step, bandwidth, memory and cost.

    .venv/bin/python benchmarks/scale.py

No GPU is needed or used. Operations and memory of a pass are counted on fake tensors of Stable
Diffusion 1.5's size (as in benchmarks/memory.py), bytes from the number of parameters that train.
Times assume that GPUs reach SHARE of their peak performance in data sheets, links LINK of theirs,
and that no communication is hidden behind computation: guesses, as are the prices. AnyCharV's four
runs are those of recipes/sd15-swap.toml, ContextAnyone's those of recipes/cast-wan.toml. Prints
Markdown tables.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from memory import SIZE, counted, write_anycharv, write_cast, write_configs
from torch._subclasses.fake_tensor import FakeTensorMode

from animateanywhere.backbones.base import latent_shape, load_parts
from animateanywhere.backbones.low_memory import recompute
from animateanywhere.backbones.vae import latent_count
from animateanywhere.backbones.wan_vace import TYPICAL_LENGTH
from animateanywhere.core.messages import quietly
from animateanywhere.methods.animate_anywhere import method
from animateanywhere.methods.animate_anywhere.batch import Batch
from animateanywhere.methods.animate_anywhere.cost import fake
from animateanywhere.methods.animate_anywhere.settings import Loss, Stage, load_recipe
from animateanywhere.methods.anycharv import full_size
from animateanywhere.methods.anycharv import method as swap
from animateanywhere.methods.anycharv.settings import Stage as SwapStage
from animateanywhere.methods.anycharv.settings import is_recipe as is_swap
from animateanywhere.methods.anycharv.settings import load_recipe as load_swap_recipe
from animateanywhere.methods.context_anyone import full_size as cast_size
from animateanywhere.methods.context_anyone import method as cast
from animateanywhere.methods.context_anyone.settings import Stage as CastStage
from animateanywhere.methods.context_anyone.settings import is_recipe as is_cast
from animateanywhere.methods.context_anyone.settings import load_recipe as load_cast_recipe
from animateanywhere.training.processes import passes_of
from animateanywhere.training.state import select

SHARE = 0.35  # of a GPU's peak
LINK = 0.7  # of a link's peak
NODE = 8  # GPUs in a machine
CLIP_TOKENS = 257  # of a picture: (224 / 14)² patches, and one for the whole
AnyStage = Stage | SwapStage | CastStage


@dataclass(frozen=True)
class Card:
    """A GPU by its data sheet: dense bfloat16, one direction of NVLink, and its share of a
    machine's network (8 x 200 Gb/s for A100, 8 x 400 Gb/s for H100). price: a guess."""

    name: str
    tflops: float
    link: float  # GB/s
    network: float  # GB/s
    price: float  # $ an hour


CARDS = (Card("A100 80 GB", 312, 300, 25, 2.0), Card("H100 80 GB", 989, 450, 50, 3.0))


@dataclass(frozen=True)
class Work:
    """A pass of a stage: TFLOP, GB at most, and bytes."""

    tflop: float
    peak: float  # GB of weights, states and activations
    peak_sharded: float  # the same on 8 GPUs with FSDP2
    gradients: float  # GB
    weights: float  # GB, of all that is gathered by FSDP2
    row: float  # MB of a row's latents and pose latents as they are read


def counted_pass(folder: Path, stage: Stage) -> Work:
    """A pass of a stage of base training at Stable Diffusion 1.5's size."""
    base = load_parts(folder, SIZE, "meta")
    network = method.build(base, Loss(), video=stage.kind == "video")
    if stage.recompute:
        recompute(network, base.family)
    model = torch.nn.ModuleDict({base.family.denoiser: network})
    shape = (stage.batch, stage.frames, *latent_shape(base))

    def work() -> torch.Tensor:
        text = torch.zeros(stage.batch, *base.family.text_shape(base))
        rows = Batch(torch.zeros(shape), torch.zeros(shape), text)
        loss, _ = method.loss(base.family, network, rows, torch.Generator(), base.scheduler, Loss())
        return loss

    row = 2 * 2 * torch.Size(shape[1:]).numel() / 1e6  # float16, latents and pose latents
    return _counted_work(stage, network if stage.kind == "video" else model, [network], work, row)


def counted_swap(folder: Path, stage: SwapStage) -> Work:
    """A pass of a run of AnyCharV at Stable Diffusion 1.5's size."""
    base = load_parts(folder, load_swap_recipe("sd15-swap").model.base_toml(), "meta",
                      full_size.FAMILY)  # fmt: skip
    network, reader = swap.build(base, stage.frames > 1), swap.reader_of(base)
    guider = base.parts["pose_guider"]
    if stage.recompute:
        recompute(network, base.family)
    model = torch.nn.ModuleDict({"unet": network, "reference_unet": reader, "pose_guider": guider})
    rows, frames, shape = stage.batch, stage.frames, latent_shape(base)
    width, side = base.denoiser.config.cross_attention_dim, int(base.config["size"])

    def work() -> torch.Tensor:
        drawn = torch.zeros(rows * frames, side, side, 3)
        features = full_size.pose_features(guider, drawn).unflatten(0, (rows, frames))
        latents, region = torch.zeros(rows, frames, *shape), torch.ones(rows, frames, 1, *shape[1:])
        pictures, token = torch.zeros(rows, 1, *shape), torch.zeros(rows, 1, 1, width)
        character = swap.read(reader, pictures, None, token, token[:1, 0, :0])
        scene = swap.Scene(latents, region, features)
        loss, _ = swap.loss(
            network, latents, scene, region, token[:1, 0], character, base.scheduler,
            torch.Generator(),
        )  # fmt: skip
        return loss

    # float16: target and scene, mask, reference
    row = 2 * (frames * (2 * shape[0] + 1) + shape[0]) * torch.Size(shape[1:]).numel() / 1e6
    return _counted_work(stage, model, [network, reader, guider], work, row)


def counted_cast(folder: Path, stage: CastStage) -> Work:
    """A pass of a stage of ContextAnyone at Wan 2.1 1.3B's size, with one reference."""
    recipe = load_cast_recipe("cast-wan")
    base = load_parts(folder, recipe.model.base_toml(), "meta", cast_size.FAMILY)
    network, shape, rows = base.denoiser, latent_shape(base), stage.batch
    if stage.recompute:
        recompute(network, base.family)
    latents = latent_count(stage.frames, base.packed)
    length, words = base.family.text_shape(base)

    def work() -> torch.Tensor:
        clip, pictures = torch.zeros(rows, latents, *shape), torch.zeros(rows, 1, *shape)
        tokens = torch.zeros(rows, CLIP_TOKENS, network.config.image_dim)
        # The loss without its logs, which fake tensors have no values for
        flow, again = cast.predict(
            network, clip, torch.zeros(rows), torch.zeros(rows, length, words),
            cast.Reference(pictures, tokens), clip,
        )  # fmt: skip
        assert again is not None
        return flow.float().square().mean() + again.float().square().mean()

    # float16: clip, pose and reference, states of a prompt of usual length, image tokens
    row = 2 * (2 * latents + 1) * torch.Size(shape).numel()
    row += 2 * TYPICAL_LENGTH * words + 2 * CLIP_TOKENS * network.config.image_dim
    model = torch.nn.ModuleDict({"transformer": network})
    return _counted_work(stage, model, [network], work, row / 1e6)


def _counted_work(
    stage: AnyStage, model: torch.nn.Module, networks: list[Any],
    loss: Callable[[], torch.Tensor], row: float,
) -> Work:  # fmt: skip
    """A pass whose loss is made inside of fake tensors. model: to select what trains from."""
    with quietly():
        learns = list(select(model, stage.train).values())
    numbers = sum(weight.numel() for weight in learns)
    states = numbers * (4 + 8 + 4 * bool(stage.ema))  # gradients, AdamW's moments, EMA
    peaks: list[float] = []

    def work() -> None:
        with FakeTensorMode(allow_non_fake_inputs=True):
            fake.fill(*networks)
            for network in networks:
                network.train()
                for weight in network.parameters():  # gradients are there, of passes before
                    if weight.requires_grad:
                        weight.grad = torch.zeros_like(weight)
            with fake.counted("bf16", *networks) as count:
                loss().backward()
            peaks.append(count.peak / 1e9)

    work()  # memory first: to count operations, some are split into parts
    tflop = counted(work)
    parameters = {id(p): p for network in networks for p in network.parameters()}.values()
    weights = sum(p.numel() for p in parameters) * 4 / 1e9
    held = states / 1e9
    return Work(
        tflop, peaks[0] + held + weights, peaks[0] + (held + weights) / NODE,
        4 * numbers / 1e9, weights, row,
    )  # fmt: skip


def step_seconds(card: Card, gpus: int, tflop: float, moved: float) -> tuple[float, float]:
    """Seconds of computing and of communicating. tflop: of a GPU. moved: GB that it sends."""
    link = card.link if gpus <= NODE else card.network
    return tflop / card.tflops / SHARE, moved * (gpus - 1) / gpus / (link * LINK)


def table(recipe_name: str, gpus: tuple[int, ...], folder: Path) -> None:
    stages: tuple[AnyStage, ...]
    if is_cast(recipe_name):
        stages = load_cast_recipe(recipe_name).stage
        works = {stage.name: counted_cast(folder, stage) for stage in stages}
    elif is_swap(recipe_name):
        stages = load_swap_recipe(recipe_name).stage
        works = {stage.name: counted_swap(folder, stage) for stage in stages}
    else:
        stages = load_recipe(recipe_name).stage
        works = {stage.name: counted_pass(folder, stage) for stage in stages}
    print(f"\n{recipe_name}: a pass, and its memory\n")
    print("| stage | rows | TFLOP | memory, DDP | memory, FSDP2 on 8 | gradients, GB |")
    print("|---" * 6 + "|")
    for stage in stages:
        work, kind = works[stage.name], " recomputed" if stage.recompute else ""
        print(
            f"| {stage.name}{kind} | {stage.batch} x {stage.frames} | {work.tflop:.1f} | "
            f"{work.peak:.1f} GB | {work.peak_sharded:.1f} GB | {work.gradients:.2f} |"
        )
    print(f"\n{recipe_name}: a step, and the stage\n")
    print("| stage | GPUs | passes each | compute, s | DDP, s | FSDP2, s | rows/s | data, MB/s | "
          "hours | $ |")  # fmt: skip
    print("|---" * 10 + "|")
    for card in CARDS:
        for stage in stages:
            for count in gpus:
                print(row(card, stage, works[stage.name], count))


def row(card: Card, stage: AnyStage, work: Work, gpus: int) -> str:
    """With fewer passes in a step than GPUs, the others have nothing to do."""
    passes = passes_of(stage, gpus)
    each, used = -(-passes // gpus), min(gpus, passes)
    compute, ddp = step_seconds(card, used, each * work.tflop, 2 * work.gradients)
    # Weights are gathered for each pass forward and backward, gradients scattered once
    _, fsdp = step_seconds(card, used, 0, 2 * each * work.weights + work.gradients)
    seconds = compute + ddp
    rows = passes * stage.batch / seconds
    hours = seconds * stage.steps / 3600
    working = f"{gpus}" + f" ({used} used)" * (used < gpus)
    cells = [f"{stage.name}, {card.name}", working, each, f"{compute:.2f}", f"{ddp:.2f}",
             f"{fsdp:.2f}", f"{rows:.{int(rows < 10)}f}", f"{rows * work.row:.0f}", f"{hours:.1f}",
             f"{hours * gpus * card.price:,.0f}"]  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    with quietly(), TemporaryDirectory() as place:
        write_configs(Path(place), control=False)
        table("sd15", (1, 8), Path(place))
        table("sd15-64", (64,), Path(place))
    with quietly(), TemporaryDirectory() as place:
        write_anycharv(Path(place))
        table("sd15-swap", (1, 8), Path(place))
    with quietly(), TemporaryDirectory() as place:
        write_cast(Path(place))
        table("cast-wan", (1, 8, 64), Path(place))


if __name__ == "__main__":
    main()
