"""Apple's GPU (MPS) has no float64. The CPU stands in for it: nothing on the way of a training step
and of sampling may be float64."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from animateanywhere.backbones.base import encode_poses, encode_text, latent_shape, load_base
from animateanywhere.backbones.vae import decode_latents, encode_frames
from animateanywhere.diffusion.sampling import SAMPLERS
from animateanywhere.methods.animate_anywhere import method
from animateanywhere.methods.animate_anywhere.batch import Batch
from animateanywhere.methods.animate_anywhere.generation import Sampling, render_latents
from animateanywhere.methods.animate_anywhere.settings import Loss
from animateanywhere.training.loop import fit
from animateanywhere.training.stage import Stage


class FloatsOf64Bits(TorchDispatchMode):
    """Records the operations that give or take them.

    Tables of NumPy's come in float64 on the CPU (`lift_fresh`); a copy in another dtype is their
    way to a device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        tensors = tree_leaves(out if name == "_to_copy" else (out, args))
        if name != "lift_fresh" and any(
            isinstance(some, Tensor) and some.dtype in (torch.float64, torch.complex128)
            for some in tensors
        ):
            self.found.append(name)
        return out


@contextmanager
def no_float64() -> Iterator[None]:
    with FloatsOf64Bits() as mode:
        yield
    assert mode.found == []


def test_float64_is_seen() -> None:
    with pytest.raises(AssertionError, match="_to_copy"), no_float64():
        torch.ones(2).double()
    with pytest.raises(AssertionError, match="mul"), no_float64():
        torch.from_numpy(np.ones(2)).to("cpu") * 2
    with no_float64():
        torch.from_numpy(np.ones(2)).to("cpu", torch.float32) * 2


@pytest.fixture(params=["tiny_base", "tiny_wan"])
def base(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AA_DEVICE", "cpu")
    return load_base(request.getfixturevalue(request.param))


def test_a_training_step_has_no_float64(base: Any, pictures: Any, tmp_path: Path) -> None:
    network = method.build(base, Loss(), video=True)
    with no_float64():
        latents = encode_frames(base.vae, pictures(5), clip=True)
        poses = encode_poses(base, pictures(5), clip=True)
        with torch.no_grad():
            text = encode_text(base, ["a man"])

        def loss(net: Any, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
            batch = Batch(latents[None], poses[None], text)
            return method.loss(base.family, net, batch, generator, base.scheduler, Loss())

        fit(network, Stage("step", "image", 1, ema=0.9), loss, tmp_path, seed=0)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_sampling_has_no_float64(base: Any, pictures: Any, sampler: str) -> None:
    network = method.build(base, Loss(guide=False), video=True).eval()
    if sampler == "lcm" and base.packs_clips:
        pytest.skip("not for a flow")
    with no_float64():
        poses = encode_poses(base, pictures(5), clip=True)
        latents = render_latents(base, network, "a man", poses, 0, Sampling(4.0, 2, sampler))
        assert latents.shape[1:] == latent_shape(base)
        decode_latents(base.vae, latents, clip=True)
