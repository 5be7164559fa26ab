"""Swaps by Wan 2.1 VACE, on a small network of its classes, beside diffusers' own pipeline."""

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import WanVACEPipeline
from PIL import Image

from animateanywhere.backbones import wan_vace
from animateanywhere.backbones.base import (
    Base,
    latent_shape,
    sampler_of,
    window_length,
)
from animateanywhere.diffusion.sampling import make_scheduler
from animateanywhere.methods.anycharv import generation, vace
from animateanywhere.methods.anycharv.generation import Options

SIDE = 64


@pytest.fixture
def base(tiny_vace: Base) -> Base:
    return tiny_vace


def pictures(count: int) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """So many pictures of noise, with a mask higher than wide."""
    rng = np.random.default_rng(1)
    mask = np.zeros((48, 40), np.float32)
    mask[4:44, 12:30] = 1
    noise = [rng.integers(0, 256, (48, 40, 3), np.uint8) for _ in range(count)]
    return noise, [mask] * count, [np.zeros((18, 3), np.float32)] * count


def scene(frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames of noise, a box that moves and is covered in part at its edge, and a pose in it."""
    rng = np.random.default_rng(2)
    shown = rng.integers(0, 256, (frames, SIDE, SIDE, 3), np.uint8)
    region = np.zeros((frames, SIDE, SIDE), np.float32)
    poses = np.ones((frames, 18, 3), np.float32)
    for index in range(frames):
        left = 11 + index
        region[index, 9:57, left : left + 27] = 1
        region[index, 57, left : left + 27] = 0.4
        poses[index, :, :2] = rng.uniform((left, 10), (left + 26, 56), (18, 2))
    return shown, region, poses


def pipeline(base: Base) -> Any:
    pipe = WanVACEPipeline(
        base.tokenizer, base.text_encoder, base.vae,
        make_scheduler(base.scheduler.config, sampler_of(base)), base.denoiser,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


def given(base: Base, frames: int, count: int, inside: str) -> dict[str, Any]:
    """What a user of diffusers' pipeline would give it for the same swap."""
    shown, region, poses = scene(frames)
    drawn = base.family.draw(poses, SIDE, SIDE) if inside == "skeleton" else shown * 0 + 128
    video = np.where(region[..., None] > 0.5, drawn, shown)
    white = [
        vace.cut_out(*one, base.frame, 1.0, 255)[0] for one in zip(*pictures(count), strict=True)
    ]
    return {
        "video": [Image.fromarray(frame) for frame in video],
        "mask": [Image.fromarray(255 * (row > 0.5).astype(np.uint8)) for row in region],
        # theirs puts each picture in front of those before it
        "reference_images": [Image.fromarray(picture) for picture in reversed(white)],
    }


@pytest.mark.parametrize("count", [1, 2])
def test_the_network_gets_what_it_does_in_diffusers_pipeline(base: Base, count: int) -> None:
    shown, region, poses = scene(9)
    drawn = base.family.draw(poses, SIDE, SIDE)
    character = vace.read_character(base, *pictures(count), "a man on a beach")
    ours = torch.cat([character.pictures, wan_vace.control(base.vae, drawn, True, shown, region)])
    pipe, asked = pipeline(base), given(base, 9, count, "skeleton")
    with torch.no_grad():
        video, mask, references = pipe.preprocess_conditions(
            *asked.values(), 1, SIDE, SIDE, 9, torch.float32, torch.device("cpu")
        )
        latents = pipe.prepare_video_latents(video, mask, references)
        theirs = torch.cat([latents, pipe.prepare_masks(mask, references)], 1)[0]
    torch.testing.assert_close(ours, theirs.transpose(0, 1), atol=1e-4, rtol=1e-4)
    assert 0.3 < ours[count:, 8:].mean() < 0.5  # the box is generated


@pytest.mark.parametrize("count, guidance", [(1, 2.0), (2, 1.0)])
def test_the_same_latents_as_diffusers_own_pipeline(
    base: Base, count: int, guidance: float
) -> None:
    character = vace.read_character(base, *pictures(count), "a man on a beach")
    options = Options(seed=7, steps=3, guidance=guidance)
    ours = vace.swap_latents(base, character, *scene(9), options)
    noise = torch.randn(
        1, count + 3, *latent_shape(base), generator=torch.Generator().manual_seed(7)
    )
    theirs = pipeline(base)(
        **given(base, 9, count, "skeleton"), prompt="a man on a beach", negative_prompt="",
        height=SIDE, width=SIDE, num_frames=9, num_inference_steps=3, guidance_scale=guidance,
        latents=noise.transpose(1, 2).clone(), output_type="latent",
    ).frames[0]  # fmt: skip
    theirs = theirs.transpose(0, 1)[count:]
    # Relative to the norm: untrained weights amplify the rounding of single values beyond 1e-4
    assert (ours - theirs).norm() < 1e-4 * theirs.norm()


def test_a_clip_that_ends_within_a_latent_is_as_if_its_end_stood_still(base: Base) -> None:
    shown, region, poses = scene(7)
    drawn = base.family.draw(poses, SIDE, SIDE)
    longer = [np.concatenate([part, part[-1:], part[-1:]]) for part in (drawn, shown, region)]
    short = wan_vace.control(base.vae, drawn, True, shown, region)
    full = wan_vace.control(base.vae, longer[0], True, *longer[1:])
    torch.testing.assert_close(short, full)
    assert wan_vace.control(base.vae, drawn, False, shown, region).shape == (7, 72, 8, 8)


def test_long_clips_go_in_windows_each_with_the_pictures(base: Base) -> None:
    character = vace.read_character(base, *pictures(1), "a man")
    inputs, steps = scene(21), list[int]()  # 6 latents, two windows
    options = Options(seed=3, steps=2)
    found = vace.swap_latents(base, character, *inputs, options, lambda: steps.append(1))
    assert found.shape == (6, 4, 8, 8) and len(steps) == 2 and window_length(base) == 3
    other = vace.read_character(base, *(part[::-1] for part in pictures(2)), "a man")
    other = other._replace(pictures=other.pictures[:1])  # another picture
    apart = (vace.swap_latents(base, other, *inputs, options) - found).abs().flatten(1).amax(1)
    assert (apart > 1e-4).all()  # in the second window, too
    for changed in (
        vace.swap_latents(base, character, *inputs, Options(seed=4, steps=2)),
        vace.swap_latents(base, character, *inputs, Options(seed=3, steps=2, inside="gray")),
        vace.swap_latents(
            base, vace.read_character(base, *pictures(1), "a red hat"), *inputs, options
        ),
    ):
        assert not torch.allclose(changed, found, atol=1e-5)
    frames = generation.decode(base, found)
    assert frames.shape == inputs[0].shape
    assert generation.through_vae(base, inputs[0][:19]).shape == inputs[0][:19].shape
