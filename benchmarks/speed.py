"""Training steps and generation beside the peers' way, in one process on the same weights.

    .venv/bin/python benchmarks/speed.py [--latent 16] [--times 5] [--sd15] [--only WHAT]

A step of learning a person on images, and one on clips: ours (guided attention by an appended
channel, eq. 1), the same with the mask as a dense bias as others write it, and
DreamBooth's (plain attention, mean squared error on instance and class rows, as diffusers'
train_dreambooth.py takes it). Generation: ours against diffusers' AnimateDiffPipeline (of ours the
pose's channels are then as they begin, zero) and AnimateDiffControlNetPipeline, by DDIM with
guidance, and how alike the two videos are; then ours with its blocks compiled (`--compile`; the
minute that takes is not counted). Rows are taken in turn, so that what else
the machine does falls on all alike; seconds are medians, ratios are to the peer (DreamBooth,
diffusers). Networks are the bundled base's; --latent: pixels a side of the latents; --sd15: fresh
networks of Stable Diffusion 1.5's size, for a GPU. --only: images, clips or generation.
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from diffusers import (
    AnimateDiffControlNetPipeline,
    AnimateDiffPipeline,
    UNet2DConditionModel,
)
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from animateanywhere.backbones.base import (
    Base,
    encode_poses,
    encode_text,
    load_base,
    write_base_toml,
)
from animateanywhere.backbones.create import create_base
from animateanywhere.backbones.guided_attention import GuidedAttention, Region, pixel_region
from animateanywhere.backbones.low_memory import compile_blocks
from animateanywhere.backbones.sd_unet import widen_conv_in
from animateanywhere.backbones.vae import decode_latents
from animateanywhere.diffusion.losses import add_noise, level, target
from animateanywhere.diffusion.sampling import make_scheduler, sample
from animateanywhere.methods.animate_anywhere import method
from animateanywhere.methods.animate_anywhere.batch import Batch, Conditions
from animateanywhere.methods.animate_anywhere.settings import Loss, load_recipe
from animateanywhere.metrics import psnr

GAMMA, STEPS, GUIDANCE = 0.1, 6, 7.5
SD15 = {
    "sample_size": 64, "block_out_channels": (320, 640, 1280, 1280), "layers_per_block": 2,
    "cross_attention_dim": 768, "attention_head_dim": 8,
}  # fmt: skip
VAE: dict[str, Any] = {
    "_class_name": "AutoencoderKL", "latent_channels": 4, "block_out_channels": [32, 32, 64, 64],
    "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4,
    "norm_num_groups": 8, "layers_per_block": 1,
}  # fmt: skip


class DenseGuided(AttnProcessor2_0):
    """Mask guidance as a bias of queries times keys for each image, the plain way to write it."""

    def __call__(self, attn: Attention, hidden_states: Tensor, *rest: Any, **named: Any) -> Tensor:
        region: Region | None = named.pop("region", None)
        context = rest[0] if rest else named.get("encoder_hidden_states")
        if region is not None:
            own = pixel_region(region.mask, hidden_states.shape[1])  # (N, L)
            keys = own if context is None else region.tokens
            bias = -math.log(GAMMA) / 2 * own[:, :, None] * keys[:, None, :]  # (N, L, T)
            named["attention_mask"] = bias.repeat_interleave(attn.heads, dim=0)
        return super().__call__(attn, hidden_states, *rest, **named)


def medians(runs: dict[str, Callable[[], None]], times: int) -> dict[str, float]:
    """Median seconds of each, taken in turn; the first round is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(times + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(taken[1:]) for name, taken in seconds.items()}


def steps_of(base: Base, video: bool, side: int, times: int) -> dict[str, float]:
    """Seconds of one step of each kind."""
    recipe = load_recipe("personalize-sd15" if side >= 64 else "personalize")
    stage = recipe.stages("motion" if video else "appearance")[0]
    rows, frames = (2, 16) if video else (stage.batch + stage.prior_batch, 1)
    channels = int(base.denoiser.config["out_channels"])
    width = int(base.denoiser.config["cross_attention_dim"])
    device = base.denoiser.device
    shape = (rows, frames, channels, side, side)
    mask = torch.zeros(rows, frames, 1, side, side, device=device)
    mask[..., side // 4 :, side // 3 : -side // 3] = 1
    regular = torch.arange(rows, device=device) >= rows - (1 if video else stage.prior_batch)
    mask[regular] = 0.5
    text = torch.randn(rows, 48, width, device=device)
    tokens = torch.randint(-1, 2, (rows, 48), device=device).float()
    tokens[regular] = 0
    batch = Batch(
        torch.randn(shape, device=device), torch.randn(shape, device=device), text, mask, tokens,
        torch.where(regular, 1.0, 1e-6),
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    plain = method.build(base, Loss(guide=False), video).requires_grad_(False)

    def ours(processor: Any = None) -> Callable[[], None]:
        rule = Loss(gamma=GAMMA)
        unet = copy.deepcopy(method.build(base, rule, video))
        if processor is not None:
            for layer in unet.modules():
                if isinstance(getattr(layer, "processor", None), GuidedAttention):
                    layer.set_processor(processor)
        return stepping(
            unet,
            lambda: method.loss(base.family, unet, batch, generator, base.scheduler, rule)[0],
        )

    def dreambooth() -> Callable[[], None]:
        unet = copy.deepcopy(plain)

        def loss() -> Tensor:
            noise = torch.randn(shape, generator=generator).to(device)
            times = torch.randint(1000, (rows,), generator=generator).to(device)
            levels = level(base.scheduler, times)
            x = add_noise(batch.latents, noise, levels)
            made = base.family.predict(unet, x, times, batch.pose_latents, text)
            wanted = target(batch.latents, noise, levels, "v_prediction")
            instance = F.mse_loss(made[~regular], wanted[~regular])
            return instance + F.mse_loss(made[regular], wanted[regular])

        return stepping(unet, loss)

    def stepping(unet: Any, loss: Callable[[], Tensor]) -> Callable[[], None]:
        for name, parameter in unet.named_parameters():
            parameter.requires_grad_("attn2" in name and "motion" not in name if video else True)
        learn = [p for p in unet.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(learn, lr=1e-6)

        def step() -> None:
            loss().backward()
            torch.nn.utils.clip_grad_norm_(learn, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        return step

    kinds = {"DreamBooth": dreambooth(), "dense bias": ours(DenseGuided()), "ours": ours()}
    return medians(kinds, times)


def generation(
    folder: Path, side: int, sd15: bool, led: bool, device: str, times: int
) -> tuple[dict[str, float], list[float]]:
    """Seconds of each way to make 16 frames, and the PSNR of ours to the peer's video."""
    recipe = load_recipe("mini").model
    unet = SD15 if sd15 else recipe.unet | {"sample_size": side}
    adapter = recipe.motion_adapter
    if sd15:
        adapter = {"block_out_channels": SD15["block_out_channels"]}
        unet = {**unet, "down_block_types": UNet2DConditionModel().config["down_block_types"],
                "up_block_types": UNet2DConditionModel().config["up_block_types"]}  # fmt: skip
    text = recipe.text_encoder | {"hidden_size": unet["cross_attention_dim"]}
    own = replace(
        recipe,
        size=8 * side,
        vae=VAE,
        unet=unet,
        controlnet={"conditioning_embedding_out_channels": [16, 32, 96, 256]} if led else {},
        motion_adapter=adapter,
        text_encoder=text,
    )
    create_base(own, folder, ["a man on a beach"])
    write_base_toml(folder, own.base_toml() | {"name": "peer"})
    base = load_base(folder, device)
    drawn = np.random.default_rng(0).integers(0, 256, (16, 8 * side, 8 * side, 3), np.uint8)
    noise = torch.randn(1, 16, 4, side, side, generator=torch.Generator().manual_seed(0)).to(device)
    walked = make_scheduler(base.scheduler.config, "ddim")
    parts = (base.vae, base.text_encoder, base.tokenizer)
    if led:
        pipe: Any = AnimateDiffControlNetPipeline(
            *parts, base.denoiser, base.parts["motion_adapter"], base.parts["controlnet"], walked
        )
    else:
        pipe = AnimateDiffPipeline(
            *parts, narrow(base.denoiser), base.parts["motion_adapter"], walked
        )
    pipe = pipe.to(device)
    more = {"conditioning_frames": [Image.fromarray(frame) for frame in drawn]} if led else {}
    pipe.set_progress_bar_config(disable=True)
    video: dict[str, Any] = {}

    def theirs() -> None:
        video["theirs"] = pipe(
            "a man on a beach", num_frames=16, height=8 * side, width=8 * side, negative_prompt="",
            num_inference_steps=STEPS, guidance_scale=GUIDANCE, output_type="np",
            latents=noise.transpose(1, 2).clone(), decode_chunk_size=16,
            **more,
        ).frames[0]  # fmt: skip

    plain = method.build(base, Loss(guide=False), video=True).eval()
    compiled = copy.deepcopy(plain)
    compile_blocks(compiled, base.family)

    def ours(network: Any, name: str) -> None:
        with torch.no_grad():
            prompted, empty = encode_text(base, ["a man on a beach", ""]).split(1)
        conditions = Conditions(encode_poses(base, drawn)[None], prompted, empty)
        walk = method.denoiser(base.family, network, conditions, GUIDANCE)
        made = sample(walk, noise, make_scheduler(base.scheduler.config, "ddim"), STEPS)[0]
        video[name] = decode_latents(base.vae, made)

    runs = {"diffusers": theirs, "ours": partial(ours, plain, "ours"),
            "ours, compiled": partial(ours, compiled, "compiled")}  # fmt: skip
    seconds = medians(runs, times)
    wanted = (video["theirs"] * 255).round().astype(np.uint8)
    return seconds, [psnr(video[name], wanted) for name in ("ours", "compiled")]


def narrow(unet: Any) -> Any:
    """The same UNet without the pose's channels."""
    other = UNet2DConditionModel.from_config(unet.config, in_channels=4)
    state = dict(unet.state_dict())
    other.load_state_dict(state | {"conv_in.weight": state["conv_in.weight"][:, :4]})
    return other


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--latent", type=int, default=16)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--sd15", action="store_true")
    parser.add_argument("--only", choices=("images", "clips", "generation"))
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    base = load_base("mini", device)
    side = 64 if options.sd15 else options.latent
    if options.sd15:
        base.parts["unet"] = UNet2DConditionModel(**SD15).to(device)
        widen_conv_in(base.denoiser, 4)
        base.parts["motion_adapter"] = type(base.parts["motion_adapter"])(
            block_out_channels=SD15["block_out_channels"]
        ).to(device)
    print(
        f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}, latents {side}\n"
    )
    print("| | way | seconds | of the peer's |\n|---|---|---|---|")
    for part, video, what in (
        ("images", False, "step on images"), ("clips", True, "step on 16 frames"),
    ):  # fmt: skip
        if options.only not in (None, part):
            continue
        seconds = steps_of(base, video, side, options.times)
        for way, taken in seconds.items():
            print(
                f"| {what} | {way} | {taken:.2f} | {taken / seconds['DreamBooth']:.2f} |",
                flush=True,
            )
    if options.only not in (None, "generation"):
        return
    for led, name in ((False, "AnimateDiff"), (True, "AnimateDiff led by a ControlNet")):
        with TemporaryDirectory() as place:
            seconds, alike = generation(Path(place), side, options.sd15, led, device, options.times)
        for way, taken in seconds.items():
            print(f"| {name} | {way} | {taken:.2f} | {taken / seconds['diffusers']:.2f} |")
        print("| | to the peer's video, dB PSNR (inf: equal) |",
              ", ".join(f"{one:.0f}" for one in alike), "| |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
