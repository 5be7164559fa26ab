"""Training in bfloat16 on a processor gives the results of float32, except for rounding."""

import copy
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderDC
from diffusers.models.attention_processor import Attention
from diffusers.models.normalization import RMSNorm
from torch import nn

from animateanywhere.backbones.base import load_base
from animateanywhere.backbones.vae import latent_channels
from animateanywhere.diffusion import attention
from animateanywhere.methods.animate_anywhere.settings import load_recipe
from animateanywhere.training.bfloat16 import use_bfloat16_layers
from animateanywhere.training.loop import fit
from animateanywhere.training.stage import Stage


def test_outputs_and_gradients_of_the_norm_are_those_of_diffusers() -> None:
    generator = torch.Generator().manual_seed(0)
    norm = RMSNorm(48, 1e-5, True, bias=True)
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.copy_(torch.randn(48, generator=generator))
    fast = use_bfloat16_layers(copy.deepcopy(norm))
    x, grad = (torch.randn(4, 9, 9, 48, generator=generator) for _ in range(2))
    found = []
    for one in (norm, fast):
        y = one(x.requires_grad_())
        found.append([y, *torch.autograd.grad(y, [x, *one.parameters()], grad.to(y))])
    for expected, ours in zip(*found, strict=True):
        assert float((ours - expected).detach().norm() / expected.detach().norm()) < 0.01


def vae() -> nn.Module:
    """An untrained VAE with RMS norms."""
    torch.manual_seed(0)
    table = dict(load_recipe("tiny").model.vae)
    del table["_class_name"]
    return AutoencoderDC.from_config(table)


def test_gradients_of_a_vae_are_those_of_float32() -> None:
    plain = vae()
    fast = use_bfloat16_layers(copy.deepcopy(plain))
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for model in (plain, fast):
        with torch.autocast("cpu", torch.bfloat16, enabled=model is fast):
            y = model.decode(model.encode(x).latent).sample.float()
        (y - x).square().mean().backward()
    for (name, a), b in zip(plain.named_parameters(), fast.parameters(), strict=True):
        assert a.grad is not None and b.grad is not None and b.grad.dtype == torch.float32
        off = (a.grad - b.grad).norm() / a.grad.norm()
        assert off < 0.1, f"{name}: {off:.3f}"
    assert plain.state_dict().keys() == fast.state_dict().keys()


def test_without_gradients_nothing_changes() -> None:
    plain = vae()
    fast = use_bfloat16_layers(copy.deepcopy(plain))
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(fast.encode(x).latent, plain.encode(x).latent, rtol=0, atol=0)


@pytest.mark.parametrize("most", [1024, 4])  # in training by products of matrices, or fused
def test_attention_of_a_video_unet_is_that_of_float32(
    most: int, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "FEW_TOKENS", most)
    base = load_base(str(tiny_base))
    plain = base.family.build(base, True)
    fast = use_bfloat16_layers(copy.deepcopy(plain))
    x, text = torch.randn(1, 2 * latent_channels(base.vae), 4, 8, 8), torch.randn(4, 9, 32)
    for half in (False, True):
        for model in (plain, fast):
            model.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=half and model is fast):
                y = model(x, torch.tensor([500]), text).sample.float()
            y.square().mean().backward()
        for (name, a), b in zip(plain.named_parameters(), fast.parameters(), strict=True):
            assert a.grad is not None and b.grad is not None
            off = (a.grad - b.grad).norm() / a.grad.norm().clamp_min(1e-6)
            assert off < (0.2 if half else 1e-3), f"{name}: {off:.4f}"
    with torch.no_grad():
        expected, ours = (model(x, torch.tensor([500]), text).sample for model in (plain, fast))
    torch.testing.assert_close(ours, expected, rtol=0, atol=0)


def test_large_pictures_in_a_vae_attend_without_a_matrix_of_all_pairs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attention, "FEW_TOKENS", 8)
    monkeypatch.setattr(attention, "PRODUCTS", None)
    layer = Attention(8, processor=attention.TrainingAttention())
    x = torch.randn(1, 8, 3, 3, dtype=torch.bfloat16)  # 9 positions of 8 channels
    assert layer.to(torch.bfloat16)(x).shape == x.shape
    with pytest.raises(TypeError):
        layer(x[..., :2])


@pytest.mark.parametrize("native", [True, False])
def test_auto_trains_in_bfloat16_only_on_processors_that_compute_it(
    native: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AA_DEVICE", "cpu")
    for name in ("amx_tile", "avx512_bf16"):
        monkeypatch.setattr(torch.cpu, f"_is_{name}_supported", lambda: native)
    seen = []

    def loss(model: nn.Module, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        x = torch.rand(2, 3, 32, 32, generator=generator) * 2 - 1
        latents = model.encode(x).latent  # type: ignore[operator]
        seen.append(latents.dtype)
        return latents.float().square().mean(), {}

    stage = Stage("toy", "vae", 2, precision="auto")
    weights = fit(vae(), stage, loss, tmp_path, seed=0)
    assert seen == [torch.bfloat16 if native else torch.float32] * 2
    assert all(weight.dtype == torch.float32 for weight in weights.values())
    assert Stage("toy", "vae", 2).precision == "no"
