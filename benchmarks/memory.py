"""Memory of learning and generating at full size, estimated without a GPU.

    .venv/bin/python benchmarks/memory.py [--base FOLDER]

Steps run on fake tensors (`methods/animate_anywhere/cost/memory.py`), so neither weights nor the
memory are needed. Prints Markdown tables. For each form of the recipe that `--vram` chooses from:
the peak of both stages, of images and clips that the base generates, and of frames in the VAE. For
comparison: a naive form (mask guidance as a dense bias, no gradient checkpointing; for UNets), and
the recipe with diffusers' own gradient checkpointing, which stores the activations of temporal
layers. Then the memory of generation, and the operations of a complete run (generated data and
stages, without validation), with the time they take on GPUs that reach SHARE of their peak
performance, which is a guess. There are three bases: the paper's (concatenated pose latents), one
with a ControlNet, and Wan 2.1 VACE 1.3B. --base: another one, a folder in diffusers' layout with
base.toml, with its own recipe. Tests compare the estimates with real steps of a small base.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
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
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import (
    FlopCounterMode,
    register_flop_formula,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)
from transformers import CLIPTextConfig, CLIPVisionConfig, UMT5Config

from animateanywhere.backbones import sd_unet
from animateanywhere.backbones.base import base_config, find_base, load_parts
from animateanywhere.backbones.guided_attention import GuidedAttention, guide
from animateanywhere.backbones.spec import Model
from animateanywhere.backbones.vae import latent_count
from animateanywhere.commands import swap_memory
from animateanywhere.core.estimate import clock
from animateanywhere.core.messages import quietly
from animateanywhere.diffusion.sampling import windows
from animateanywhere.methods.animate_anywhere import background_augmentation
from animateanywhere.methods.animate_anywhere.cost import memory
from animateanywhere.methods.animate_anywhere.cost.vram import BESIDE, FORMS, GIB
from animateanywhere.methods.animate_anywhere.personal_stages import LARGE
from animateanywhere.methods.animate_anywhere.prior_preservation import clip_frames
from animateanywhere.methods.animate_anywhere.settings import Recipe, load_recipe
from animateanywhere.methods.anycharv import full_size
from animateanywhere.methods.anycharv.pose_guider import PoseGuider
from animateanywhere.methods.anycharv.settings import load_recipe as load_swap_recipe
from animateanywhere.methods.context_anyone.settings import load_recipe as load_cast_recipe
from animateanywhere.methods.context_anyone.transformer import CastTransformer

SIZE = {"size": 512, "frames": 16, "guidance_scale": 7.5, "steps": 25}
CARDS = (8, 12, 16, 24)
COLUMNS = ("appearance", "motion", "images", "clips", "frames")
# Dense half-precision TFLOP/s with accumulation in float32, from data sheets
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


def write_configs(folder: Path, control: bool) -> None:
    """Write the configs of Stable Diffusion 1.5's networks and AnimateDiff's temporal layers.

    control: with a ControlNet in place of concatenated pose latents.
    """
    with torch.device("meta"):
        parts: dict[str, Any] = {
            "unet": UNet2DConditionModel(
                sample_size=64, in_channels=4 if control else 8,
                cross_attention_dim=768, attention_head_dim=8,
            ),
            "motion_adapter": MotionAdapter(use_motion_mid_block=False),
            "vae": AutoencoderKL(
                down_block_types=("DownEncoderBlock2D",) * 4,
                up_block_types=("UpDecoderBlock2D",) * 4,
                block_out_channels=(128, 256, 512, 512), layers_per_block=2, sample_size=512,
            ),
        }  # fmt: skip
        if control:
            parts["controlnet"] = ControlNetModel(cross_attention_dim=768)
    write_parts(folder, parts)
    CLIPTextConfig(
        vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12,
        num_attention_heads=12,
    ).save_pretrained(folder / "text_encoder")  # fmt: skip
    DDPMScheduler().save_pretrained(folder / "scheduler")


def write_wan(folder: Path, model: Model) -> None:
    """Write the configs of Wan 2.1 VACE 1.3B's networks."""
    with torch.device("meta"):
        transformer = WanVACETransformer3DModel(
            num_attention_heads=12, ffn_dim=8960, num_layers=30, vace_layers=[*range(0, 30, 2)]
        )
        write_parts(folder, {"transformer": transformer, "vae": AutoencoderKLWan()})
    UMT5Config(
        vocab_size=256384, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64
    ).save_pretrained(folder / "text_encoder")
    UniPCMultistepScheduler(**model.scheduler).save_pretrained(folder / "scheduler")


def write_anycharv(folder: Path) -> None:
    """Write the configs of AnyCharV's networks, as `aa base-train anycharv` has them."""
    write_configs(folder, control=True)
    for name in ("controlnet", "text_encoder", "unet", "motion_adapter"):
        shutil.rmtree(folder / name)
    unet: dict[str, Any] = {
        "sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8
    }  # fmt: skip
    with torch.device("meta"):
        write_parts(folder, {
            "unet": UNet2DConditionModel(in_channels=9, **unet),
            "reference_unet": UNet2DConditionModel(in_channels=4, **unet),
            "motion_adapter": MotionAdapter(),
            "pose_guider": PoseGuider(conditioning_embedding_channels=320),
        })  # fmt: skip
    CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16,
        patch_size=14, projection_dim=768,
    ).save_pretrained(folder / "image_encoder")  # fmt: skip


def write_cast(folder: Path) -> None:
    """Write the configs of ContextAnyone's networks, as `aa base-train cast-wan` has them."""
    recipe = load_cast_recipe("cast-wan")
    with torch.device("meta"):
        own = {"pose_channels": 16, "image_dim": 1280}
        transformer = CastTransformer(**own, **recipe.transformer)
        write_parts(folder, {"transformer": transformer, "vae": AutoencoderKLWan()})
    UMT5Config(
        vocab_size=256384, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64
    ).save_pretrained(folder / "text_encoder")
    CLIPVisionConfig(
        hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=16,
        patch_size=14,
    ).save_pretrained(folder / "image_encoder")  # fmt: skip
    UniPCMultistepScheduler(**recipe.model.scheduler).save_pretrained(folder / "scheduler")


def swaps(folder: Path) -> None:
    """Memory of a swap by AnyCharV's networks, and the time of five seconds at 24 a second."""
    recipe = load_swap_recipe("anycharv")
    config = recipe.model.base_toml()
    base = load_parts(folder, config, "meta", full_size.FAMILY)
    with FakeTensorMode(allow_non_fake_inputs=True):
        tflop = counted(partial(swap_memory.window, base, "fp16"))
    for name, peak in swap_memory.peaks(folder, config, "fp16").items():
        print(f"{name}: {peak.weights + peak.work:.1f} GB", flush=True)
    runs = recipe.model.steps * len(windows(120, config["frames"]))
    times = [f"{card} {clock(runs * tflop / peak / SHARE)}" for card, peak in PEAKS.items()]
    print(f"120 frames, {runs} passes of {tflop:.0f} TFLOP: {', '.join(times)}")


def write_parts(folder: Path, parts: dict[str, Any]) -> None:
    for name, part in parts.items():
        (folder / name).mkdir()
        config = {**part.config, "_class_name": type(part).__name__}
        config.pop("_use_default_values", None)  # as diffusers writes it
        (folder / name / "config.json").write_text(json.dumps(config))


def table(folder: Path, config: dict[str, Any], recipe_name: str) -> None:
    recipe = load_recipe(recipe_name)

    def row(name: str, recipe: Recipe) -> None:
        line(name, memory.learning_peaks(folder, config, recipe))

    print("| | appearance, GB | motion, GB | images, GB | clips, GB | frames, GB | card |")
    print("|---" * 7 + "|")
    if config["size"] > LARGE:
        if (folder / "unet").is_dir():
            with (
                patch(
                    "animateanywhere.methods.animate_anywhere.personal_stages.recompute",
                    lambda unet, family: None,
                ),
                patch.object(sd_unet, "FAMILY", replace(sd_unet.FAMILY, guide=dense)),
            ):
                row("dense bias, no checkpointing", recipe)
        with patch(
            "animateanywhere.methods.animate_anywhere.personal_stages.recompute", diffusers_own
        ):
            row("diffusers' gradient checkpointing", recipe)
    for name, form in FORMS.items():
        row(name, form(recipe))
    for name, precision in (("generation", "no"), ("generation in half precision", "fp16")):
        found = memory.generating_peaks(folder, config, precision)
        line(name, {"clips": found["window"], "frames": found["frames"]})


def hours(folder: Path, config: dict[str, Any], recipe_name: str) -> None:
    """Print the operations of a complete run with the unchanged recipe, and their time on GPUs."""
    recipe, steps = load_recipe(recipe_name), int(config["steps"])

    def passes(frames: int) -> float:  # TFLOP of a denoising step of such a clip, with guidance
        base = load_parts(folder, config, "meta")
        latents = latent_count(frames, base.packed)
        with FakeTensorMode(allow_non_fake_inputs=True):
            return counted(lambda: memory.denoising(base, "fp16", True, 1, latents))

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
    """TFLOP of a function."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 1e12


def line(name: str, found: dict[str, memory.Peak]) -> None:
    totals = {part: peak.weights + peak.work for part, peak in found.items()}
    cells = (f"{totals[part]:.1f}" if part in totals else "" for part in COLUMNS)
    print(f"| {name} | {' | '.join(cells)} | {card(max(totals.values()))} |", flush=True)


def card(peak: float) -> str:
    """The smallest GPU with enough memory, including driver and allocator."""
    return next((f"{size} GB" for size in CARDS if peak + BESIDE <= size * GIB), "larger")


def dense(unet: Any, gamma: float) -> None:
    """Enable mask-guided attention by a dense bias, see benchmarks/speed.py."""
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
    parser.add_argument("--base", type=Path, help="another base, with its own recipe")
    options = parser.parse_args()
    with quietly():
        if options.base is not None:
            folder = find_base(options.base)
            config = {"steps": 25} | base_config(folder)
            rule = str(config.get("personalize", "personalize"))
            table(folder, config, rule)
            hours(folder, config, rule)
            return
        for title, control in (("sd15: concatenated pose", False), ("sd15-openpose", True)):
            print(f"\n{title}\n")
            with TemporaryDirectory() as place:
                write_configs(Path(place), control)
                table(Path(place), SIZE, "personalize-sd15")
                hours(Path(place), SIZE, "personalize-sd15")
        print("\nwan-vace-1.3b\n")
        recipe = load_recipe("wan-vace-1.3b")
        with TemporaryDirectory() as place:
            write_wan(Path(place), recipe.model)
            table(Path(place), recipe.model.base_toml(), recipe.personalize)
            hours(Path(place), recipe.model.base_toml(), recipe.personalize)
        print("\nanycharv\n")
        with TemporaryDirectory() as place:
            write_anycharv(Path(place))
            swaps(Path(place))


if __name__ == "__main__":
    main()
