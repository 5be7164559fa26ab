"""Reference attention against attention written out, and against diffusers without a reference."""

import pytest
import torch
from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel
from torch import nn
from torch.nn import functional as F

from animateanywhere.methods.anycharv.reference_attention import (
    Features,
    enable_reference,
    read_features,
)


def unet(seed: int = 0) -> UNet2DConditionModel:
    torch.manual_seed(seed)
    return UNet2DConditionModel(
        sample_size=8, in_channels=5, out_channels=4, block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"), layers_per_block=1,
        attention_head_dim=2, norm_num_groups=4, cross_attention_dim=12,
    ).eval()  # fmt: skip


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = ((3, 5, 8, 8), (3, 5, 8, 8), (3, 7, 12))
    x, picture, text = (torch.randn(shape, generator=generator) for shape in shapes)
    return x, picture, text


@torch.no_grad()
def test_without_a_reference_nothing_changes(
    inputs: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    x, _, text = inputs
    plain, ours = unet(), unet()
    names = enable_reference(ours)
    assert len(names) == 7 and all(name.endswith("attn1") for name in names)
    assert torch.equal(plain(x, 5, text).sample, ours(x, 5, text).sample)


@torch.no_grad()
def test_each_layer_attends_to_itself_and_the_reference(
    inputs: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    """A hook sees what goes into each layer and out of it."""
    x, picture, text = inputs
    network = unet()
    names = enable_reference(network)
    features = read_features(network, picture, 0, text)
    assert set(features.layers) == set(names)
    seen = {}

    def look(name: str) -> object:
        def hook(layer: nn.Module, given: tuple[torch.Tensor], out: torch.Tensor) -> None:
            seen[name] = (layer, given[0], out)

        return hook

    layers = dict(network.named_modules())
    for name in names:
        layers[name].register_forward_hook(look(name))
    network(x, 5, text, cross_attention_kwargs={"reference": features})
    for name, (layer, own, out) in seen.items():
        context = torch.cat([own, features.layers[name]], 1)
        q, k, v = layer.to_q(own), layer.to_k(context), layer.to_v(context)
        q, k, v = (part.unflatten(-1, (layer.heads, -1)).transpose(1, 2) for part in (q, k, v))
        weights = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(-1)
        wanted = layer.to_out[0]((weights @ v).transpose(1, 2).flatten(2))
        torch.testing.assert_close(out, wanted, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_features_of_a_picture_are_those_of_a_plain_pass(
    inputs: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    _, picture, text = inputs
    plain, ours = unet(), unet()
    names = enable_reference(ours)
    seen: dict[str, torch.Tensor] = {}
    for name, layer in plain.named_modules():
        if name in names:
            layer.register_forward_hook(
                lambda _, given, out, name=name: seen.update({name: given[0]})
            )
    plain(picture, 0, text)
    found = read_features(ours, picture, 0, text)
    assert not found.record
    for name in names:
        assert torch.equal(found.layers[name], seen[name])


@torch.no_grad()
def test_a_video_attends_to_the_picture_in_each_frame(
    inputs: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    """Temporal layers that change nothing: each frame is as the image UNet makes it."""
    x, picture, text = inputs
    image = unet()
    adapter = MotionAdapter(
        block_out_channels=(8, 16), motion_layers_per_block=1, motion_num_attention_heads=2,
        motion_norm_num_groups=4, use_motion_mid_block=True,
    )  # fmt: skip
    for name, parameter in adapter.named_parameters():
        if ".proj_out." in name:
            nn.init.zeros_(parameter)
    video = UNetMotionModel.from_unet2d(image, adapter).eval()
    assert set(enable_reference(video)) == set(enable_reference(image))
    features = read_features(image, picture[:1], 0, text[:1])
    frames = image(
        x, 5, text[:1].expand(3, -1, -1),
        cross_attention_kwargs={"reference": features.repeated(3)},
    ).sample  # fmt: skip
    clip = video(
        x.transpose(0, 1)[None], 5, text[:1].expand(3, -1, -1),
        cross_attention_kwargs={"reference": features.repeated(3)},
    ).sample  # fmt: skip
    torch.testing.assert_close(clip[0].transpose(0, 1), frames, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_several_pictures_and_their_order(
    inputs: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    x, picture, text = inputs
    network = unet()
    enable_reference(network)
    one, two = (read_features(network, some, 0, text) for some in (picture, picture.flip(3)))

    def passed(features: Features | None) -> torch.Tensor:
        given = {"reference": features}
        result: torch.Tensor = network(x, 5, text, cross_attention_kwargs=given).sample
        return result

    def joined(*pictures: Features) -> Features:
        names = pictures[0].layers
        return Features({name: torch.cat([p.layers[name] for p in pictures], 1) for name in names})

    both, turned = passed(joined(one, two)), passed(joined(two, one))
    torch.testing.assert_close(both, turned, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(both, passed(one), atol=1e-4)
    assert not torch.allclose(passed(one), passed(two), atol=1e-4)
    # The same picture twice weighs more than once, beside the frame's own features
    assert not torch.allclose(passed(joined(one, one)), passed(one), atol=1e-5)
    kept = one.rows(torch.tensor([1, 1, 2]))
    assert (
        F.mse_loss(kept.layers[next(iter(kept.layers))][0], next(iter(one.layers.values()))[1]) == 0
    )
    with pytest.raises(KeyError):
        passed(Features({"other": torch.zeros(3, 1, 8)}))
