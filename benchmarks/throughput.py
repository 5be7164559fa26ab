"""Processor time of a training step of the VAE and of the image and video UNets, by precision.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE .venv/bin/python benchmarks/throughput.py [RECIPE ...]

The variants of a step take turns, and the median of each is reported. Processor time of one thread
is measured, in seconds, so that other work on the machine matters little. Prints a Markdown table
for each recipe [default: mini].
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel

from animateanywhere.backbones.vae import VAES, latent_channels, vae_encode
from animateanywhere.methods.animate_anywhere.settings import load_recipe
from animateanywhere.training.bfloat16 import use_bfloat16_layers

ROWS, TURNS = 16, 5  # pictures of a step; steps that are measured, after one that is not
REFERENCE = "float32"
# Name: channels last, autocast to bfloat16, faster layers (`training/bfloat16.py`)
VARIANTS = {
    REFERENCE: (False, False, False),
    "float32, channels last": (True, False, False),
    "bfloat16 by autocast": (True, True, False),
    "bfloat16, faster norms and attention": (True, True, True),
}


def main() -> None:
    for name in sys.argv[1:] or ["mini"]:
        model = load_recipe(name).model
        names = ("VAE", "image UNet", "video UNet")
        print(f"\n{name}\n\n| step of {ROWS} pictures ", end="")
        print("".join(f"| {part}, s | pictures/s | ratio " for part in names) + "|")
        print("|---" * (1 + 3 * len(names)) + "|")
        costs = [
            measure({name: step(model, *options) for name, options in VARIANTS.items()})
            for step in (vae_step, unet_step, video_step)
        ]
        for name in VARIANTS:
            cells = []
            for cost in costs:
                ratio = cost[REFERENCE] / cost[name]
                cells.append(f"{cost[name]:.2f} | {ROWS / cost[name]:.1f} | {ratio:.2f}")
            print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def measure(steps: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Median processor seconds of each step, by name."""
    spent: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(TURNS + 1):
        for name, step in steps.items():
            start = time.process_time()
            step()
            if turn:
                spent[name].append(time.process_time() - start)
    return {name: median(values) for name, values in spent.items()}


def vae_step(model: Any, last: bool, half: bool, norms: bool) -> Callable[[], None]:
    """A training step of the VAE; options as in VARIANTS."""
    table = dict(model.vae)
    vae = VAES[table.pop("_class_name")].from_config(table)
    x = torch.rand(ROWS, 3, model.size, model.size) * 2 - 1

    def loss() -> torch.Tensor:
        return (vae.decode(vae_encode(vae, x)).sample.float() - x).abs().mean()

    return stepper(vae, loss, last, half, norms)


def unet_step(model: Any, last: bool, half: bool, norms: bool) -> Callable[[], None]:
    """A training step of the image UNet; options as in VARIANTS."""
    unet = image_unet(model)
    side = model.unet["sample_size"]
    x = torch.randn(ROWS, unet.config.in_channels, side, side)
    text = torch.randn(ROWS, 48, model.unet["cross_attention_dim"])

    def loss() -> torch.Tensor:
        return unet(x, torch.full((ROWS,), 500), text).sample.float().square().mean()

    return stepper(unet, loss, last, half, norms)


def video_step(model: Any, last: bool, half: bool, norms: bool) -> Callable[[], None]:
    """A training step of the temporal layers, on one clip of ROWS frames; options as in
    VARIANTS."""
    unet = UNetMotionModel.from_unet2d(image_unet(model), MotionAdapter(**model.motion_adapter))
    for name, parameter in unet.named_parameters():
        parameter.requires_grad_("motion_modules" in name)
    side = model.unet["sample_size"]
    x = torch.randn(1, unet.config.in_channels, ROWS, side, side)
    text = torch.randn(ROWS, 48, model.unet["cross_attention_dim"])

    def loss() -> torch.Tensor:
        return unet(x, torch.tensor([500]), text).sample.float().square().mean()

    # A video UNet has five axes, which channels last does not know
    return stepper(unet, loss, False, half, norms)


def image_unet(model: Any) -> Any:
    table = dict(model.vae)
    channels = latent_channels(VAES[table.pop("_class_name")].from_config(table))
    return UNet2DConditionModel.from_config(
        {"in_channels": 2 * channels, "out_channels": channels, **model.unet}
    )


def stepper(
    network: Any, loss: Callable[[], torch.Tensor], last: bool, half: bool, norms: bool
) -> Callable[[], None]:
    """A step of AdamW on a loss of the network; options as in VARIANTS."""
    network.train()
    if last:
        network.to(memory_format=torch.channels_last)
    if norms:
        use_bfloat16_layers(network)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-4, fused=True)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            value = loss()
        value.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


if __name__ == "__main__":
    main()
