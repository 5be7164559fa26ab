import itertools
import warnings

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    LCMScheduler,
    UniPCMultistepScheduler,
)

from animateanywhere.core.errors import UsageError
from animateanywhere.diffusion.losses import FLOW
from animateanywhere.diffusion.sampling import (
    blend,
    free_noise,
    guided,
    make_scheduler,
    sample,
    switch_denoisers,
    windows,
)

MEAN, STD = 0.7, 0.35


def config(prediction="v_prediction", zero_snr=True, **more):
    return DDPMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type=prediction,
        rescale_betas_zero_snr=zero_snr,
        timestep_spacing="trailing",
        **more,
    ).config


def exact_denoiser(schedule):
    """The optimal prediction for data ~ N(MEAN, STD²): E[x0 | x] is linear in x."""
    alphas = DDIMScheduler.from_config(schedule).alphas_cumprod.double()

    def denoiser(x, t):
        a, s = alphas[int(t)].sqrt(), (1 - alphas[int(t)]).sqrt()
        x0 = MEAN + a * STD**2 / (a**2 * STD**2 + s**2) * (x - a * MEAN)
        if schedule["prediction_type"] == "epsilon":
            return (x - a * x0) / s
        return (a * x - x0) / s  # v = a noise - s x0, with noise = (x - a x0) / s

    return denoiser


@pytest.mark.parametrize("prediction, zero_snr", [("v_prediction", True), ("epsilon", False)])
@pytest.mark.parametrize("sampler, steps", [("dpm++", 25), ("ddim", 250)])
def test_sampling_a_gaussian_gives_its_mean_and_deviation(sampler, steps, prediction, zero_snr):
    schedule = config(prediction, zero_snr)
    x = torch.randn(1, 4, 4, 20, 20, generator=torch.Generator().manual_seed(0)).double()
    y = sample(exact_denoiser(schedule), x, make_scheduler(schedule, sampler), steps)
    assert y.isfinite().all()
    assert abs(y.mean() - MEAN) < 0.03
    assert abs(y.std() / STD - 1) < 0.03


@pytest.mark.parametrize("sampler", ["dpm++", "ddim"])
def test_more_steps_reduce_the_error(sampler):
    """The probability flow of a Gaussian maps noise z to MEAN + STD z: follow one sample."""
    schedule = config()
    z = torch.tensor([-1.5, 0.0, 1.0]).double().view(1, 3, 1, 1, 1)
    errors = [
        (
            sample(exact_denoiser(schedule), z, make_scheduler(schedule, sampler), steps)
            - (MEAN + STD * z)
        )
        .abs()
        .max()
        .item()
        for steps in (10, 20, 40)
    ]
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("sampler, steps", [("unipc", 25), ("ddim", 250)])
def test_a_flow_leads_to_its_gaussian(sampler, steps):
    schedule = UniPCMultistepScheduler(prediction_type=FLOW, use_flow_sigmas=True).config

    def denoiser(x, t):
        sigma = float(t) / 1000
        a = 1 - sigma
        x0 = MEAN + a * STD**2 / (a**2 * STD**2 + sigma**2) * (x - a * MEAN)
        return (x - x0) / sigma  # noise - x0

    x = torch.randn(1, 4, 4, 20, 20, generator=torch.Generator().manual_seed(0)).double()
    y = sample(denoiser, x, make_scheduler(schedule, sampler), steps)
    assert abs(y.mean() - MEAN) < 0.03
    assert abs(y.std() / STD - 1) < 0.03


def test_lcm_takes_the_schedule_of_the_base_and_no_flow():
    schedule = config("epsilon", False)
    lcm = make_scheduler(schedule, "lcm")
    assert isinstance(lcm, LCMScheduler) and lcm.config.prediction_type == "epsilon"
    assert torch.equal(lcm.alphas_cumprod, DDIMScheduler.from_config(schedule).alphas_cumprod)
    flow = UniPCMultistepScheduler(prediction_type=FLOW, use_flow_sigmas=True).config
    with pytest.raises(UsageError, match="lcm"):
        make_scheduler(flow, "lcm")


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_lcm_draws_noise_as_the_base_was_trained_with(share):
    """Of a prediction that says nothing is left the noise of the last step but one."""
    scheduler = make_scheduler(config("epsilon", False), "lcm")
    x = torch.zeros(1, 4, 2, 30, 30)
    states = []
    generator = torch.Generator().manual_seed(0)
    sample(
        lambda x, t: x / (1 - scheduler.alphas_cumprod[int(t)]).sqrt(), x, scheduler, 3, generator,
        lambda step, x: states.append(x), share,
    )  # fmt: skip
    for noise in states[:2]:
        frames = noise[0].flatten(1)
        assert torch.corrcoef(frames)[0, 1] == pytest.approx(share, abs=0.06)
    assert states[2].abs().max() < 0.01


def test_lcm_with_independent_noise_is_that_of_diffusers():
    schedule = config("epsilon", False)
    denoiser = exact_denoiser(schedule)
    x = torch.randn(1, 4, 2, 5, 5, generator=torch.Generator().manual_seed(1))
    ours = sample(denoiser, x, make_scheduler(schedule, "lcm"), 4, torch.Generator().manual_seed(2))
    theirs, own = make_scheduler(schedule, "lcm"), torch.Generator().manual_seed(2)
    theirs.set_timesteps(4)
    for t in theirs.timesteps:
        x = theirs.step(denoiser(x, t).float(), t, x, generator=own, return_dict=False)[0]
    torch.testing.assert_close(ours, x)


@pytest.mark.parametrize("sampler", ["dpm++", "ddim"])
def test_zero_snr_starts_at_the_end_and_leads_to_clean_data(sampler):
    scheduler = make_scheduler(config() | {"timestep_spacing": "leading"}, sampler)
    seen = []

    def denoiser(x, t):
        seen.append(int(t))
        return torch.zeros_like(x)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)  # in diffusers, of numpy 2
        done = []
        x = torch.ones(1, 1, 1, 1, 1)
        sample(denoiser, x, scheduler, 10, on_step=lambda step, x: done.append(step))
    assert seen[0] == 999 and len(seen) == 10 and seen == sorted(seen, reverse=True)
    assert done == list(range(1, 11))


@pytest.mark.parametrize("steps", [1, 2, 300, 1000])
def test_any_number_of_steps_works(steps):
    schedule = config()
    for sampler in ("dpm++", "ddim"):
        seen = []
        x = torch.randn(1, 1, 1, 2, 2).double()
        y = sample(
            exact_denoiser(schedule),
            x,
            make_scheduler(schedule, sampler),
            steps,
            on_step=lambda step, x: seen.append(step),  # noqa: B023
        )
        assert y.isfinite().all() and seen[-1] == steps


def test_latents_beyond_one_are_not_clipped():
    schedule = config(clip_sample=True)
    x0 = 5.0
    alphas = DDIMScheduler.from_config(schedule).alphas_cumprod

    def denoiser(x, t):
        a, s = alphas[int(t)].sqrt(), (1 - alphas[int(t)]).sqrt()
        return (a * x - x0) / s

    for sampler in ("dpm++", "ddim"):
        y = sample(denoiser, torch.randn(1, 1, 1, 2, 2), make_scheduler(schedule, sampler), 10)
        torch.testing.assert_close(y, torch.full_like(y, x0), atol=1e-3, rtol=0)


def test_an_unknown_sampler_is_named():
    with pytest.raises(UsageError, match="'euler'.*dpm"):
        make_scheduler(config(), "euler")


def test_guidance_closed_forms():
    torch.manual_seed(0)
    cond, uncond = torch.randn(2, 3, 4, 8, 8), torch.randn(2, 3, 4, 8, 8)
    torch.testing.assert_close(guided(cond, uncond, 1.0), cond)
    torch.testing.assert_close(guided(cond, uncond, 0.0), uncond)
    torch.testing.assert_close(guided(cond, uncond, 3.0), 3 * cond - 2 * uncond)
    full = guided(cond, uncond, 7.5, rescale=1.0)
    torch.testing.assert_close(full.std((1, 2, 3, 4)), cond.std((1, 2, 3, 4)))
    half = guided(cond, uncond, 7.5, rescale=0.5)
    torch.testing.assert_close(half, (full + guided(cond, uncond, 7.5)) / 2)


@pytest.mark.parametrize("length, overlap", [(16, 4), (16, 0), (16, 15), (8, 4), (1, 0)])
def test_windows_cover_every_frame_and_overlap(length, overlap):
    for frames in range(1, 100):
        ranges = windows(frames, length, overlap)
        assert ranges[0][0] == 0 and ranges[-1][1] == frames
        assert all(stop - start == min(length, frames) for start, stop in ranges)
        for (a, b), (c, _) in itertools.pairwise(ranges):
            assert a < c and b - c >= overlap


def test_windows_reject_an_overlap_of_their_length():
    with pytest.raises(ValueError, match="overlap"):
        windows(20, 8, 8)


def test_blending_keeps_common_predictions():
    ranges = windows(23, 8, 3)
    sizes = []

    def denoiser_of(start, stop):
        def denoiser(x, t):
            sizes.append(x.shape[1])
            return 2 * x + t

        return denoiser

    x = torch.randn(2, 23, 4, 2, 2)
    got = blend(denoiser_of, ranges)(x, torch.tensor(3.0))
    torch.testing.assert_close(got, 2 * x + 3)
    assert sizes == [8] * len(ranges)  # one window at a time, never more frames


def test_blending_moves_smoothly_from_one_window_to_the_next():
    def denoiser_of(start, stop):
        return lambda x, t: torch.full_like(x, float(start > 0))

    y = blend(denoiser_of, [(0, 8), (4, 12)])(torch.zeros(1, 12, 1, 1, 1), torch.tensor(0))
    y = y.flatten()
    assert y[:4].eq(0).all() and y[8:].eq(1).all()
    torch.testing.assert_close(y[4:8], torch.tensor([1, 2, 3, 4]) / 5)


def test_each_window_has_its_own_conditions():
    """A window predicts where it begins plus 10 times where it ends."""

    def denoiser_of(start, stop):
        return lambda x, t: torch.full_like(x, start + 10 * stop)

    y = blend(denoiser_of, [(0, 4), (4, 7)])(torch.zeros(1, 7, 1, 1, 1), torch.tensor(0))
    assert y.flatten().tolist() == [40] * 4 + [74] * 3


def test_one_denoiser_takes_over_from_another():
    both = switch_denoisers(lambda x, t: x + t, lambda x, t: x - t, 3)
    for _ in range(2):  # it may sample a second time
        assert [both(10, t) for t in (5, 4, 3, 2, 1)] == [15, 14, 7, 8, 9]


def test_one_window_is_its_own_denoiser():
    def only(x, t):
        return x

    assert blend(lambda start, stop: only, windows(16, 16, 4)) is only


@pytest.mark.parametrize("frames", [9, 16, 17, 20, 33, 40, 50, 64, 97])
@pytest.mark.parametrize("overlap", [0, 4, 5, 15])
def test_free_noise_gives_each_window_all_noise_of_the_first_once(frames, overlap):
    noise = torch.randn(2, frames, 3, 1, 1, generator=torch.Generator().manual_seed(0))
    ranges = windows(frames, 16, overlap)
    free = free_noise(noise, ranges, torch.Generator().manual_seed(1))
    assert torch.equal(free[:, :16], noise[:, :16])
    first = noise[:, :16].flatten(2).sort(1)[0]
    for start, stop in ranges:
        assert torch.equal(free[:, start:stop].flatten(2).sort(1)[0], first)
    assert torch.equal(free_noise(noise, ranges, torch.Generator().manual_seed(1)), free)
    if overlap < 12:
        for (start, stop), (following, end) in itertools.pairwise(ranges):
            left = free[:, start:following]  # in another order
            assert following - start < 3 or not torch.equal(free[:, stop:end], left)
