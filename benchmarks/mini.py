"""How long the bundled base takes: puppets, generation, a training step of each stage.

    .venv/bin/python benchmarks/mini.py

Prints a Markdown table. `make demo` measures personalization as a whole (`report.json`, seconds).
"""

from __future__ import annotations

import resource
import time

import torch

from animateanywhere import puppets
from animateanywhere.backbones.base import encode_poses, latent_shape, load_base
from animateanywhere.methods.animate_anywhere import method
from animateanywhere.methods.animate_anywhere.batch import Batch
from animateanywhere.methods.animate_anywhere.generation import render
from animateanywhere.methods.animate_anywhere.settings import Loss, load_recipe
from animateanywhere.pose.skeleton import draw


def main() -> None:
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}\n")
    print("| what | seconds | rate | peak memory so far |")
    print("|---|---|---|---|")

    start = time.perf_counter()
    for seed in range(4):
        clip = puppets.render(puppets.sample_spec(seed), frames=16)
    row("4 puppet clips of 16 frames, 128x128", start, 64, "frames/s")

    base = load_base("mini")
    unet = method.build(base, Loss(guide=False), video=True)
    start = time.perf_counter()
    poses = encode_poses(base, draw(clip.keypoints, 128, 128))
    list(render(base, unet.eval(), clip.caption, poses, 0))
    row("generate 16 frames, 25 steps, guidance", start, 25, "steps/s")

    recipe = load_recipe("personalize")
    for stage in recipe.stages("appearance", "motion"):
        network = method.build(base, recipe.loss, video=stage.kind == "motion")
        network.requires_grad_(True)
        rows = stage.batch + stage.prior_batch
        shape = (rows, stage.frames, *latent_shape(base))
        text = torch.randn(
            rows, base.tokenizer.model_max_length, network.config.cross_attention_dim
        )
        mask = torch.rand(rows, stage.frames, 1, *shape[-2:])
        batch = Batch(
            torch.randn(shape), torch.randn(shape), text, mask, torch.zeros(text.shape[:2]),
            torch.arange(rows) >= stage.batch,
        )  # fmt: skip
        times = 5
        for turn in range(times + 1):
            if turn == 1:
                start = time.perf_counter()
            generator = torch.Generator().manual_seed(turn)
            value, _ = method.loss(
                base.family, network, batch, generator, base.scheduler, recipe.loss
            )
            value.backward()
        row(
            f"{times} {stage.name} steps, {rows} rows of {stage.frames} frames",
            start,
            times,
            "steps/s",
        )


def row(what: str, start: float, count: int, unit: str) -> None:
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(f"| {what} | {seconds:.1f} | {count / seconds:.2f} {unit} | {peak:.1f} GB |")


if __name__ == "__main__":
    main()
