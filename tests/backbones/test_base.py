import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from animateanywhere.backbones.base import base_config, encode_text, find_base, hash_of, load_base
from animateanywhere.backbones.create import bundle
from animateanywhere.backbones.create_tokenizer import init_text_encoder
from animateanywhere.backbones.sd_unet import widen_conv_in
from animateanywhere.backbones.vae import decode_latents, encode_frames, spatial_factor
from animateanywhere.core.errors import UsageError


@pytest.mark.parametrize(
    "config",
    [
        # SD 1.5's layout (its config.json but for the widths) with random weights
        {
            "block_out_channels": (32, 64, 128, 128), "attention_head_dim": 8,
            "cross_attention_dim": 96, "layers_per_block": 2, "act_fn": "silu",
            "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        },
        {
            "block_out_channels": (16, 32), "attention_head_dim": 2, "cross_attention_dim": 96,
            "layers_per_block": 1, "norm_num_groups": 8,
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        },
    ],
)  # fmt: skip
def test_the_widened_unet_is_bit_identical_at_step_0(config: dict[str, object]) -> None:
    torch.manual_seed(0)
    stock = UNet2DConditionModel(sample_size=16, in_channels=4, out_channels=4, **config).eval()  # type: ignore[arg-type]
    wide = UNet2DConditionModel(sample_size=16, in_channels=4, out_channels=4, **config).eval()  # type: ignore[arg-type]
    wide.load_state_dict(stock.state_dict())
    widen_conv_in(wide, 4)
    assert wide.config.in_channels == 8
    x, pose = torch.randn(2, 4, 16, 16), torch.randn(2, 4, 16, 16)
    text, t = torch.randn(2, 7, 96), torch.tensor([10, 900])
    with torch.no_grad():
        expected = stock(x, t, encoder_hidden_states=text).sample
        made = wide(torch.cat([x, pose], 1), t, encoder_hidden_states=text).sample
    assert torch.equal(made, expected)


def test_stable_diffusion_at_full_size_is_bit_identical_too() -> None:
    """860 M parameters, random: diffusers' defaults but for the four lines of SD 1.5's config."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            sample_size=64, in_channels=4, out_channels=4, cross_attention_dim=768
        )
    unet = unet.to_empty(device="cpu").eval()
    assert sum(p.numel() for p in unet.parameters()) == 859_520_964  # as runwayml's checkpoint
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter.uniform_(-0.03, 0.03, generator=generator)
        x, pose = torch.randn(2, 1, 4, 16, 16, generator=generator)
        text = torch.randn(1, 77, 768, generator=generator)
        expected = unet(x, 500, encoder_hidden_states=text).sample
        widen_conv_in(unet, 4)
        made = unet(torch.cat([x, pose], 1), 500, encoder_hidden_states=text).sample
    assert made.std() > 0 and torch.equal(made, expected)


def test_the_new_channels_learn(tiny_base: Path) -> None:
    unet = load_base(tiny_base).denoiser.requires_grad_(True)
    x = torch.randn(1, 8, 8, 8)
    unet(x, 5, encoder_hidden_states=torch.randn(1, 3, 32)).sample.square().mean().backward()
    gradient = unet.conv_in.weight.grad
    assert gradient is not None and gradient[:, 4:].abs().sum() > 0


@pytest.mark.parametrize("kind", ["dc", "kl", "tiny"])
def test_every_vae_takes_the_same_path(kind: str, tiny_base: Path) -> None:
    torch.manual_seed(0)
    if kind == "dc":
        vae = load_base(tiny_base).vae
    elif kind == "kl":
        vae = AutoencoderKL(
            block_out_channels=(8, 16), norm_num_groups=4, latent_channels=4,
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        ).eval()  # fmt: skip
    else:
        vae = AutoencoderTiny(
            encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8),
            num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1),
        ).eval()  # fmt: skip
    frames = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    latents = encode_frames(vae, frames, slice_size=2)
    side = 64 // spatial_factor(vae)
    assert latents.shape == (5, 4, side, side)
    torch.testing.assert_close(latents[3:4], encode_frames(vae, frames[3:4]), atol=1e-4, rtol=1e-4)
    made = decode_latents(vae, latents, slice_size=2)
    assert made.shape == frames.shape and made.dtype == np.uint8


def test_text_has_the_tokenizers_length(tiny_base: Path) -> None:
    base = load_base(tiny_base)
    assert encode_text(base, ["a man", "a woman on a beach"]).shape == (2, 48, 32)
    assert not torch.equal(*encode_text(base, ["a man", "a woman"]))


def test_any_word_can_be_spelled(tiny_base: Path) -> None:
    tokenizer = load_base(tiny_base).tokenizer
    ids = tokenizer("Żółw zebra, 42%!", add_special_tokens=False).input_ids
    assert tokenizer.unk_token_id not in ids


def test_the_bundled_form_is_half_and_loads(tiny_base: Path, tmp_path: Path) -> None:
    source = tmp_path / "base"
    shutil.copytree(tiny_base, source)
    (source / "perception").mkdir()
    bundle(source, tmp_path / "half")
    told = "".join(p.read_text() for p in (tmp_path / "half").glob("*/config.json"))
    assert str(tmp_path) not in told and str(source) not in told  # no path of this machine
    whole, half = load_base(source), load_base(tmp_path / "half")
    assert half.denoiser.dtype == torch.float32
    for mine, theirs in zip(half.denoiser.parameters(), whole.denoiser.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-3, rtol=1e-3)
    small = (tmp_path / "half" / "unet" / "diffusion_pytorch_model.safetensors").stat().st_size
    assert small < 0.6 * (source / "unet" / "diffusion_pytorch_model.safetensors").stat().st_size


@pytest.mark.parametrize("part", ["unet", "motion_adapter", "vae"])
def test_the_hash_is_of_the_weights(tiny_base: Path, tmp_path: Path, part: str) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_base, other)
    assert hash_of(other) == hash_of(tiny_base)
    path = other / part / "diffusion_pytorch_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert hash_of(other) != hash_of(tiny_base)


@pytest.mark.parametrize(
    ("file", "key", "value", "matters"),
    [
        ("scheduler/scheduler_config.json", "prediction_type", "epsilon", True),
        ("scheduler/scheduler_config.json", "image_beta_schedule", "linear", True),
        ("scheduler/scheduler_config.json", "_diffusers_version", "9", False),
        ("scheduler/scheduler_config.json", "new_option", None, False),
        ("vae/config.json", "scaling_factor", 0.5, True),
        ("motion_adapter/config.json", "norm_each_frame", True, True),
        ("unet/config.json", "_name_or_path", "elsewhere", False),
    ],
)
def test_the_hash_is_of_what_gives_weights_a_meaning(
    tiny_base: Path, tmp_path: Path, file: str, key: str, value: object, matters: bool
) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_base, other)
    config = json.loads((other / file).read_text())
    (other / file).write_text(json.dumps(config | {key: value}))
    assert (hash_of(other) != hash_of(tiny_base)) == matters


def test_a_base_knows_its_earlier_hash(tiny_base: Path) -> None:
    """Of version 0.1: of the files of three parts."""
    parts = ("unet/diffusion_pytorch_model", "motion_adapter/diffusion_pytorch_model",
             "text_encoder/model")  # fmt: skip
    known = "".join(
        hashlib.sha256((tiny_base / f"{part}.safetensors").read_bytes()).hexdigest()
        for part in parts
    )
    assert load_base(tiny_base).earlier_hash == hashlib.sha256(known.encode()).hexdigest()


def test_bad_bases_are_named(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="no base nowhere"):
        find_base("nowhere")
    with pytest.raises(
        UsageError, match="not on this machine yet: .*`aa base-train sd15-openpose`"
    ):
        find_base("sd15-openpose")
    with pytest.raises(UsageError, match="no base personalize-lora"):  # a recipe, of no base
        find_base("personalize-lora")
    with pytest.raises(UsageError, match=r"base\.toml"):
        find_base(tmp_path)
    for damage in ("missing", "truncated", "foreign"):
        broken = tmp_path / damage
        shutil.copytree(tiny_base, broken)
        weights = broken / "unet" / "diffusion_pytorch_model.safetensors"
        if damage == "missing":
            weights.unlink()
        elif damage == "truncated":
            weights.write_bytes(weights.read_bytes()[:1000])
        else:
            (broken / "vae" / "config.json").write_text('{"_class_name": "Other"}')
        with pytest.raises(UsageError, match="incomplete or damaged"):
            load_base(broken)


@pytest.mark.parametrize(("width", "heads"), [(192, 4), (96, 2)])
def test_fresh_text_states_say_this_word_after_that_word(width: int, heads: int) -> None:
    """Changing a word changes its own state and its neighbor's much, those further on little."""
    torch.manual_seed(0)
    encoder = CLIPTextModel(CLIPTextConfig(
        vocab_size=300, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2,
        num_attention_heads=heads, max_position_embeddings=48, bos_token_id=0, eos_token_id=1,
    )).eval()  # fmt: skip
    init_text_encoder(encoder)
    ids = torch.tensor([[0, *range(10, 34), *[1] * 23]])
    with torch.no_grad():
        before = encoder(ids).last_hidden_state[0]
        for place in (3, 20):
            other = ids.clone()
            other[0, place] = 99
            after = encoder(other).last_hidden_state[0]
            changed = (after - before).norm(dim=-1) / before.norm(dim=-1)
            assert changed[:place].max() == 0  # words are read from left to right
            assert changed[place] > 0.8 and changed[place + 1] > 0.5, changed
            assert changed[place + 2 :].max() < 0.5 * changed[place + 1], changed


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("fps = 8.0\nfps = 9.0", "damaged"),
        ("x = " + "[" * 3000, "damaged"),
        ("fps = 0.0", "fps cannot be 0.0"),
        ("fps = nan", "fps cannot be nan"),
        ("size = true", "size cannot be True"),
        ("frames = 16.0", "frames cannot be 16.0"),
        ("name = 3", "name cannot be 3"),
        ("aspects = [1]", "aspects cannot be"),
    ],
)
def test_a_damaged_base_toml_is_named(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text(text)
    with pytest.raises(UsageError, match=rf"base\.toml: {says}"):
        base_config(tmp_path)
