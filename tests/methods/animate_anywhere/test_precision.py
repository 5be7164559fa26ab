"""Training in half precision learns what training in full precision learns.

accelerate has float16 on GPUs alone: on a CPU a loop of its own, with the same scaler, stands for
`fit`.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from animateanywhere import puppets
from animateanywhere.backbones.base import Base, encode_text, latent_shape, load_base
from animateanywhere.backbones.low_memory import convert, to_device
from animateanywhere.backbones.vae import decode_latents, encode_frames
from animateanywhere.core.device import best_device
from animateanywhere.datasets.subject import Subject
from animateanywhere.methods.animate_anywhere import method
from animateanywhere.methods.animate_anywhere.batch import Batch
from animateanywhere.methods.animate_anywhere.personal_stages import fit_vae, networks
from animateanywhere.methods.animate_anywhere.prior_preservation import PriorData
from animateanywhere.methods.animate_anywhere.settings import Loss, Recipe, Stage, load_recipe
from animateanywhere.metrics import psnr
from animateanywhere.training.loop import LossFn, fit
from animateanywhere.training.optimizer import make_optimizer
from animateanywhere.training.state import select

STEPS = 12


def train(
    folder: Path, out: Path, recipe: str, kind: Any, rank: int, precision: Any
) -> tuple[list[float], dict[str, Tensor]]:
    """Losses of a few steps on one batch and one noise, inside of the autocast that `personalize`
    holds open, and what trained. out: for `fit`."""
    base, whole = load_base(folder), load_recipe(recipe)
    stage = whole.stages(kind)[0]
    stage = replace(
        stage, train=tuple(p for p in stage.train if "token" not in p), steps=STEPS,
        precision=precision, lora_rank=rank, warmup=0,
        learning_rate=1e-2 if rank else 3e-3, save_every=STEPS, log_every=1, accumulate=1,
        timestep_shift=1.0,
    )  # fmt: skip
    settings = replace(whole, stage=(stage,), loss=Loss(guide=False))
    batch = one_batch(base, kind, settings)

    def loss(parts: Any, _: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        same = torch.Generator().manual_seed(3)
        network = parts[base.family.denoiser]
        scheduler = base.scheduler_for(network)
        return method.loss(base.family, network, batch, same, scheduler, settings.loss)

    device = best_device()
    with to_device(base, device, settings.precision, settings.only_adapters):
        parts, stage = networks(base, stage, settings, 0)
        if (device, precision) == ("cpu", "fp16"):
            return scaled_steps(parts, stage, loss)
        trained = fit(parts, stage, loss, out, 0)
    log = (out / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in log], {n: p.detach() for n, p in trained.items()}


def scaled_steps(parts: Any, stage: Stage, loss: LossFn) -> tuple[list[float], dict[str, Tensor]]:
    """The steps of `fit` in float16, with the scaler of a processor."""
    parameters, losses = select(parts.train(), stage.train), []
    optimizer, scaler = make_optimizer(parameters, stage), torch.amp.GradScaler("cpu")
    for _ in range(stage.steps):
        value, _ = loss(parts, torch.Generator())
        scaler.scale(value).backward()
        scaler.unscale_(optimizer)  # fails for gradients in float16
        torch.nn.utils.clip_grad_norm_(parameters.values(), stage.clip)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        losses.append(float(value.detach()))
    return losses, {name: p.detach() for name, p in parameters.items()}


def one_batch(base: Base, kind: str, settings: Recipe) -> Batch:
    frames = 3 if kind == "motion" else 1
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(2, frames, *latent_shape(base), generator=generator)
    poses = torch.rand(2, frames, *base.family.pose_shape(base), generator=generator)
    if "controlnet" in base.parts:  # it reads pictures
        poses = (255 * poses).byte()
    return Batch(latents, poses, encode_text(base, ["a man", "a woman"]).detach())


CASES = [
    ("tiny_base", "personalize-tiny", "appearance", 0),
    ("tiny_base", "personalize-tiny", "appearance", 4),
    ("tiny_base", "personalize-tiny", "motion", 0),
    ("tiny_base", "personalize-tiny", "motion", 4),
    ("tiny_controlnet", "personalize-tiny", "appearance", 0),
    ("tiny_controlnet", "personalize-tiny", "motion", 4),
    ("tiny_wan", "personalize-wan", "appearance", 0),
    ("tiny_wan", "personalize-wan", "appearance", 4),
    ("tiny_wan", "personalize-wan", "motion", 0),
    ("tiny_wan", "personalize-wan", "motion", 4),
]
# On a CPU it is slow
IN_FP16 = [CASES[n] for n in (1, 4, 6, 7)] if best_device() == "cpu" else CASES
IN_FLOAT32: dict[Any, list[float]] = {}  # losses, by case


@pytest.mark.parametrize(
    ("name", "recipe", "kind", "rank", "precision"),
    [(*case, "bf16") for case in CASES] + [(*case, "fp16") for case in IN_FP16],
)
def test_the_loss_falls_as_in_full_precision(
    name: str, recipe: str, kind: str, rank: int, precision: str, tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    folder = request.getfixturevalue(name)
    case = name, kind, rank
    if case not in IN_FLOAT32:
        IN_FLOAT32[case], _ = train(folder, tmp_path / "whole", recipe, kind, rank, "no")
    whole = IN_FLOAT32[case]
    half, trained = train(folder, tmp_path / "half", recipe, kind, rank, precision)
    assert half[0] == pytest.approx(whole[0], rel=0.02)
    assert whole[-1] < 0.97 * whole[0]
    assert half[0] - half[-1] == pytest.approx(whole[0] - whole[-1], rel=0.15)
    assert {tensor.dtype for tensor in trained.values()} == {torch.float32}


def test_a_vae_is_fitted_in_half_precision(tiny_base: Path, tmp_path: Path) -> None:
    """What it says it reaches is what the saved decoder reaches afterwards."""
    base, recipe = load_base(tiny_base), load_recipe("personalize")
    frames = puppets.render(puppets.sample_spec(3), frames=4, size=64).frames
    clip = Subject(
        Path(), frames, np.ones((4, 64, 64), np.float32), np.zeros((4, 18, 3), np.float32),
        [""] * 4, 8.0, "man", None,
    )  # fmt: skip
    extras = replace(recipe.extras, fit_vae_steps=40, fit_vae_below=99.0)
    settings = replace(recipe, extras=extras)
    latents = encode_frames(base.vae, frames)
    before = psnr(decode_latents(base.vae, latents), frames)
    with to_device(base, "cpu", "bf16", half_weights=False):
        prior = PriorData(latents[:2, None] * 0.9, latents[:2, None], ["a", "b"])
        found = fit_vae(base, clip, prior, settings, tmp_path, 0)
        within = psnr(decode_latents(base.vae, latents), frames)
    fresh = load_base(tiny_base).vae
    fresh.load_state_dict({n.removeprefix("vae."): p for n, p in found.items()}, strict=False)
    after = psnr(decode_latents(fresh, latents), frames)
    assert after > before + 1
    assert after == pytest.approx(within, abs=0.2)


def test_networks_that_share_weights_move_together(tiny_base: Path) -> None:
    """There and back, as where frames pass the VAE on a GPU; here by another type."""
    base = load_base(tiny_base)
    image = base.family.build(base, False)
    video = base.family.build(base, True)
    parts = [image, base.parts["motion_adapter"], video]

    def storages() -> int:
        return len({tensor.data_ptr() for part in parts for tensor in part.parameters()})

    before, state = storages(), {n: p.clone() for n, p in video.named_parameters()}
    convert(parts, lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)
    assert video.conv_in.weight.dtype == torch.float64
    convert(parts, lambda tensor: tensor.float() if tensor.is_floating_point() else tensor)
    assert storages() == before < sum(len(list(part.parameters())) for part in parts)
    assert all(torch.equal(p, state[n]) for n, p in video.named_parameters())
    with torch.no_grad():
        video.conv_in.weight.add_(1)
    assert torch.equal(image.conv_in.weight, video.conv_in.weight)
