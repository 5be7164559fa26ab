"""The method against its equations written out, on a tiny network."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor

from animateanywhere.backbones.base import Base, encode_text, load_base
from animateanywhere.diffusion.losses import add_noise, level
from animateanywhere.diffusion.sampling import make_scheduler, sample
from animateanywhere.methods.anycharv import method
from animateanywhere.methods.anycharv.method import Scene
from animateanywhere.methods.anycharv.swap_base import load_swap_base, widened
from animateanywhere.training.picture_encoder import PictureEncoder


@pytest.fixture(scope="module")
def base(tiny_swap: Path) -> Base:
    return load_swap_base(tiny_swap)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def scene(rows: int = 2, frames: int = 1) -> Scene:
    shape = (rows, frames, 4, 8, 8)
    region = torch.zeros(rows, frames, 1, 8, 8)
    region[..., 2:7, 3:6] = 1
    region[..., 7, 3:6] = 0.25
    return Scene(noise(*shape, seed=1), region, noise(*shape, seed=2), noise(*shape, seed=3))


def read(base: Base, pictures: Tensor, poses: Tensor) -> method.Character:
    reader, encoder = method.reader_of(base), base.parts["image_encoder"]
    return method.read(
        reader, pictures, poses, method.tokens(encoder, pictures), method.words(base)
    )


@torch.no_grad()
@pytest.mark.parametrize("video", [False, True])
def test_a_new_network_without_a_reference_is_the_base_bit_for_bit(
    tiny_base: Path, video: bool
) -> None:
    plain = load_base(tiny_base)
    parts = plain.parts | {"unet": widened(plain.denoiser, 4)}
    wide, inputs = replace(plain, parts=parts), scene(2, 3)
    x, t = noise(2, 3, 4, 8, 8, seed=4), torch.tensor([5, 900])
    text = encode_text(plain, [method.WORDS])
    wanted = plain.family.predict(
        plain.family.build(plain, video), x, t, inputs.poses, text.expand(2, -1, -1)
    )
    found = method.predict(method.build(wide, video), x, t, inputs, text, None)
    assert torch.equal(found, wanted)


class WrittenOut:
    """Attention in plain matrices, whose keys and values may have further rows."""

    def __init__(self, more: Tensor | None) -> None:
        self.more = more

    def __call__(
        self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None,
        attention_mask: None = None, temb: None = None,
    ) -> Tensor:  # fmt: skip
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        if self.more is not None:
            context = torch.cat([context, self.more], 1)
        parts = attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context)
        q, k, v = (part.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for part in parts)
        weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
        return attn.to_out[0]((weights @ v).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def written_out(unet: Any, x: Tensor, t: int, states: Tensor, more: dict[str, Tensor]) -> Tensor:
    """A pass of a copy of the UNet with `WrittenOut`; more: by the layers' names."""
    network = copy.deepcopy(unet)
    for name, layer in network.named_modules():
        if isinstance(layer, Attention):
            layer.set_processor(WrittenOut(more.get(name)))
    return network(x, t, states).sample  # type: ignore[no-any-return]


@torch.no_grad()
def test_the_loss_of_one_frame_is_that_of_the_equations(base: Base) -> None:
    inputs, latents = scene(1), noise(1, 1, 4, 8, 8, seed=5)
    pictures, poses = noise(1, 2, 4, 8, 4, seed=6), noise(1, 2, 4, 8, 4, seed=7)
    heat = noise(1, 1, 1, 8, 8, seed=8).sigmoid()
    text, unet = encode_text(base, ["a person"]), base.denoiser
    generator = torch.Generator().manual_seed(9)
    found, _ = method.loss(
        method.build(base, False), latents, inputs,
        method.weight_of(inputs.region, heat, 0.1, 3.0), text, read(base, pictures, poses),
        base.scheduler, generator,
    )  # fmt: skip

    # h_l of both pictures, in the role that an empty mask tells, and their tokens
    tokens = base.parts["image_encoder"](pictures[0])  # (2, bands, D)
    seen: dict[str, list[Tensor]] = {}
    for picture, pose, token in zip(pictures[0], poses[0], tokens, strict=True):
        network = copy.deepcopy(unet)
        for name, layer in network.named_modules():
            if name.endswith("attn1"):
                layer.set_processor(WrittenOut(None))
                layer.register_forward_pre_hook(
                    lambda _, given, name=name: seen.setdefault(name, []).append(given[0])
                )
        x = torch.cat([picture, pose, torch.zeros(5, 8, 4)])[None]
        network(x, 0, torch.cat([text, token[None]], 1))
    features = {name: torch.cat(both, 1) for name, both in seen.items()}

    generator = torch.Generator().manual_seed(9)
    e = torch.randn(latents.shape, generator=generator)
    t = int(torch.randint(1000, (1,), generator=generator))
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    alpha_bar = (1 - betas).cumprod(0).sqrt()
    alpha_bar = (alpha_bar - alpha_bar[-1]) * alpha_bar[0] / (alpha_bar[0] - alpha_bar[-1])
    a = float(alpha_bar[t])
    s = (1 - a * a) ** 0.5
    x = torch.cat([a * latents + s * e, inputs.poses, inputs.latents, inputs.region], 2)[0]
    states = torch.cat([text, tokens.flatten(0, 1)[None]], 1)
    v = written_out(unet, x, t, states, features)
    squared = (a * e - s * latents - v[None]).square().mean(2)[0, 0]  # (8, 8)
    weight, total = 0.0, 0.0
    for row in range(8):
        for column in range(8):
            m = float(inputs.region[0, 0, 0, row, column])
            w = (m + 0.1 * (1 - m)) * (1 + 3 * float(heat[0, 0, 0, row, column]))
            weight, total = weight + w, total + w * float(squared[row, column])
    assert float(found) == pytest.approx(total / weight, rel=1e-5)


@torch.no_grad()
def test_pictures_in_one_batch_or_two_are_the_same_character(base: Base) -> None:
    pictures, poses = noise(4, 2, 4, 8, 4, seed=1), noise(4, 2, 4, 8, 4, seed=2)
    whole = read(base, pictures, poses)
    halves = [read(base, pictures[half], poses[half]) for half in (slice(2), slice(2, 4))]
    for name, h in whole.features.layers.items():
        parts = torch.cat([half.features.layers[name] for half in halves])
        torch.testing.assert_close(h, parts, atol=1e-5, rtol=1e-5)
    states = torch.cat([half.states for half in halves])
    torch.testing.assert_close(whole.states, states, atol=1e-5, rtol=1e-5)
    again = whole.rows(torch.tensor([3, 3, 0]))
    assert torch.equal(again.states, whole.states[[3, 3, 0]])


@torch.no_grad()
def test_another_picture_and_another_pose_of_it_change_the_output(base: Base) -> None:
    network, inputs, text = method.build(base, False), scene(), method.words(base)
    x, t = noise(2, 1, 4, 8, 8, seed=4), torch.tensor([500, 900])

    def passed(picture: int, pose: int) -> Tensor:
        pictures, poses = (noise(2, 1, 4, 8, 4, seed=seed) for seed in (picture, pose))
        return method.predict(network, x, t, inputs, text, read(base, pictures, poses))

    first = passed(10, 11)
    assert torch.equal(first, passed(10, 11))
    for other in (passed(12, 11), passed(10, 12)):
        assert (first - other).abs().max() > 1e-3


@torch.no_grad()
def test_outside_of_the_region_the_scene_is_sampled_exactly(base: Base) -> None:
    inputs = scene(2, 3)
    network, pictures = method.build(base, True), noise(2, 1, 4, 8, 4, seed=1)
    character, text = read(base, pictures, pictures), method.words(base)
    assert inputs.kept is not None
    for sampler in ("dpm++", "ddim", "unipc"):
        denoise = method.denoiser(base, network, inputs, text, character, guidance=1.5)
        scheduler = make_scheduler(base.scheduler.config, sampler)
        found = sample(denoise, noise(2, 3, 4, 8, 8, seed=5), scheduler, 4)
        apart = (found - inputs.kept).abs()
        outside = (inputs.region == 0).expand_as(found)
        assert apart[outside].max() < 1e-4 and apart[~outside].mean() > 0.1


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_what_is_put_in_leads_to_the_scene(base: Base, kind: str) -> None:
    """x_t of the kept latents: the prediction is their target, whatever was predicted."""
    inputs, t = scene(), torch.tensor([30, 700])
    e, levels = noise(2, 1, 4, 8, 8, seed=6), level(base.scheduler, t)
    assert inputs.kept is not None
    x = add_noise(inputs.kept, e, levels)
    a, s = (part[:, None, None, None, None] for part in levels)
    wanted = e if kind == "epsilon" else a * e - s * inputs.kept
    y = noise(2, 1, 4, 8, 8, seed=7)
    found = method.put_in_scene(y, x, inputs, levels, kind)
    mixed = inputs.region * y + (1 - inputs.region) * wanted
    torch.testing.assert_close(found, mixed, atol=1e-4, rtol=1e-4)
    own = replace(inputs, kept=None)
    assert torch.equal(method.put_in_scene(y, x, own, levels, kind), y)


@torch.no_grad()
def test_the_picture_encoder_computes_in_float32_on_a_processor() -> None:
    """In bfloat16, some sizes gave NaN now and then."""
    torch.manual_seed(0)
    encoder, latents = PictureEncoder(4, 32), noise(3, 4, 8, 4)
    with torch.autocast("cpu", torch.bfloat16):
        found = encoder(latents), encoder.embed(latents)
    for half, whole in zip(found, (encoder(latents), encoder.embed(latents)), strict=True):
        assert half.dtype == torch.float32 and torch.equal(half, whole)
    assert found[0].shape == (3, 4, 32) and found[1].shape == (3, 32)
