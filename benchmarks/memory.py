"""Memory of learning and generating at full size, estimated without a GPU.

    .venv/bin/python benchmarks/memory.py [--base FOLDER]

Steps run on tensors without contents (`methods/animate_anywhere/cost/memory.py`), so no weights are
needed, nor the memory. Prints Markdown tables. For each form of the recipe that `--vram` chooses
from, the peak of both stages, and of frames on their way through the VAE; beside them the naive
form (mask guidance as a dense bias, all activations kept; of UNets), and the recipe as diffusers'
own gradient checkpointing has it, which keeps the temporal layers' activations. Then
generation. And the operations of a whole run (what is made for it, and the stages; not the
scoring), with what cards take for them if they reach SHARE of their peak, which is a guess. Three
bases: the paper's (pose beside the latent), one led by a ControlNet, and Wan 2.1 VACE 1.3B. --base:
another one, a folder in diffusers' layout with base.toml, by its own recipe. tests/test_vram.py
holds what is estimated against what real steps of a small base take.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLWan,
    ControlNetModel,
    DDPMScheduler,
    MotionAdapter,
    UNet2DConditionModel,
    UniPCMultistepScheduler,
    WanVACETransformer3DModel,
)
from speed import DenseGuided
from torch.utils.flop_counter import (
    FlopCounterMode,
    register_flop_formula,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)
from transformers import CLIPTextConfig, UMT5Config

from animateanywhere.backbones import sd_unet
from animateanywhere.backbones.base import base_config, find_base, load_parts
from animateanywhere.backbones.guided_attention import GuidedAttention, guide
from animateanywhere.backbones.spec import Model
from animateanywhere.core.estimate import clock
from animateanywhere.core.messages import quietly
from animateanywhere.methods.animate_anywhere import background_augmentation
from animateanywhere.methods.animate_anywhere.cost import memory
from animateanywhere.methods.animate_anywhere.cost.vram import BESIDE, FORMS, GIB
from animateanywhere.methods.animate_anywhere.personal_stages import LARGE
from animateanywhere.methods.animate_anywhere.prior_preservation import clip_frames
from animateanywhere.methods.animate_anywhere.settings import load_recipe

SIZE = {"size": 512, "frames": 16, "guidance_scale": 7.5, "steps": 25}
CARDS = (8, 12, 16, 24)
# Dense half-precision TFLOP a second, summed in float32, as their maker tells
PEAKS = {"RTX 3060": 26, "RTX 4090": 165, "A100": 312, "H100": 989}
SHARE = 0.35
aten = torch.ops.aten
for call, formula in (
    (aten._scaled_dot_product_flash_attention_for_cpu, sdpa_flop_count),
    (aten._scaled_dot_product_flash_attention_for_cpu_backward, sdpa_backward_flop_count),
):
    register_flop_formula(call)(
        lambda *shapes, formula=formula, **_: formula(*shapes[: formula.__code__.co_argcount])
    )


def write_configs(folder: Path, led: bool) -> None:
    """The configs of Stable Diffusion 1.5's networks and AnimateDiff's temporal layers."""
    with torch.device("meta"):
        parts: dict[str, Any] = {
            "unet": UNet2DConditionModel(
                sample_size=64, in_channels=4 if led else 8,
                cross_attention_dim=768, attention_head_dim=8,
            ),
            "motion_adapter": MotionAdapter(use_motion_mid_block=False),
            "vae": AutoencoderKL(
                down_block_types=("DownEncoderBlock2D",) * 4,
                up_block_types=("UpDecoderBlock2D",) * 4,
                block_out_channels=(128, 256, 512, 512), layers_per_block=2, sample_size=512,
            ),
        }  # fmt: skip
        if led:
            parts["controlnet"] = ControlNetModel(cross_attention_dim=768)
    write_parts(folder, parts)
    CLIPTextConfig(
        vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12,
        num_attention_heads=12,
    ).save_pretrained(folder / "text_encoder")  # fmt: skip
    DDPMScheduler().save_pretrained(folder / "scheduler")


def write_wan(folder: Path, model: Model) -> None:
    """The configs of Wan 2.1 VACE 1.3B's networks."""
    with torch.device("meta"):
        transformer = WanVACETransformer3DModel(
            num_attention_heads=12, ffn_dim=8960, num_layers=30, vace_layers=[*range(0, 30, 2)]
        )
        write_parts(folder, {"transformer": transformer, "vae": AutoencoderKLWan()})
    UMT5Config(
        vocab_size=256384, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64
    ).save_pretrained(folder / "text_encoder")
    UniPCMultistepScheduler(**model.scheduler).save_pretrained(folder / "scheduler")


def write_parts(folder: Path, parts: dict[str, Any]) -> None:
    for name, part in parts.items():
        (folder / name).mkdir()
        config = {**part.config, "_class_name": type(part).__name__}
        (folder / name / "config.json").write_text(json.dumps(config))


def table(folder: Path, config: dict[str, Any], recipe_name: str) -> None:
    recipe = load_recipe(recipe_name)
    print("| | appearance, GB | motion, GB | frames, GB | card |\n|---|---|---|---|---|")
    if config["size"] > LARGE:
        if (folder / "unet").is_dir():
            with (
                patch(
                    "animateanywhere.methods.animate_anywhere.personal_stages.recompute",
                    lambda unet, family: None,
                ),
                patch.object(sd_unet, "FAMILY", replace(sd_unet.FAMILY, guide=dense)),
            ):
                line("dense bias, nothing computed again", memory.learning(folder, config, recipe))
        with patch(
            "animateanywhere.methods.animate_anywhere.personal_stages.recompute", diffusers_own
        ):
            line("diffusers' gradient checkpointing", memory.learning(folder, config, recipe))
    for name, form in FORMS.items():
        line(name, memory.learning(folder, config, form(recipe)))
    for name, precision in (("generation", "no"), ("generation in half precision", "fp16")):
        peak = memory.generating(folder, config, precision)
        print(f"| {name} | {peak:.1f} | | | {card(peak)} |", flush=True)


def hours(folder: Path, config: dict[str, Any], recipe_name: str) -> None:
    """Print operations of a whole run by the recipe as it is, and what cards take for them."""
    recipe, steps = load_recipe(recipe_name), int(config["steps"])

    def passes(frames: int) -> float:  # of a clip of so many, with guidance
        short = config | {"frames": frames}
        return counted(lambda: memory.generating(folder, short, "fp16", pixels=False))

    own = recipe.personal
    length = clip_frames(load_parts(folder, config, "meta"), recipe)
    picture, clip, window = passes(1), passes(length), passes(int(config["frames"]))
    learning = own.prior_steps * (own.prior_images * picture + own.prior_clips * clip)
    extras = recipe.extras
    if extras.background_augmentation:
        learning += background_augmentation.STEPS * (
            extras.background_images * picture + extras.background_clips * clip
        )
    for stage in recipe.stages("appearance", "motion"):
        base = load_parts(folder, config, "meta")
        step = counted(lambda base=base, stage=stage: memory.step(base, stage, recipe))
        learning += stage.steps * stage.accumulate * step
    print("\n| | TFLOP |", *(f"{name} |" for name in PEAKS))
    print("|---" * (2 + len(PEAKS)) + "|")
    for name, work in (
        ("learning a person", learning),
        (f"{config['frames']} frames, {steps} steps", steps * window),
    ):
        cells = (f"{clock(work / peak / SHARE)} |" for peak in PEAKS.values())
        print(f"| {name} | {work:,.0f} |", *cells, flush=True)


def counted(work: Callable[[], object]) -> float:
    """TFLOP of what runs inside."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 1e12


def line(name: str, found: dict[str, float]) -> None:
    values = " | ".join(f"{peak:.1f}" for peak in found.values())
    print(f"| {name} | {values} | {card(max(found.values()))} |", flush=True)


def card(peak: float) -> str:
    """The smallest card that holds it, beside driver and allocator."""
    return next((f"{size} GB" for size in CARDS if peak + BESIDE <= size * GIB), "larger")


def dense(unet: Any, gamma: float) -> None:
    """Mask guidance the plain way, see benchmarks/speed.py."""
    guide(unet, gamma)
    for layer in unet.modules():
        if isinstance(getattr(layer, "processor", None), GuidedAttention):
            layer.set_processor(DenseGuided())


def diffusers_own(unet: Any, family: Any) -> None:
    unet.enable_gradient_checkpointing()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--base", type=Path, help="Another base, by its own recipe.")
    options = parser.parse_args()
    with quietly():
        if options.base is not None:
            folder = find_base(options.base)
            config = {"steps": 25} | base_config(folder)
            rule = str(config.get("personalize", "personalize"))
            table(folder, config, rule)
            hours(folder, config, rule)
            return
        for title, led in (("sd15: pose beside the latent", False), ("sd15-openpose", True)):
            print(f"\n{title}\n")
            with TemporaryDirectory() as place:
                write_configs(Path(place), led)
                table(Path(place), SIZE, "personalize-sd15")
                hours(Path(place), SIZE, "personalize-sd15")
        print("\nwan-vace-1.3b\n")
        recipe = load_recipe("wan-vace-1.3b")
        with TemporaryDirectory() as place:
            write_wan(Path(place), recipe.model)
            table(Path(place), recipe.model.base_toml(), recipe.personalize)
            hours(Path(place), recipe.model.base_toml(), recipe.personalize)


if __name__ == "__main__":
    main()
