import pytest
import torch

from animateanywhere.diffusion.losses import (
    Level,
    add_noise,
    background_weakening,
    draw_timesteps,
    level,
    min_snr_weight,
    reconstruction,
    shifted,
    target,
    video_noise,
)


def test_alpha_is_inside_the_norm() -> None:
    """Eq. 1 with alpha = 0.001: an error of the background weighs 1e-6 of one of the person."""
    error = torch.full((1, 1, 1, 2, 2), 3.0)
    mask = torch.zeros(1, 1, 1, 2, 2)
    weight = torch.tensor([0.001**2])
    behind = background_weakening(error, mask, weight)
    person = background_weakening(error, 1 - mask, weight)
    assert person.item() == pytest.approx(9.0)
    assert (behind / person).item() == pytest.approx(1e-6, rel=1e-5)


def test_background_weakening_closed_form() -> None:
    error = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 1, 1, 2, 2)
    mask = torch.tensor([[1.0, 0.5], [0.0, 0.0]]).reshape(1, 1, 1, 2, 2)
    by_hand = (1 + (0.5 + 0.25 * 0.5) * 4 + 0.25 * 9 + 0.25 * 16) / 4
    assert background_weakening(error, mask, torch.tensor([0.25])).item() == pytest.approx(by_hand)


def test_a_soft_mask_weighs_like_the_hard_masks_it_averages() -> None:
    """Eq. 1 in pixels with a hard mask, and in cells of 8 x 8 pixels with its area average."""
    hard = (torch.rand(1, 1, 1, 32, 32) > 0.7).float()
    cells = torch.randn(1, 1, 4, 4, 4)
    pixels = cells.repeat_interleave(8, -1).repeat_interleave(8, -2)
    soft = torch.nn.functional.avg_pool2d(hard[0], 8)[None]
    fine = (hard * pixels).square() + (0.1 * (1 - hard) * pixels).square()
    expected = fine.flatten(1).mean(1)
    torch.testing.assert_close(background_weakening(cells, soft, torch.tensor([0.01])), expected)


def test_a_full_mask_is_the_plain_error() -> None:
    error = torch.randn(3, 2, 4, 5, 5)
    ones = torch.ones(3, 2, 1, 5, 5)
    plain = error.square().mean((1, 2, 3, 4))
    torch.testing.assert_close(background_weakening(error, ones, torch.zeros(3)), plain)
    torch.testing.assert_close(background_weakening(error, 0 * ones, torch.ones(3)), plain)
    torch.testing.assert_close(background_weakening(error), plain)


def of(*alpha_bar: float) -> Level:
    share = torch.tensor(alpha_bar)
    return Level(share.sqrt(), (1 - share).sqrt())


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_the_target_gives_the_latents_back(kind: str) -> None:
    x0, noise = torch.randn(2, 3, 4, 5, 5), torch.randn(2, 3, 4, 5, 5)
    a, s = (v[:, None, None, None, None] for v in of(0.9, 0.3))
    x = add_noise(x0, noise, of(0.9, 0.3))
    predicted = target(x0, noise, of(0.9, 0.3), kind)
    again = (x - s * predicted) / a if kind == "epsilon" else a * x - s * predicted
    torch.testing.assert_close(again, x0, rtol=1e-4, atol=1e-4)


def test_a_flow_leads_to_the_latents() -> None:
    from diffusers import UniPCMultistepScheduler

    flow = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)
    times = torch.tensor([1000, 250])
    levels = level(flow, times)
    torch.testing.assert_close(levels.noise, torch.tensor([1.0, 0.25]))
    x0, noise = torch.randn(2, 3, 4, 5, 5), torch.randn(2, 3, 4, 5, 5)
    x = add_noise(x0, noise, levels)
    torch.testing.assert_close(x[0], noise[0])
    sigma = levels.noise[:, None, None, None, None]
    torch.testing.assert_close(x - sigma * target(x0, noise, levels, "flow_prediction"), x0)
    # on the clean latents' error, which a flow's is 1 / sigma of
    weight = min_snr_weight(levels, 5.0, "flow_prediction")
    torch.testing.assert_close(weight, torch.tensor([0.0, 5 * 0.25**2]))


def test_timesteps_are_drawn_over_the_whole_schedule() -> None:
    from diffusers import DDPMScheduler, UniPCMultistepScheduler

    flow = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)
    for scheduler, first, last in ((DDPMScheduler(), 0, 999), (flow, 1, 1000)):
        drawn = draw_timesteps(scheduler, 20000, 1.0, torch.Generator().manual_seed(0))
        assert (int(drawn.min()), int(drawn.max())) == (first, last)
        later = draw_timesteps(scheduler, 20000, 3.0, torch.Generator().manual_seed(0))
        assert float(later.float().mean()) > float(drawn.float().mean()) + 100


def test_target_agrees_with_diffusers() -> None:
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(prediction_type="v_prediction")
    x0, noise = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    t = torch.tensor([100, 700])
    ours = target(x0[:, None], noise[:, None], level(scheduler, t), "v_prediction")[:, 0]
    torch.testing.assert_close(ours, scheduler.get_velocity(x0, noise, t))


def test_min_snr() -> None:
    levels = of(0.0, 0.5, 0.99)  # SNR 0, 1, 99
    weight = min_snr_weight(levels, 5.0, "v_prediction")
    torch.testing.assert_close(weight, torch.tensor([0.0, 0.5, 5 / 100]), atol=1e-6, rtol=1e-4)
    eps = min_snr_weight(of(0.5, 0.99), 5.0, "epsilon")
    torch.testing.assert_close(eps, torch.tensor([1.0, 5 / 99]))
    assert (min_snr_weight(levels, 0.0, "epsilon") == 1).all()


def test_reconstruction_closed_form() -> None:
    wanted = torch.rand(2, 3, 4, 4)
    even = reconstruction(wanted + 0.5, wanted, torch.ones(2, 1, 4, 4))
    assert float(even) == pytest.approx(0.5 + 0.25)  # no edges are wrong
    left = torch.tensor([1.0, 1, 0, 0])  # half of the columns count
    step = wanted + torch.tensor([0.0, 0.4, 0, 0])
    # A quarter of the pixels is off by 0.4; of three differences sideways two are, one counts.
    assert float(reconstruction(step, wanted, left)) == pytest.approx(0.56 / 4 + 0.4 / 3)


def test_shifted_timesteps_closed_form() -> None:
    every = torch.arange(1000)
    assert torch.equal(shifted(every, 1000, 1.0), every)
    later = shifted(every, 1000, 3.0)
    assert (later.diff() >= 0).all() and later.min() >= 0 and later.max() == 999
    assert later[499].item() == pytest.approx(749, abs=1)  # 3/2 / (1 + 2/2) = 3/4 of the way


def test_frames_share_their_part_of_the_noise() -> None:
    def draw(share: float) -> torch.Tensor:
        return video_noise((64, 4, 8, 8, 8), torch.Generator().manual_seed(0), share)

    alone = torch.randn((64, 4, 8, 8, 8), generator=torch.Generator().manual_seed(0))
    assert torch.equal(draw(0.0), alone)
    for share in (0.0, 0.5, 0.8, 1.0):
        noise = draw(share)
        assert float(noise.var()) == pytest.approx(1, abs=0.03)
        assert float((noise[:, 0] * noise[:, 3]).mean()) == pytest.approx(share, abs=0.03)
        assert abs(float((noise[0] * noise[1]).mean())) < 0.06  # other clips have their own
