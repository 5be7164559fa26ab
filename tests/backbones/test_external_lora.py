"""LoRA files of other tools: exactly what they say, or refused with what they are."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig
from safetensors.torch import save_file
from torch import Tensor

from animateanywhere.backbones.base import load_base
from animateanywhere.backbones.external_lora import add_lora
from animateanywhere.backbones.personal_weights import FORMAT
from animateanywhere.core.errors import UsageError

LAYERS = [
    f"down_blocks.0.attentions.0.transformer_blocks.0.{layer}"
    for layer in ("attn1.to_q", "attn2.to_k", "attn2.to_out.0", "ff.net.2")
]


def weights(base: Any) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in base.denoiser.named_parameters()}


def factors(base: Any, rank: int = 4) -> dict[str, tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    shapes = {layer: base.denoiser.get_parameter(f"{layer}.weight").shape for layer in LAYERS}
    return {
        layer: (torch.randn(rank, inside, generator=generator),
                torch.randn(outside, rank, generator=generator))
        for layer, (outside, inside) in shapes.items()
    }  # fmt: skip


def kohya(layer: str, a: Tensor, b: Tensor, alpha: float) -> dict[str, Tensor]:
    name = f"lora_unet_{layer.replace('.', '_')}"
    return {f"{name}.lora_down.weight": a, f"{name}.lora_up.weight": b,
            f"{name}.alpha": torch.tensor(alpha)}  # fmt: skip


def assert_added(base: Any, before: dict[str, Tensor], factor: float, count: int = 4) -> None:
    pairs = factors(base)
    changed = {name for name, p in weights(base).items() if not torch.equal(p, before[name])}
    assert changed == {f"{layer}.weight" for layer in LAYERS[:count]}
    for layer in LAYERS[:count]:
        a, b = pairs[layer]
        wanted = before[f"{layer}.weight"] + factor * b @ a
        torch.testing.assert_close(base.denoiser.get_parameter(f"{layer}.weight"), wanted)


@pytest.mark.filterwarnings("ignore:While injecting")  # peft, of diffusers' own loading
@pytest.mark.parametrize("form", ["down", "A"])
def test_alpha_in_the_metadata_as_diffusers_writes_it(
    tiny_base: Path, tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Checked against diffusers itself, which saves and loads the same adapter."""
    base, file = load_base(tiny_base), tmp_path / "a.safetensors"
    names = {"down": ("lora.down", "lora.up"), "A": ("lora_A", "lora_B")}[form]
    tensors = {
        f"unet.{layer}.{name}.weight": factor
        for layer, pair in factors(base).items()
        for name, factor in zip(names, pair, strict=True)
    }
    config = LoraConfig(r=4, lora_alpha=2, target_modules=["to_q", "to_k", "to_out.0", "net.2"],
                        alpha_pattern={LAYERS[1]: 8}).to_dict()  # fmt: skip
    packed = {f"unet.{key}": list(value) if isinstance(value, set) else value
              for key, value in config.items()}  # fmt: skip
    packed["unet.of_a_newer_peft"] = True
    save_file(tensors, file, {"format": "pt", "lora_adapter_metadata": json.dumps(packed)})
    before = weights(base)
    add_lora(base, file)
    for layer, (a, b) in factors(base).items():
        factor = 2.0 if layer == LAYERS[1] else 0.5
        wanted = before[f"{layer}.weight"] + factor * b @ a
        torch.testing.assert_close(base.denoiser.get_parameter(f"{layer}.weight"), wanted)
    del packed["unet.of_a_newer_peft"]
    theirs: Any = UNet2DConditionModel.from_pretrained(tiny_base / "unet")
    theirs.load_lora_adapter(tensors, prefix="unet", metadata=packed)
    theirs.fuse_lora()
    theirs.unload_lora()
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(base.denoiser.get_parameter(name), parameter)
    assert "4 of 4 layers" in capsys.readouterr().err
    save_file(tensors, file, {"lora_adapter_metadata": "{"})
    with pytest.raises(UsageError, match="lora_adapter_metadata is damaged"):
        add_lora(base, file)


def test_layers_are_counted_and_others_named(
    tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, file = load_base(tiny_base), tmp_path / "a.safetensors"
    tensors: dict[str, Tensor] = {}
    for layer, (a, b) in factors(base).items():
        tensors |= kohya(layer, a, b, 2.0)
    save_file(tensors, file)
    before = weights(base)
    add_lora(base, file, 0.5)
    assert_added(base, before, 0.25)
    said = capsys.readouterr().err
    assert "4 of 4 layers of a LoRA for a UNet" in said and "ignored" not in said

    base = load_base(tiny_base)  # one layer elsewhere, one of another shape, and unknown tensors
    more = kohya("down_blocks.9.attentions.0.transformer_blocks.0.attn1.to_q", a, b, 2.0)
    more |= kohya(LAYERS[3], torch.zeros(4, 7), torch.zeros(5, 4), 2.0)
    more |= {"bundle_emb.sks": torch.zeros(3), "lora_te_x.lora_down.weight": torch.zeros(2, 2)}
    save_file(tensors | more, file)
    add_lora(base, file)
    assert_added(base, before, 0.5, 3)
    said = " ".join(capsys.readouterr().err.split())
    assert "3 of 5 layers" in said and "2 layers that the base does not have" in said
    for name in ("down_blocks.9", "bundle_emb.sks", "text encoder are ignored"):
        assert name in said

    few = {key: t for key, t in tensors.items() if "to_q" in key} | more
    save_file(few, file)
    base = load_base(tiny_base)
    with pytest.raises(UsageError, match=r"a LoRA for a UNet.*: 1 of 3 layers fit, such as down"):
        add_lora(base, file)
    after = weights(base)
    assert all(torch.equal(after[name], before[name]) for name in before)


def pair(name: str, width: int = 8) -> dict[str, Tensor]:
    return {f"{name}.lora_down.weight": torch.ones(2, width),
            f"{name}.lora_up.weight": torch.ones(8, 2)}  # fmt: skip


ATTENTION = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"


@pytest.mark.parametrize(
    "kind, names",
    [
        ("Stable Diffusion XL", pair(ATTENTION, 2048)),
        ("Stable Diffusion 2", pair(ATTENTION, 1024)),
        ("Stable Diffusion 1", pair(ATTENTION, 768)),
        ("Stable Diffusion 1", pair("lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_v",
                                    768)),
        ("Flux", pair("lora_unet_double_blocks_0_img_attn_proj")),
        ("Flux", pair("transformer.single_transformer_blocks.3.attn.to_q")),
        ("Wan", pair("diffusion_model.blocks.0.self_attn.q")),
        ("Wan", pair("lora_unet_blocks_0_cross_attn_k")),
        ("Stable Diffusion 3", pair("transformer.transformer_blocks.0.attn.add_q_proj")),
        ("Qwen-Image", pair("transformer.transformer_blocks.0.img_mlp.net.2")),
        ("a text encoder alone", pair("lora_te_text_model_encoder_layers_0_mlp_fc1")),
        ("LoHa", {f"{ATTENTION}.hada_w1_a": None}),
        ("LoKr", {f"{ATTENTION}.lokr_w1": None}),
        ("DoRA", pair(ATTENTION) | {f"{ATTENTION}.dora_scale": None}),
        ("OFT", {f"{ATTENTION}.oft_blocks": None}),
        ("Tucker", pair(ATTENTION) | {f"{ATTENTION}.lora_mid.weight": None}),
        ("a complete checkpoint", {"model.diffusion_model.input_blocks.0.0.weight": None}),
        ("a VAE", {"encoder.conv_in.weight": None, "decoder.up_blocks.0.x.weight": None}),
        ("textual inversion", {"emb_params": None}),
        ("textual inversion", {"<sks>": None}),
        ("a ControlNet", {"controlnet_cond_embedding.conv_in.weight": None}),
        ("a motion module", {"down_blocks.0.motion_modules.0.norm.weight": None}),
        ("an IP-Adapter", {"image_proj.proj.weight": None}),
        ("the weights of a whole UNet", {"down_blocks.0.resnets.0.conv1.weight": None}),
        ("the weights of a text encoder", {"text_model.encoder.layers.0.mlp.fc1.weight": None}),
        ("the weights of a whole transformer", {"blocks.0.self_attn.q.weight": None}),
        ("no LoRA", {}),
    ],
)  # fmt: skip
def test_other_files_are_refused_with_what_they_are(
    tiny_base: Path, tmp_path: Path, kind: str, names: dict[str, Tensor | None]
) -> None:
    base, file = load_base(tiny_base), tmp_path / "a.safetensors"
    tensors = {key: torch.ones(2, 2) if t is None else t for key, t in names.items()}
    save_file(tensors, file)
    before = weights(base)
    with pytest.raises(UsageError) as caught:
        add_lora(base, file)
    assert kind in str(caught.value) and "not a LoRA for base tiny" in str(caught.value)
    assert "\n" not in str(caught.value) and str(file) in str(caught.value)
    assert all(torch.equal(p, before[name]) for name, p in weights(base).items())


def test_values_and_files_that_are_damaged_are_refused(tiny_base: Path, tmp_path: Path) -> None:
    base, file = load_base(tiny_base), tmp_path / "a.safetensors"
    for value in (float("nan"), float("inf")):
        a, b = factors(base)[LAYERS[0]]
        save_file(kohya(LAYERS[0], a, torch.full_like(b, value), 2.0), file)
        with pytest.raises(UsageError, match="lora_up.weight is not finite"):
            add_lora(base, file)
    whole = file.read_bytes()
    for data in (whole[:-1], whole[:40], b"", b"\xff" * 16, (1 << 60).to_bytes(8, "little") + b"{"):
        file.write_bytes(data)
        with pytest.raises(UsageError, match="not readable as safetensors"):
            add_lora(base, file)
    torch.save({"x": torch.ones(2)}, tmp_path / "a.pt")
    with pytest.raises(UsageError, match="not readable as safetensors .* can run code"):
        add_lora(base, tmp_path / "a.pt")


@pytest.mark.parametrize("alpha", [2, None])
def test_files_of_peft(
    tiny_base: Path, tmp_path: Path, alpha: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their alpha is in a file beside them; without it, a warning says so."""
    base, file = load_base(tiny_base), tmp_path / "adapter_model.safetensors"
    tensors = {}
    for layer, (a, b) in factors(base).items():
        name = f"base_model.model.{layer}"
        tensors |= {f"{name}.lora_A.weight": a, f"{name}.lora_B.weight": b}
    save_file(tensors, file)
    if alpha is not None:
        LoraConfig(r=4, lora_alpha=alpha, target_modules=["to_q"]).save_pretrained(tmp_path)
    before = weights(base)
    add_lora(base, file)
    assert_added(base, before, 1.0 if alpha is None else alpha / 4)
    shown = " ".join(capsys.readouterr().err.split())
    assert ("adapter_config.json: missing" in shown) == (alpha is None)


def test_values_of_8_bits(tiny_base: Path, tmp_path: Path) -> None:
    """Floats are read; whole numbers need a scale that nothing here knows."""
    base, file = load_base(tiny_base), tmp_path / "a.safetensors"
    tensors = {}
    for layer, (a, b) in factors(base).items():
        tensors |= kohya(layer, a, b, 4.0)
    save_file({key: t.to(torch.float8_e4m3fn) for key, t in tensors.items()}, file)
    before = weights(base)
    add_lora(base, file)
    changed = {name for name, p in weights(base).items() if not torch.equal(p, before[name])}
    assert changed == {f"{layer}.weight" for layer in LAYERS}
    save_file({key: t.to(torch.int8) for key, t in tensors.items()}, file)
    with pytest.raises(UsageError, match=r"is quantized \(torch.int8\)"):
        add_lora(base, file)


def test_a_sum_that_overflows_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    base, file = load_base(tiny_base), tmp_path / "a.safetensors"
    a, b = factors(base)[LAYERS[0]]
    save_file(kohya(LAYERS[0], 1e30 * a, 1e30 * b, 4.0), file)
    with pytest.raises(UsageError, match=r"attn1.to_q \+ LoRA is not finite"):
        add_lora(base, file)


def test_folders_and_personal_weights_are_named(tiny_base: Path, tmp_path: Path) -> None:
    base, file = load_base(tiny_base), tmp_path / "personal.safetensors"
    with pytest.raises(UsageError, match="is a folder: give a file$"):
        add_lora(base, tmp_path)
    save_file({"token_embedding": torch.zeros(1, 32)}, file, {"format": FORMAT})
    with pytest.raises(UsageError, match="give it with --weights"):
        add_lora(base, file)
