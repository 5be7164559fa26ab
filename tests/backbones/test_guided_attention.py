import logging

import pytest
import torch
import torch.nn.functional as F
from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel
from diffusers.models.attention_processor import Attention, AttnProcessor2_0

from animateanywhere.backbones.guided_attention import (
    GuidedAttention,
    Region,
    guide,
    guided_attention,
    pixel_region,
)

GAMMA = 0.1


def image_unet(seed=0):
    torch.manual_seed(seed)
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=12,
        attention_head_dim=2,
        norm_num_groups=4,
    ).eval()


def motion_unet():
    torch.manual_seed(1)
    adapter = MotionAdapter(
        block_out_channels=(8, 16),
        motion_layers_per_block=1,
        motion_num_attention_heads=2,
        motion_norm_num_groups=4,
    )
    return UNetMotionModel.from_unet2d(image_unet(), adapter).eval()


def inputs(rows, mask_rows=None, size=8, tokens=5):
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(rows, 4, size, size, generator=generator)
    text = torch.randn(rows, tokens, 12, generator=generator)
    mask = torch.rand(rows, 1, size, size, generator=generator) * 2 - 1
    token_region = torch.tensor([0, 1, 1, -1, 0.0]).repeat(rows, 1)
    return x, text, Region(mask, token_region)


def dense_attention(q, k, v, m_q, m_k, gamma):
    """The definition: an additive bias for every pair of a query and a key."""
    bias = torch.log(torch.tensor(gamma)) * -0.5 * m_q[:, None, :, None] * m_k[:, None, None, :]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


@pytest.mark.parametrize("gamma", [0.5, 0.1, 1e-3])
@pytest.mark.parametrize("d", [8, 40])
def test_appended_channel_equals_the_dense_bias(gamma, d):
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 4, 256, d).unbind()
    m = torch.rand(2, 256) * 2 - 1
    got = guided_attention(q, k, v, m, m, gamma)
    assert (got - dense_attention(q, k, v, m, m, gamma)).abs().max() < 1e-6
    tokens = torch.randint(-1, 2, (2, 77)).float()
    got = guided_attention(q, k[:, :, :77], v[:, :, :77], m, tokens, gamma)
    want = dense_attention(q, k[:, :, :77], v[:, :, :77], m, tokens, gamma)
    assert (got - want).abs().max() < 1e-6


def test_a_key_of_the_other_region_weighs_gamma_times():
    """Equal scores, one key each region: the weights are 1 and gamma over their sum."""
    q, k = torch.zeros(1, 1, 2, 8), torch.zeros(1, 1, 2, 8)
    v = torch.eye(2)[None, None]  # (1, 1, 2, 2): the output spells the weights
    v = F.pad(v, (0, 6))
    m = torch.tensor([[1.0, -1.0]])
    weights = guided_attention(q, k, v, m, m, GAMMA)[0, 0, :, :2]
    want = torch.tensor([[1, GAMMA], [GAMMA, 1]]) / (1 + GAMMA)
    torch.testing.assert_close(weights, want)


def test_rows_of_zeros_are_plain_attention():
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 4, 64, 16).unbind()
    m = torch.zeros(2, 64)
    m[1] = torch.rand(64)
    got = guided_attention(q, k, v, m, m, GAMMA)
    plain = F.scaled_dot_product_attention(q, k, v)
    assert (got[0] - plain[0]).abs().max() < 1e-6
    assert (got[1] - plain[1]).abs().max() > 1e-2


@pytest.mark.parametrize("make, rows", [(image_unet, 3), (motion_unet, 3)])
def test_off_is_bit_identical(make, rows, caplog):
    unet = make()
    x, text, region = inputs(rows)
    if isinstance(unet, UNetMotionModel):
        x = x.transpose(0, 1)[None]  # (1, C, F, h, w)
    given = {"cross_attention_kwargs": {"region": region}}
    with torch.no_grad(), caplog.at_level(logging.WARNING):
        stock = unet(x, 10, text).sample
        guide(unet, GAMMA)
        assert torch.equal(unet(x, 10, text).sample, stock)
        assert torch.equal(unet(x, 10, text, cross_attention_kwargs={"region": None}).sample, stock)
        guided = unet(x, 10, text, **given).sample
        assert (guided - stock).abs().max() > 1e-4
        guide(unet, 1.0)
        assert torch.equal(unet(x, 10, text, **given).sample, stock)
    assert "region" not in caplog.text


def test_neutral_rows_of_a_whole_unet_stay_plain():
    unet = image_unet()
    x, text, region = inputs(2)
    region.mask[0] = 0
    region.tokens[0] = 0
    with torch.no_grad():
        stock = unet(x, 10, text).sample
        guide(unet, GAMMA)
        guided = unet(x, 10, text, cross_attention_kwargs={"region": region}).sample
    assert (guided[0] - stock[0]).abs().max() < 1e-6
    assert (guided[1] - stock[1]).abs().max() > 1e-4


def test_only_spatial_attention_is_guided():
    unet = motion_unet()
    guide(unet, GAMMA)
    for name, layer in unet.named_modules():
        if isinstance(layer, Attention):
            kind = AttnProcessor2_0 if "motion_modules" in name else GuidedAttention
            assert type(layer.processor) is kind, name


def test_a_layer_of_a_unet_equals_its_dense_form():
    """The whole processor (projections, heads, output) against stock with a dense mask."""
    torch.manual_seed(0)
    layer = Attention(query_dim=16, cross_attention_dim=12, heads=2, dim_head=8)
    x, text, region = torch.randn(2, 16, 16), torch.randn(2, 5, 12), inputs(2, size=4)[2]
    m_q, m_k = pixel_region(region.mask, 16), region.tokens
    bias = -0.5 * torch.log(torch.tensor(GAMMA)) * m_q[:, :, None] * m_k[:, None, :]
    layer.set_processor(AttnProcessor2_0())
    want = layer(x, text, attention_mask=bias.repeat_interleave(2, dim=0))
    layer.set_processor(GuidedAttention(GAMMA))
    assert (layer(x, text, region=region) - want).abs().max() < 1e-6


def test_gradients_flow_through_both_kinds_of_attention():
    unet = image_unet().train()
    unet.enable_gradient_checkpointing()
    guide(unet, GAMMA)
    x, text, region = inputs(2)
    unet(x, 10, text, cross_attention_kwargs={"region": region}).sample.square().mean().backward()
    moved = [
        n
        for n, p in unet.named_parameters()
        if "attn" in n and n.endswith("to_q.weight") and p.grad is not None and p.grad.any()
    ]
    assert any("attn1" in n for n in moved) and any("attn2" in n for n in moved)
    assert all(p.grad.isfinite().all() for p in unet.parameters() if p.grad is not None)


def test_masks_reach_a_layer_by_area():
    mask = torch.full((1, 1, 4, 4), -1.0)
    mask[..., 0, 0] = 1
    assert pixel_region(mask, 16).flatten().tolist() == mask.flatten().tolist()
    assert pixel_region(mask, 4).tolist() == [[-0.5, -1, -1, -1]]
    assert pixel_region(mask, 1).tolist() == [[-0.875]]
    assert pixel_region(torch.zeros(1, 1, 5, 3), 6).shape == (1, 6)  # odd sizes halve upwards


def test_wrong_use_is_refused():
    with pytest.raises(ValueError, match="gamma"):
        guide(image_unet(), 0.0)
    with pytest.raises(ValueError, match="no spatial attention"):
        guide(torch.nn.Linear(2, 2), GAMMA)
    with pytest.raises(ValueError, match="halve"):
        pixel_region(torch.zeros(1, 1, 4, 4), 5)
