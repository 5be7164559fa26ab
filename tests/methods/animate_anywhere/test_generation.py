"""What generation takes from the base: its noise, its guidance; on a network that is one line."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from animateanywhere.backbones.base import Base, latent_shape, load_base
from animateanywhere.diffusion.losses import video_noise
from animateanywhere.methods.animate_anywhere import generation
from animateanywhere.methods.animate_anywhere.generation import (
    Sampling,
    render_images,
    render_latents,
)


@pytest.fixture
def base(tiny_base: Path) -> Base:
    """The prediction is x, times 3 with a prompt and times 2 without."""
    base = load_base(tiny_base)

    def predict(network: object, x: Tensor, t: Tensor, poses: Tensor, text: Tensor) -> Tensor:
        return x * text[:, 0, 0, None, None, None, None]

    def encode_text(base: Base, prompts: list[str]) -> Tensor:
        return torch.tensor([3.0 if prompt else 2.0 for prompt in prompts])[:, None, None]

    family = replace(base.family, predict=predict, encode_text=encode_text)
    return replace(base, family=family, config={**base.config, "guidance_scale": 5.0})


def first_prediction(denoiser: Any, x: Tensor, *_: object) -> Tensor:
    """In place of a walk."""
    return denoiser(x, torch.tensor(999))


@pytest.mark.parametrize("share", [0.0, 0.7])
def test_frames_begin_from_noise_of_the_bases_share(
    base: Base, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    monkeypatch.setattr(generation, "sample", lambda denoiser, x, *_: x)
    base.config["noise_share"] = share
    poses = torch.zeros(3, *latent_shape(base))
    found = render_latents(base, torch.nn.Identity(), "a man", poses, seed=5)
    shape = (1, 3, *latent_shape(base))
    assert torch.equal(found, video_noise(shape, torch.Generator().manual_seed(5), share)[0])


@pytest.mark.parametrize("zero_snr", [True, False])
def test_guidance_is_rescaled_where_the_base_goes_down_to_zero_snr(
    base: Base, monkeypatch: pytest.MonkeyPatch, zero_snr: bool
) -> None:
    monkeypatch.setattr(generation, "sample", first_prediction)
    base.scheduler.register_to_config(rescale_betas_zero_snr=zero_snr)
    guided = 2 + 5 * (3 - 2)
    expected = 0.7 * 3 + 0.3 * guided if zero_snr else guided
    shape, network = latent_shape(base), torch.nn.Identity()
    poses = torch.zeros(3, *shape)
    found = render_latents(base, network, "a man", poses, seed=5)
    noise = video_noise((1, 3, *shape), torch.Generator().manual_seed(5))[0]
    torch.testing.assert_close(found, expected * noise)
    found = render_images(base, network, ["a man"] * 3, poses, 5, 2, lambda count: None)
    torch.testing.assert_close(found, expected * noise)  # one batch, drawn as a clip is


def test_the_scale_of_guidance_may_be_given(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "sample", first_prediction)
    poses = torch.zeros(2, *latent_shape(base))
    ours, plain = (
        render_latents(base, torch.nn.Identity(), "a man", poses, 5, Sampling(guidance_scale=scale))
        for scale in (None, 1.0)
    )
    torch.testing.assert_close(ours, (0.7 * 3 + 0.3 * 7) / 3 * plain)


def test_frames_that_share_their_noise_share_what_lcm_adds(base: Base) -> None:
    base.config["noise_share"] = 1.0
    poses = torch.zeros(3, *latent_shape(base))
    lcm = Sampling(sampler="lcm", steps=4, guidance_scale=1.0)
    found = render_latents(base, torch.nn.Identity(), "a man", poses, 5, lcm)
    assert torch.equal(found[0], found[2])
