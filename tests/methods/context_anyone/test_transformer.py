"""Each mechanism of the network by itself, on a tiny one of Wan's classes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import WanTransformer3DModel
from diffusers.models.transformers.transformer_wan import WanAttention
from torch import Tensor

from animateanywhere.backbones.sources import from_folder
from animateanywhere.methods.context_anyone.attention import (
    EmphasizeAttention,
    OneWayAttention,
    attend,
)
from animateanywhere.methods.context_anyone.transformer import (
    CastTransformer,
    from_text_to_video,
    gap_rope,
)

WAN: dict[str, Any] = {
    "num_attention_heads": 2, "attention_head_dim": 12, "in_channels": 4, "out_channels": 4,
    "text_dim": 16, "freq_dim": 16, "ffn_dim": 32, "num_layers": 2, "patch_size": (1, 2, 2),
    "rope_max_seq_len": 64,
}  # fmt: skip


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def cast(trained: bool = True, **own: Any) -> CastTransformer:
    """A network; trained: with random values also where a new one has zeros."""
    torch.manual_seed(0)
    network = CastTransformer(**WAN | {"gap": 4} | own).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        if trained and not parameter.any():
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    return network


X, T, TEXT = noise(2, 4, 3, 4, 6, seed=2), torch.tensor([300, 900]), noise(2, 5, 16, seed=3)
REFERENCES, IMAGES = noise(2, 4, 2, 4, 6, seed=4), noise(2, 3, 8, seed=5)


@torch.no_grad()
@pytest.mark.parametrize("own", [{}, {"image_dim": 8, "pose_channels": 4}, {"one_way": False}])
@pytest.mark.parametrize("patch", [(1, 2, 2), (3, 1, 2)])
def test_without_a_reference_it_is_diffusers_network_bit_for_bit(
    own: dict[str, Any], patch: tuple[int, int, int]
) -> None:
    torch.manual_seed(0)
    wan = WanTransformer3DModel(**WAN | {"patch_size": patch}).eval().requires_grad_(False)
    network = from_text_to_video(wan, **own).eval().requires_grad_(False)
    assert torch.equal(network(X, T, TEXT).sample, wan(X, T, TEXT).sample)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(network(X, T, TEXT).sample, wan(X, T, TEXT).sample)


def test_what_is_new_has_no_effect_at_first() -> None:
    """But for self-attention, which sees the reference at once."""
    rich = cast(False, image_dim=8, pose_channels=4)
    plain = cast(False, emphasis=False)
    plain.load_state_dict(
        {name: value for name, value in rich.state_dict().items() if name in plain.state_dict()}
    )
    poses = noise(2, 4, 3, 4, 6, seed=6)
    new, old = rich(X, T, TEXT, IMAGES, REFERENCES, poses), plain(X, T, TEXT, None, REFERENCES)
    assert torch.equal(new.sample, old.sample) and torch.equal(new.references, old.references)
    trained = cast(image_dim=8, pose_channels=4)
    whole = trained(X, T, TEXT, IMAGES, REFERENCES, poses).sample
    for less in (
        {"encoder_hidden_states_image": None, "poses": poses},
        {"encoder_hidden_states_image": IMAGES, "poses": None},
    ):
        part = trained(X, T, TEXT, references=REFERENCES, **less).sample
        assert (part - whole).abs().max() > 1e-3, less


def test_the_reference_sees_neither_video_nor_time() -> None:
    network = cast(image_dim=8)
    one = network(X, T, TEXT, IMAGES, REFERENCES)
    other = network(noise(*X.shape, seed=9), T.flip(0), TEXT, IMAGES, REFERENCES)
    assert torch.equal(one.references, other.references)
    assert one.references.shape == REFERENCES.shape
    assert not torch.allclose(one.sample, other.sample, atol=1e-3)
    both_ways = cast(image_dim=8, one_way=False)
    one = both_ways(X, T, TEXT, IMAGES, REFERENCES)
    other = both_ways(noise(*X.shape, seed=9), T, TEXT, IMAGES, REFERENCES)
    assert not torch.allclose(one.references, other.references, atol=1e-3)


def test_another_picture_changes_the_video_by_each_way_alone() -> None:
    """In latents and in image tokens, and by Emphasize-Attention where self-attention is cut."""
    network = cast(image_dim=8)
    whole = network(X, T, TEXT, IMAGES, REFERENCES).sample
    for images, pictures in ((IMAGES.flip(0), REFERENCES), (IMAGES, REFERENCES.flip(0))):
        assert (network(X, T, TEXT, images, pictures).sample - whole).abs().max() > 1e-3
    for block in network.blocks:
        block.emphasis.processor = EmphasizeAttention()
        block.attn1.to_v.weight.zero_()
    whole = network(X, T, TEXT, None, REFERENCES).sample
    assert (network(X, T, TEXT, None, REFERENCES.flip(0)).sample - whole).abs().max() > 1e-3


def dense(attn: WanAttention, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Attention of (B, L, H, d) in plain matrices; mask: (L, S), 0 or -inf."""
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    weights = (q @ k.mT / q.shape[-1] ** 0.5 + mask).softmax(-1)
    return attn.to_out[0]((weights @ v).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """RoPE in complex numbers."""
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(
        pairs * torch.complex(cos[..., ::2], sin[..., ::2])
    ).flatten(-2)  # fmt: skip


def parts(attn: WanAttention, x: Tensor, context: Tensor) -> list[Tensor]:
    found = attn.norm_q(attn.to_q(x)), attn.norm_k(attn.to_k(context)), attn.to_v(context)
    return [one.unflatten(2, (attn.heads, -1)) for one in found]


def test_one_way_attention_is_that_of_a_dense_mask() -> None:
    network = cast()
    attn, x, n = network.blocks[0].attn1, noise(2, 30, 24), 12
    rope = gap_rope(network.rope, (3, 4, 6), 2, 4)
    mask = torch.zeros(30, 30)
    mask[:n, n:] = float("-inf")
    q, k, v = parts(attn, x, x)
    wanted = dense(attn, turned(q, *rope), turned(k, *rope), v, mask)
    found = OneWayAttention()(attn, x, rotary_emb=rope, references=n)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)
    open_ = dense(attn, turned(q, *rope), turned(k, *rope), v, torch.zeros(30, 30))
    torch.testing.assert_close(found[:, n:], open_[:, n:], atol=1e-6, rtol=1e-5)
    assert (found[:, :n] - open_[:, :n]).abs().max() > 1e-3


def test_emphasize_attention_goes_from_video_to_reference_with_an_empty_key() -> None:
    attn, video, reference = cast().blocks[0].emphasis, noise(2, 18, 24), noise(2, 12, 24, seed=1)
    q, k, v = parts(attn, video, reference)
    weights = (torch.einsum("blhd,bshd->bhls", q, k) / 12**0.5).exp()
    weights = weights / (1 + weights.sum(-1, keepdim=True))  # exp(0) of the empty key
    wanted = attn.to_out[0](torch.einsum("bhls,bshd->blhd", weights, v).flatten(2))
    torch.testing.assert_close(attn(video, reference), wanted, atol=1e-6, rtol=1e-5)


def test_products_that_train_in_bfloat16_are_the_same_attention() -> None:
    q, k, v = (noise(2, 7, 2, 12, seed=seed).bfloat16() for seed in range(3))
    found = attend(q, k[:, :5], v[:, :5])
    with torch.no_grad():
        wanted = attend(q, k[:, :5], v[:, :5])
    assert not torch.equal(found, wanted)  # the two ways round apart
    torch.testing.assert_close(found, wanted, atol=2e-2, rtol=2e-2)


def test_image_tokens_have_keys_and_values_of_their_own() -> None:
    attn = cast(image_dim=8).blocks[0].attn2
    x, text, images = noise(2, 30, 24), noise(2, 5, 24, seed=1), noise(2, 3, 24, seed=2)
    q, k, v = parts(attn, x, text)
    k_image = attn.norm_added_k(attn.add_k_proj(images)).unflatten(2, (2, -1))
    v_image = attn.add_v_proj(images).unflatten(2, (2, -1))
    none = torch.zeros(1)
    wanted = dense(attn, q, k, v, none) + dense(attn, q, k_image, v_image, none)
    found = attn(x, torch.cat([images, text], 1), images=3)
    torch.testing.assert_close(found, wanted - attn.to_out[0].bias, atol=1e-6, rtol=1e-5)


def test_the_gap_is_in_time_only_and_none_is_plain_rope() -> None:
    rope = cast().rope
    clip = rope(torch.empty(1, 1, 5, 4, 6))
    none = gap_rope(rope, (3, 4, 6), 2, 0)
    assert all(torch.equal(a, b) for a, b in zip(none, clip, strict=True))
    far = gap_rope(rope, (3, 4, 6), 2, 7)
    longer = rope(torch.empty(1, 1, 12, 4, 6))  # frames 0, 1 and 9, 10, 11
    kept = [0, 1, 9, 10, 11]
    for table, whole in zip(far, longer, strict=True):
        assert torch.equal(table.unflatten(1, (5, 6)), whole.unflatten(1, (12, 6))[:, kept])
    alone = gap_rope(rope, (3, 4, 6), 0, 7)  # without a reference there is nothing to part from
    assert all(
        torch.equal(a, b) for a, b in zip(alone, rope(torch.empty(1, 1, 3, 4, 6)), strict=True)
    )
    with pytest.raises(ValueError, match="positions end at 64, and this clip needs 65"):
        gap_rope(rope, (3, 4, 6), 2, 60)


def test_a_gap_moves_the_video_away_from_the_reference_alone() -> None:
    """RoPE is relative: a gap changes nothing within the video or the reference."""
    near, far = cast(gap=0), cast(gap=9)
    far.load_state_dict(near.state_dict())
    one, other = near(X, T, TEXT, None, REFERENCES), far(X, T, TEXT, None, REFERENCES)
    assert torch.equal(one.references, other.references)
    assert (one.sample - other.sample).abs().max() > 1e-4
    assert torch.equal(near(X, T, TEXT).sample, far(X, T, TEXT).sample)


def test_a_picture_stands_still_for_the_frames_of_a_patch() -> None:
    network = cast(patch_size=(3, 2, 2))
    out = network(X, T, TEXT, None, REFERENCES)
    assert out.sample.shape == X.shape and out.references.shape == REFERENCES.shape
    with pytest.raises(ValueError, match="no multiple of patches"):
        network(X[:, :, :2], T, TEXT)


def test_rows_are_independent_and_pictures_have_an_order_only_in_time() -> None:
    network = cast(image_dim=8)
    both = network(X, T, TEXT, IMAGES, REFERENCES)
    for row in range(2):
        cut = slice(row, row + 1)
        one = network(X[cut], T[cut], TEXT[cut], IMAGES[cut], REFERENCES[cut])
        torch.testing.assert_close(one.sample, both.sample[cut], atol=1e-5, rtol=1e-5)
    one = network(X, T, TEXT, IMAGES, REFERENCES[:, :, :1]).sample
    assert (one - both.sample).abs().max() > 1e-3  # the second picture is seen, too


def test_it_is_saved_and_loaded_by_the_conventions_of_diffusers(tmp_path: Path) -> None:
    network = cast(image_dim=8, pose_channels=4, gap=7, patch_size=(3, 2, 2))
    network.save_pretrained(tmp_path)
    again = from_folder(CastTransformer, tmp_path)
    assert (tmp_path / "diffusion_pytorch_model.safetensors").is_file()
    assert again.config.num_layers == 2 and again.config.gap == 7
    given = X, T, TEXT, IMAGES, REFERENCES, noise(*X.shape, seed=8)
    weights = again.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in network.state_dict().items())
    # Products depend on where weights lie in memory, in the last digit
    torch.testing.assert_close(again.eval()(*given).sample, network(*given).sample)


@pytest.mark.parametrize(
    ("own", "message"),
    [({"emphasis": False}, "emphasis"), ({"ffn_dim": 16}, "shape"), ({"num_layers": 1}, "blocks")],
)
def test_weights_of_another_network_are_refused(
    tmp_path: Path, own: dict[str, Any], message: str
) -> None:
    cast(**own).save_pretrained(tmp_path)
    cast().save_config(tmp_path)
    with pytest.raises((ValueError, RuntimeError), match=message):
        from_folder(CastTransformer, tmp_path)


def test_emphasis_begins_with_what_self_attention_has_learned() -> None:
    torch.manual_seed(0)
    block = from_text_to_video(WanTransformer3DModel(**WAN)).blocks[1]
    for name in ("to_q", "to_k", "to_v", "norm_q"):
        one, other = getattr(block.emphasis, name), getattr(block.attn1, name)
        assert torch.equal(one.weight, other.weight)
    assert not block.emphasis.to_out[0].weight.any()


def test_gradients_reach_every_parameter() -> None:
    network = cast(image_dim=8, pose_channels=4).train().requires_grad_(True)
    out = network(X, T, TEXT, IMAGES, REFERENCES, noise(*X.shape, seed=8))
    (out.sample.square().mean() + out.references.square().mean()).backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []
