"""The method against its equations written out, on a tiny network."""

from typing import Any

import pytest
import torch
from diffusers import UniPCMultistepScheduler
from torch import Tensor

from animateanywhere.diffusion.sampling import make_scheduler, sample
from animateanywhere.methods.context_anyone import method
from animateanywhere.methods.context_anyone.method import Reference, Scales
from tests.methods.context_anyone.test_transformer import cast, noise

FLOW = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)
TEXT, EMPTY = noise(1, 5, 16, seed=3), noise(1, 5, 16, seed=4)
GOLDEN = 2.77726  # of torch 2.13
REFERENCE = Reference(noise(2, 1, 4, 4, 6, seed=5), noise(2, 3, 8, seed=6))


@pytest.fixture(scope="module")
def network() -> Any:
    return cast(image_dim=8, pose_channels=4)


def flow(network: Any, x: Tensor, t: Tensor, text: Tensor, *given: Any) -> Tensor:
    return method.predict(network, x, t, text.expand(len(x), -1, -1), *given)[0]


@torch.no_grad()
def test_the_loss_is_that_of_the_equations(network: Any) -> None:
    latents, poses = noise(2, 3, 4, 4, 6, seed=7), noise(2, 3, 4, 4, 6, seed=8)
    weight = 1 + noise(2, 3, 1, 4, 6, seed=9).sigmoid()
    text = torch.cat([TEXT, EMPTY])
    found, logs = method.loss(
        network, latents, text, REFERENCE, poses, weight, FLOW, torch.Generator().manual_seed(1),
        timestep_shift=3.0, reconstruction=0.25,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(1)
    epsilon = torch.randn(latents.shape, generator=generator)
    u = (torch.randint(1000, (2,), generator=generator) + 0.5) / 1000
    t = (1000 * 3 * u / (1 + 2 * u)).long() + 1
    sigma = (t / 1000)[:, None, None, None, None]
    x = (1 - sigma) * latents + sigma * epsilon
    f_v, f_r = method.predict(network, x, t, text, REFERENCE, poses)
    assert f_r is not None
    diffusion = (weight * (epsilon - latents - f_v) ** 2).mean()
    rebuilt = ((-REFERENCE.latents - f_r) ** 2).mean()
    torch.testing.assert_close(found, diffusion + 0.25 * rebuilt)
    assert logs == pytest.approx({"diffusion": float(diffusion), "reconstruction": float(rebuilt)})


@torch.no_grad()
def test_without_a_reference_or_its_weight_the_loss_is_that_of_the_flow(network: Any) -> None:
    latents, weight = noise(2, 3, 4, 4, 6), torch.ones(2, 3, 1, 4, 6)
    text = TEXT.expand(2, -1, -1)
    for reference, share in ((None, 0.1), (REFERENCE, 0.0)):
        found, logs = method.loss(
            network, latents, text, reference, None, weight, FLOW,
            torch.Generator().manual_seed(1), reconstruction=share,
        )  # fmt: skip
        assert set(logs) == {"diffusion"} and float(found) == pytest.approx(logs["diffusion"])


def test_the_reconstruction_alone_teaches_the_reference_stream(network: Any) -> None:
    """Its gradient reaches the tokens of the reference, and by them all layers."""
    own = cast(image_dim=8).train().requires_grad_(True)
    latents, weight = noise(1, 1, 4, 4, 6), torch.zeros(1, 1, 1, 4, 6)
    reference = Reference(REFERENCE.latents[:1])
    losses = []
    update = torch.optim.Adam(own.parameters(), 3e-3)
    for step in range(30):
        value, logs = method.loss(
            own, latents, TEXT, reference, None, weight, FLOW, torch.Generator().manual_seed(step),
            reconstruction=1.0,
        )  # fmt: skip
        update.zero_grad()
        value.backward()
        update.step()
        losses.append(logs["reconstruction"])
    assert losses[-1] < 0.6 * losses[0]


@torch.no_grad()
def test_the_loss_of_this_network_stays_what_it_was() -> None:
    found, _ = method.loss(
        cast(image_dim=8, pose_channels=4), noise(2, 3, 4, 4, 6), TEXT.expand(2, -1, -1),
        REFERENCE, noise(2, 3, 4, 4, 6, seed=1), torch.ones(2, 3, 1, 4, 6), FLOW,
        torch.Generator().manual_seed(2),
    )  # fmt: skip
    assert float(found) == pytest.approx(GOLDEN, rel=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("scales", [(2.0, 3.0), (3.0, 3.0), (1.0, 2.5), (1.0, 1.0), (0.0, 2.0)])
def test_reference_and_prompt_are_guided_apart(network: Any, scales: tuple[float, float]) -> None:
    x, t = noise(2, 3, 4, 4, 6, seed=7), torch.tensor(700.0)
    poses = noise(2, 3, 4, 4, 6, seed=8)
    ask = method.denoiser(
        network, TEXT.expand(2, -1, -1), EMPTY.expand(2, -1, -1), REFERENCE, poses, Scales(*scales)
    )
    nothing, picture, both = (
        flow(network, x, t.expand(2), text, given, poses)
        for text, given in ((EMPTY, None), (EMPTY, REFERENCE), (TEXT, REFERENCE))
    )
    wanted = nothing + scales[0] * (picture - nothing) + scales[1] * (both - picture)
    torch.testing.assert_close(ask(x, t), wanted, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_scales_of_one_are_a_single_pass(network: Any) -> None:
    passes = []
    hook = network.register_forward_pre_hook(lambda *given: passes.append(given))
    try:
        x, t = noise(1, 3, 4, 4, 6), torch.tensor(500.0)
        one = Reference(REFERENCE.latents[:1])
        for scales, count in (
            (Scales(), 1),
            (Scales(2, 2), 2),
            (Scales(1, 2), 2),
            (Scales(3, 2), 3),
        ):
            passes.clear()
            method.denoiser(network, TEXT, EMPTY, one, None, scales)(x, t)
            assert len(passes) == count, scales
        passes.clear()
        alone = method.denoiser(network, TEXT, EMPTY, None, None, Scales(5, 2))(x, t)
        assert len(passes) == 2
    finally:
        hook.remove()
    nothing, words = (flow(network, x, t.expand(1), text) for text in (EMPTY, TEXT))
    torch.testing.assert_close(alone, 2 * words - nothing, atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("sampler", ["unipc", "ddim"])
def test_it_is_sampled_and_another_picture_is_another_video(network: Any, sampler: str) -> None:
    def video(reference: Reference) -> Tensor:
        ask = method.denoiser(network, TEXT, EMPTY, reference, None, Scales(2, 2))
        return sample(ask, noise(1, 3, 4, 4, 6), make_scheduler(FLOW.config, sampler), 3)

    one, other = (Reference(REFERENCE.latents[row : row + 1]) for row in range(2))
    assert torch.equal(video(one), video(one))
    assert (video(one) - video(other)).abs().max() > 1e-2
