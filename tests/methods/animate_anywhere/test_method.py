from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from diffusers import UNetMotionModel

from animateanywhere.backbones.base import Base, load_base
from animateanywhere.backbones.sd_unet import FAMILY
from animateanywhere.methods.animate_anywhere import method
from animateanywhere.methods.animate_anywhere.batch import Batch, Conditions
from animateanywhere.methods.animate_anywhere.method import build, foreground_of, region_of
from animateanywhere.methods.animate_anywhere.settings import Loss

predict, loss = FAMILY.predict, partial(method.loss, FAMILY)
denoiser = partial(method.denoiser, FAMILY)


@pytest.fixture(scope="module")
def base(tiny_base: Path) -> Base:
    return load_base(tiny_base)


def rows(count: int = 2, frames: int = 4, side: int = 8) -> Batch:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    mask = torch.zeros(count, frames, 1, side, side)
    mask[..., 2:6] = 1
    tokens = torch.zeros(count, 48)
    tokens[:, 2], tokens[:, 5] = 1, -1
    return Batch(
        draw(count, frames, 4, side, side), draw(count, frames, 4, side, side),
        draw(count, 48, 32), mask, tokens, torch.tensor([False] + [True] * (count - 1)),
    )  # fmt: skip


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def test_one_frame_with_fresh_temporal_layers_is_the_image_model(base: Base) -> None:
    image, video = build(base, Loss(), video=False), build(base, Loss(), video=True).eval()
    assert isinstance(video, UNetMotionModel)
    made = rows(frames=1)
    t = torch.tensor([3, 800])
    with torch.no_grad():
        arguments = (made.latents, t, made.pose_latents, made.text_states)
        a, b = predict(image, *arguments), predict(video, *arguments)
    torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-5)


def test_fresh_temporal_layers_leave_frames_alone(base: Base) -> None:
    video = build(base, Loss(), video=True).eval()
    made, t = rows(), torch.tensor([3, 800])
    with torch.no_grad():
        whole = predict(video, made.latents, t, made.pose_latents, made.text_states)
        one = predict(
            video, made.latents[:, 2:3], t, made.pose_latents[:, 2:3], made.text_states
        )  # fmt: skip
    torch.testing.assert_close(whole[:, 2:3], one, atol=2e-5, rtol=1e-5)


def test_the_background_of_the_subject_hardly_counts(base: Base) -> None:
    """Changing the subject's background moves its loss by about alpha squared of the plain one."""
    unet = build(base, Loss(guide=False), video=False)
    made = rows(count=1)
    only_subject = replace(made, regular=torch.tensor([False]))
    plain = loss(unet, only_subject, generator(), base.scheduler, Loss(guide=False, weaken=False))
    weak = loss(unet, only_subject, generator(), base.scheduler, Loss(guide=False))
    none = loss(unet, only_subject, generator(), base.scheduler, Loss(guide=False, alpha=0.0))
    assert plain[0] > 1.5 * weak[0]
    assert float(weak[0] - none[0]) == pytest.approx(1e-6 * float(plain[0] - none[0]), rel=0.5)


def test_regularization_rows_are_unaffected_by_masks(base: Base) -> None:
    """Their part of the loss is bit-identical with masks, guidance and weakening on or off."""
    unet = build(base, Loss(), video=False)
    made = rows(count=2)
    every = []
    for settings in (Loss(), Loss(weaken=False), Loss(guide=False), Loss(alpha=1.0)):
        every.append(loss(unet, made, generator(), base.scheduler, settings)[1]["regular"])
    moved = replace(made, mask=made.mask.roll(2, -1) if made.mask is not None else None)
    every.append(loss(unet, moved, generator(), base.scheduler, Loss())[1]["regular"])
    assert every == pytest.approx([every[0]] * 5, rel=1e-6)
    assert foreground_of(made, Loss())[1].min() == 1
    region = region_of(made, Loss())
    assert region is not None
    assert region.mask[1:].abs().max() == 0 and region.tokens[1:].abs().max() == 0
    assert set(region.mask[:1].unique().tolist()) == {-1.0, 1.0}


def test_the_regularization_weight_weighs(base: Base) -> None:
    unet = build(base, Loss(), video=False)
    made = rows(count=2)
    value, logs = loss(unet, made, generator(), base.scheduler, Loss(regularization_weight=3.0))
    assert float(value) == pytest.approx((logs["subject"] + 3 * logs["regular"]) / 2, rel=1e-5)


def test_a_background_that_the_base_made_counts() -> None:
    made = rows(count=3)
    made = replace(
        made, regular=torch.tensor([False, False, True]), made=torch.tensor([False, True, False])
    )
    assert made.mask is not None
    fore = foreground_of(made, Loss(keep=0.25))
    assert torch.equal(fore[0], made.mask[0])
    assert torch.equal(fore[1], made.mask[1].clamp_min(0.25))
    assert (fore[2] == 1).all()
    assert torch.equal(foreground_of(made, Loss(keep=0.0))[1], made.mask[1])
    assert (foreground_of(made, Loss(weaken=False, keep=0.25)) == 1).all()


def test_mask_guidance_reaches_the_model(base: Base) -> None:
    unet = build(base, Loss(gamma=0.01), video=False)
    made = rows(count=1)
    subject = replace(made, regular=torch.tensor([False]))
    on = loss(unet, subject, generator(), base.scheduler, Loss(gamma=0.01))[0]
    off = loss(unet, subject, generator(), base.scheduler, Loss(guide=False))[0]
    assert on != off


@pytest.mark.parametrize("together", [0, 2**15], ids=["in two passes", "in one batch"])
def test_guidance_in_one_batch_is_guidance_in_two(
    base: Base, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("animateanywhere.methods.animate_anywhere.method.TOGETHER", together)
    unet = build(base, Loss(guide=False), video=True).eval()
    made = rows(count=2)
    x, poses = made.latents[:1], made.pose_latents[:1]
    text, empty = made.text_states[:1], made.text_states[1:]
    t = torch.tensor(500)
    with torch.no_grad():
        with_text = denoiser(unet, Conditions(poses, text, empty), 1.0)(x, t)
        without = denoiser(unet, Conditions(poses, empty, empty), 1.0)(x, t)
        both = denoiser(unet, Conditions(poses, text, empty), 4.0)(x, t)
    torch.testing.assert_close(both, without + 4 * (with_text - without), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("video", [False, True])
def test_row_by_row_is_the_same_step(base: Base, video: bool) -> None:
    found = []
    for apart in (False, True):
        unet = build(base, Loss(), video).requires_grad_(True)
        unet.zero_grad()
        value, _ = loss(unet, rows(count=2), generator(), base.scheduler, Loss(), row_by_row=apart)
        value.backward()
        found.append([value.detach(), *(p.grad.clone() for p in unet.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_heat_lets_the_person_count_more(base: Base) -> None:
    """The heated cells weigh 1 + heat: told apart by the loss of each half of the picture."""
    unet, plain = build(base, Loss(), video=False), rows(frames=1)
    plain = replace(plain, mask=None, tokens=None, regular=None)
    left = torch.zeros_like(plain.latents[:, :, :1])
    left[..., :4] = 1

    def value(batch: Batch, settings: Loss) -> float:
        return float(loss(unet, batch, generator(), base.scheduler, settings)[0].detach())

    without = value(plain, Loss(heat=3.0))
    assert without == value(replace(plain, heat=left), Loss(heat=0.0))
    both = [value(replace(plain, heat=side), Loss(heat=3.0)) for side in (left, 1 - left)]
    assert both[0] != pytest.approx(both[1])
    assert sum(both) == pytest.approx(2 * without + 3 * without, rel=1e-5)
