"""Base training on 1, 8 and 64 GPUs, estimated: time of a step, bandwidth, memory and cost.

    .venv/bin/python benchmarks/scale.py

No GPU is needed or used. Operations and memory of a pass are counted on fake tensors of Stable
Diffusion 1.5's size (as in benchmarks/memory.py), bytes from the number of parameters that train.
Times assume that GPUs reach SHARE of their peak performance in data sheets, links LINK of theirs,
and that no communication is hidden behind computation: guesses, as are the prices. For the two
papers that `aa` does not train yet there is only arithmetic on their published configurations.
Prints Markdown tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from memory import SIZE, counted, write_configs
from torch._subclasses.fake_tensor import FakeTensorMode

from animateanywhere.backbones.base import latent_shape, load_parts
from animateanywhere.backbones.low_memory import recompute
from animateanywhere.core.estimate import clock
from animateanywhere.core.messages import quietly
from animateanywhere.methods.animate_anywhere import method
from animateanywhere.methods.animate_anywhere.batch import Batch
from animateanywhere.methods.animate_anywhere.cost import fake
from animateanywhere.methods.animate_anywhere.settings import Loss, Stage, load_recipe
from animateanywhere.training.processes import passes_of
from animateanywhere.training.state import select

SHARE = 0.35  # of a GPU's peak
LINK = 0.7  # of a link's peak
NODE = 8  # GPUs in a machine


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
    with quietly():
        model = torch.nn.ModuleDict({base.family.denoiser: network})
        learns = list(select(network if stage.kind == "video" else model, stage.train).values())
    numbers = sum(weight.numel() for weight in learns)
    states = numbers * (4 + 8 + 4 * bool(stage.ema))  # gradients, AdamW's moments, EMA
    network.train()
    shape = (stage.batch, stage.frames, *latent_shape(base))
    row = 2 * 2 * torch.Size(shape[1:]).numel() / 1e6  # float16, latents and pose latents
    peaks: list[float] = []

    def work() -> None:
        with FakeTensorMode(allow_non_fake_inputs=True):
            fake.fill(network)
            for weight in network.parameters():  # gradients are there, of passes before
                if weight.requires_grad:
                    weight.grad = torch.zeros_like(weight)
            with fake.counted("bf16", network) as count:
                text = torch.zeros(stage.batch, *base.family.text_shape(base))
                rows = Batch(torch.zeros(shape), torch.zeros(shape), text)
                loss, _ = method.loss(
                    base.family, network, rows, torch.Generator(), base.scheduler, Loss()
                )
                loss.backward()
            peaks.append(count.peak / 1e9)

    work()  # memory first: to count operations, some are split into parts
    tflop = counted(work)
    weights = sum(p.numel() for p in network.parameters()) * 4 / 1e9
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
    recipe = load_recipe(recipe_name)
    works = {stage.name: counted_pass(folder, stage) for stage in recipe.stage}
    print(f"\n{recipe_name}: a pass, and its memory\n")
    print("| stage | rows | TFLOP | memory, DDP | memory, FSDP2 on 8 | gradients, GB |")
    print("|---" * 6 + "|")
    for stage in recipe.stage:
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
        for stage in recipe.stage:
            for count in gpus:
                print(row(card, stage, works[stage.name], count))


def row(card: Card, stage: Stage, work: Work, gpus: int) -> str:
    passes = passes_of(stage, gpus)
    each = -(-passes // gpus)
    compute, ddp = step_seconds(card, gpus, each * work.tflop, 2 * work.gradients)
    # Weights are gathered for each pass forward and backward, gradients scattered once
    _, fsdp = step_seconds(card, gpus, 0, 2 * each * work.weights + work.gradients)
    seconds = compute + ddp
    rows = passes * stage.batch / seconds
    hours = seconds * stage.steps / 3600
    cells = [f"{stage.name}, {card.name}", gpus, each, f"{compute:.2f}", f"{ddp:.2f}",
             f"{fsdp:.2f}", f"{rows:.0f}", f"{rows * work.row:.0f}", f"{hours:.1f}",
             f"{hours * gpus * card.price:,.0f}"]  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


@dataclass(frozen=True)
class Published:
    """A run as a paper describes it. tflop and row, in MB: of a row, estimated as said in
    docs/scale.md. gradients: GB."""

    name: str
    steps: int
    rows: int
    tflop: float
    gradients: float
    row: float


def papers(image: Work, video: Work, stages: tuple[Stage, ...]) -> list[Published]:
    """The runs of AnyCharV at 512 x 512, its networks as two and one of SD 1.5's; and of
    ContextAnyone as designed here, on Wan 2.1 1.3B, from the count in its design."""
    first, second = stages
    whole, temporal = image.gradients, video.gradients
    # Wan 2.1 1.3B: GB of its parameters; MB of a latent frame of 480 x 832 pixels and its pose
    wan, latent = 4 * 1.42, 2 * 2 * 16 * 60 * 104 / 1e6
    still = image.tflop / first.batch
    frame = video.tflop / second.batch / second.frames  # recomputed
    return [
        Published("AnyCharV A, compose", 50_000, 64, 2 * still, 2 * whole, 2 * image.row),
        Published("AnyCharV B, self-boost", 3_000, 64, 5 / 3 * still, whole, 2 * image.row),
        Published("AnyCharV C, motion", 10_000, 8, 24 * frame, temporal, 1.5 * video.row),
        Published("AnyCharV D, self-boost", 10_000, 8, 32 * frame, whole + temporal,
                  1.5 * video.row),
        Published("ContextAnyone, 49 frames", 9_000, 32, 317, wan, 13 * latent),
        Published("ContextAnyone, 81 frames", 9_000, 32, 634, wan, 21 * latent),
    ]  # fmt: skip


def paper_table(runs: list[Published]) -> None:
    print("\n| run | steps x rows | TFLOP a row | GPUs | rows each | step, s | of it DDP, s | "
          "data, MB/s | time | $ |")  # fmt: skip
    print("|---" * 10 + "|")
    for run in runs:
        for gpus in (1, 8, 64):
            print(paper_row(CARDS[1], run, gpus))


def paper_row(card: Card, run: Published, gpus: int) -> str:
    """With fewer rows in a step than GPUs, the others have nothing to do."""
    used = min(gpus, run.rows)
    each = -(-run.rows // used)
    compute, ddp = step_seconds(card, used, each * run.tflop, 2 * run.gradients)
    seconds = compute + ddp
    hours = seconds * run.steps / 3600
    cells = [run.name, f"{run.steps:,} x {run.rows}", f"{run.tflop:.2f}",
             f"{gpus}" + f" ({used} used)" * (used < gpus), each, f"{seconds:.2f}", f"{ddp:.2f}",
             f"{run.rows * run.row / seconds:.0f}", clock(3600 * hours),
             f"{hours * gpus * card.price:,.0f}"]  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    with quietly(), TemporaryDirectory() as place:
        write_configs(Path(place), control=False)
        table("sd15", (1, 8), Path(place))
        table("sd15-64", (64,), Path(place))
        stages = load_recipe("sd15").stage
        works = [counted_pass(Path(place), stage) for stage in stages]
        paper_table(papers(works[0], works[1], stages))


if __name__ == "__main__":
    main()
