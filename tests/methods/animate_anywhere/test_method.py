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
from animateanywhere.methods.animate_anywhere.method import build, region_of
from animateanywhere.methods.animate_anywhere.settings import Loss

PLAIN = Loss(guide=False)
predict, loss = FAMILY.predict, partial(method.loss, FAMILY)
denoiser = partial(method.denoiser, FAMILY)


@pytest.fixture(scope="module")
def base(tiny_base: Path) -> Base:
    return load_base(tiny_base)


def rows(count: int = 2, frames: int = 4, side: int = 8, alpha: float = 0.001) -> Batch:
    """A subject row, and regularization rows."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    mask = torch.zeros(count, frames, 1, side, side)
    mask[..., 2:6] = 1
    mask[1:] = 0.5
    tokens = torch.zeros(count, 48)
    tokens[0, 2], tokens[0, 5] = 1, -1
    background = torch.ones(count)
    background[0] = alpha**2
    return Batch(
        draw(count, frames, 4, side, side), draw(count, frames, 4, side, side),
        draw(count, 48, 32), mask, tokens, background,
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
    plain, weak, none = (
        float(loss(build(base, PLAIN, video=False), rows(1, alpha=alpha), generator(),
                   base.scheduler, PLAIN)[0])
        for alpha in (1.0, 0.001, 0.0)
    )  # fmt: skip
    assert plain > 1.5 * weak
    assert weak - none == pytest.approx(1e-6 * (plain - none), rel=0.5)


def test_regularization_rows_take_the_full_frame_and_plain_attention(base: Base) -> None:
    """Their part of the loss is the plain one, with guidance on or off."""
    unet, batch = build(base, Loss(), video=False), rows()
    plain = replace(batch, mask=None, tokens=None, background=None)
    _, logs = loss(unet, batch, generator(), base.scheduler, Loss())
    _, unguided = loss(unet, batch, generator(), base.scheduler, PLAIN)
    assert logs["regularization"] == pytest.approx(unguided["regularization"], rel=1e-6)
    value = loss(unet, plain, generator(), base.scheduler, Loss())[0]
    subject = loss(
        unet, replace(batch, background=torch.ones(2)), generator(), base.scheduler, PLAIN
    )
    assert float(value) == pytest.approx(
        (subject[1]["subject"] + logs["regularization"]) / 2, rel=1e-5
    )
    region = region_of(batch, Loss())
    assert region is not None
    assert region.mask[1:].abs().max() == 0 and region.tokens[1:].abs().max() == 0
    assert set(region.mask[:1].unique().tolist()) == {-1.0, 1.0}


def test_rows_count_by_their_weight(base: Base) -> None:
    unet, batch = build(base, Loss(), video=False), replace(rows(), weight=torch.tensor([1.0, 3.0]))
    value, logs = loss(unet, batch, generator(), base.scheduler, Loss())
    expected = (logs["subject"] + 3 * logs["regularization"]) / 2
    assert float(value) == pytest.approx(expected, rel=1e-5)


def test_mask_guidance_reaches_the_model(base: Base) -> None:
    unet = build(base, Loss(gamma=0.01), video=False)
    subject = rows(count=1)
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
