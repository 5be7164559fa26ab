"""Latents folded into patches: what the UNet gets of a VAE that goes down less."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderDC

from animateanywhere.backbones.base import load_config
from animateanywhere.backbones.create import create_base
from animateanywhere.backbones.vae import (
    decode_latents,
    encode_frames,
    encoded_channels,
    latent_channels,
    spatial_factor,
    to_pixels,
)
from animateanywhere.methods.animate_anywhere.settings import load_recipe


@pytest.fixture
def folded(tmp_path: Path) -> Any:
    """An untrained VAE at 8x down with 4 channels, folded 2x2; saved and loaded."""
    model = load_recipe("tiny").model
    vae = {**model.vae, "latent_patch": 2, "scaling_factor": 2.0}
    create_base(replace(model, vae=vae), tmp_path, ["a man in a room"])
    unet = load_config(tmp_path / "unet")
    assert (unet["in_channels"], unet["out_channels"]) == (32, 16)  # the pose's latents beside them
    return AutoencoderDC.from_pretrained(tmp_path / "vae").eval()


def test_a_patch_of_latents_is_a_position(folded: Any) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    latents = encode_frames(folded, frames)
    assert latents.shape == (3, latent_channels(folded), 64 // spatial_factor(folded), 4)
    assert (latent_channels(folded), spatial_factor(folded)) == (16, 16)
    assert encoded_channels(folded.config) == 16
    with torch.no_grad():
        raw = folded.encode(to_pixels(torch.from_numpy(frames))).latent  # (3, 4, 8, 8)
    # the first four channels are the patch of the first channel
    np.testing.assert_allclose(latents[0, :4, 0, 0], 2 * raw[0, 0, :2, :2].flatten(), rtol=1e-5)


def test_decoding_unfolds(folded: Any) -> None:
    frames = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    decoded = decode_latents(folded, encode_frames(folded, frames))
    with torch.no_grad():
        pixels = folded.decode(folded.encode(to_pixels(torch.from_numpy(frames))).latent).sample
    wanted = (pixels.permute(0, 2, 3, 1) * 127.5 + 127.5).round().clamp(0, 255)
    assert np.abs(decoded - wanted.numpy()).max() <= 1
