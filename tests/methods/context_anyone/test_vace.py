"""Reference-to-video by Wan 2.1 VACE, on a small network of its classes, beside diffusers' own
pipeline."""

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import WanVACEPipeline
from PIL import Image
from torch import Tensor

from animateanywhere.backbones.base import Base, latent_shape, sampler_of
from animateanywhere.diffusion.sampling import make_scheduler
from animateanywhere.methods.context_anyone.generation import Options
from animateanywhere.methods.context_anyone.vace import vace_latents

SIDE, PROMPT = 64, "a man on a beach"


@pytest.fixture
def base(tiny_vace: Base) -> Base:
    return tiny_vace


def distance(ours: Tensor, wanted: Tensor) -> float:
    """Relative to the norm: untrained weights amplify the rounding of single values beyond 1e-4."""
    return float((ours - wanted).norm() / wanted.norm())


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)


@pytest.mark.parametrize(("count", "posed", "guidance"), [(1, False, 2.0), (2, True, 1.0)])
def test_the_same_latents_as_diffusers_own_pipeline(
    base: Base, count: int, posed: bool, guidance: float
) -> None:
    pictures, drawn = noise(count), noise(9, 1) if posed else None
    options = Options(seed=7, steps=3, guidance=guidance)
    ours = vace_latents(base, PROMPT, pictures, 9, drawn, options)
    start = torch.randn(
        1, count + 3, *latent_shape(base), generator=torch.Generator().manual_seed(7)
    )
    pipe = WanVACEPipeline(
        base.tokenizer, base.text_encoder, base.vae,
        make_scheduler(base.scheduler.config, sampler_of(base)), base.denoiser,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    given: dict[str, Any] = {
        # theirs puts each picture in front of those before it
        "reference_images": [Image.fromarray(picture) for picture in pictures[::-1]]
    }
    if drawn is not None:
        given["video"] = [Image.fromarray(frame) for frame in drawn]
    theirs = pipe(
        **given, prompt=PROMPT, negative_prompt="", height=SIDE, width=SIDE, num_frames=9,
        num_inference_steps=3, guidance_scale=guidance,
        latents=start.transpose(1, 2).clone(), output_type="latent",
    ).frames[0]  # fmt: skip
    wanted = theirs.transpose(0, 1)[count:]
    assert distance(ours, wanted) < 1e-4
    other = vace_latents(base, PROMPT, noise(count, 3), 9, drawn, options)
    assert distance(other, wanted) > 1e-3  # so that a picture that is not seen would be noticed


def test_another_picture_and_a_motion_change_every_window_of_a_long_video(base: Base) -> None:
    options, steps = Options(seed=3, steps=2), list[int]()
    found = vace_latents(base, PROMPT, noise(1), 21, None, options, lambda: steps.append(1))
    assert found.shape == (6, 4, 8, 8) and len(steps) == 2
    for other in (
        vace_latents(base, PROMPT, noise(1, 5), 21, None, options),
        vace_latents(base, PROMPT, noise(1), 21, noise(21, 6), options),
    ):
        assert ((other - found).abs().flatten(1).amax(1) > 1e-4).all()
