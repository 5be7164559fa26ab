"""Bases of one .safetensors file, as fine-tunes of Stable Diffusion are passed on."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from animateanywhere.backbones.base import load_base
from animateanywhere.backbones.create import save_part, with_checkpoint
from animateanywhere.backbones.create_tokenizer import clip_tokenizer
from animateanywhere.backbones.spec import Model
from animateanywhere.cli.main import main
from animateanywhere.commands.base_train import base_train
from animateanywhere.core.errors import UsageError
from animateanywhere.methods.animate_anywhere.settings import Recipe

LAYERS = 2  # of a block of the UNet
RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
VAE = {
    "conv_shortcut": "nin_shortcut", "conv_norm_out": "norm_out", "group_norm": "norm",
    "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out",
    "mid_block.resnets.0": "mid.block_1", "mid_block.resnets.1": "mid.block_2",
    "mid_block.attentions.0": "mid.attn_1", "downsamplers.0": "downsample",
    "upsamplers.0": "upsample", "down_blocks": "down", "resnets": "block",
}  # fmt: skip


def original_unet(name: str, blocks: int) -> str:
    """The name of a tensor in CompVis' UNet, whose blocks are counted through."""
    for ours, theirs in {
        "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
        "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
    }.items():  # fmt: skip
        if name.startswith(ours):
            return name.replace(ours, theirs)
    if name.startswith("mid_block"):
        _, kind, number, *rest = name.split(".")
        place = "1" if kind == "attentions" else str(2 * int(number))
        where = f"middle_block.{place}"
    else:
        way, block, kind, number, *rest = name.split(".")
        first, each = (1, LAYERS + 1) if way == "down_blocks" else (0, LAYERS + 1)
        side = "input_blocks" if way == "down_blocks" else "output_blocks"
        at = first + int(block) * each
        if kind == "downsamplers":
            return ".".join([side, str(at + LAYERS), "0", "op", *rest[1:]])
        if kind == "upsamplers":  # behind the attention, where there is one
            last = 2 if int(block) else 1
            return ".".join([side, str(at + LAYERS), str(last), *rest])
        where = f"{side}.{at + int(number)}.{'1' if kind == 'attentions' else '0'}"
    if kind == "resnets":
        rest[0] = RESNET[rest[0]]
    return ".".join([where, *rest])


def original_vae(name: str, value: Tensor, blocks: int) -> tuple[str, Tensor]:
    for ours, theirs in VAE.items():
        name = name.replace(ours, theirs)
    parts = name.split(".")
    if parts[1] == "up_blocks":  # counted from the other end
        parts[1:3] = ["up", str(blocks - 1 - int(parts[2]))]
    attention = "attn_1" in parts and parts[-1] == "weight" and value.ndim == 2
    return ".".join(parts), value[..., None, None] if attention else value


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, nn.Module]]:
    """A folder in diffusers' layout of another model's weights, and the parts of a file."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("original")

    def made() -> dict[str, nn.Module]:
        return {
            "unet": UNet2DConditionModel(
                sample_size=8, block_out_channels=(32, 64), layers_per_block=LAYERS,
                down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
                up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), cross_attention_dim=32,
                attention_head_dim=8,
            ),
            "vae": AutoencoderKL(
                block_out_channels=(32, 64), down_block_types=("DownEncoderBlock2D",) * 2,
                up_block_types=("UpDecoderBlock2D",) * 2, layers_per_block=1,
            ),
            "text_encoder": CLIPTextModel(
                CLIPTextConfig(vocab_size=600, hidden_size=32, intermediate_size=64,
                               num_hidden_layers=2, num_attention_heads=4,
                               max_position_embeddings=32)
            ),
        }  # fmt: skip

    for name, part in made().items():
        save_part(part, folder / name)
    save_part(
        clip_tokenizer(["a man on a beach"], 600, 32),
        folder / "tokenizer",
    )
    return folder, made()


@pytest.fixture
def file(parts: tuple[Path, dict[str, nn.Module]], tmp_path: Path) -> Path:
    _, own = parts
    tensors = {
        f"model.diffusion_model.{original_unet(name, 2)}": value
        for name, value in own["unet"].state_dict().items()
    }
    for name, value in own["vae"].state_dict().items():
        theirs, value = original_vae(name, value, 2)
        tensors[f"first_stage_model.{theirs}"] = value
    for name, value in own["text_encoder"].state_dict().items():
        name = name.removeprefix("text_model.")
        tensors[f"cond_stage_model.transformer.text_model.{name}"] = value
    place = tmp_path / "fine tune é.safetensors"
    save_file({name: value.contiguous() for name, value in tensors.items()}, place)
    return place


def recipe_of(folder: Path) -> Recipe:
    source = {"from": str(folder)}
    return Recipe(
        "led",
        model=Model(
            size=16, frames=4, license="mit", vae=source, unet=source, text_encoder=source,
            controlnet={"conditioning_embedding_out_channels": [16, 16]},
            motion_adapter={"block_out_channels": [32, 64], "motion_norm_num_groups": 8,
                            "motion_num_attention_heads": 2},
        ),
    )  # fmt: skip


@pytest.mark.parametrize("where", ["folder", "cache"])
def test_a_base_is_gathered_from_one_file(
    where: str, parts: tuple[Path, dict[str, nn.Module]], file: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder, own = parts
    recipe = recipe_of(folder)
    if where == "cache":  # of a hub that does not answer
        cache = tmp_path / "cache" / "models--sd--one"
        shutil.copytree(folder, cache / "snapshots" / "abc")
        (cache / "refs").mkdir()
        (cache / "refs" / "main").write_text("abc")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
        recipe = recipe_of(Path("sd/one"))
    made = base_train(recipe, tmp_path / "base", file)
    assert "config and tokenizer of" in capsys.readouterr().err.replace("\n", " ")
    base = load_base(made)
    assert base.config["name"] == "fine tune é" and not base.config["license"]
    for name, part in own.items():
        there = dict(base.parts[name].named_parameters())
        assert there.keys() == dict(part.named_parameters()).keys()
        for tensor, wanted in part.named_parameters():
            assert torch.equal(there[tensor], wanted), f"{name} {tensor}"
    texts = [(path, path.read_text()) for path in (made / "unet").glob("*.json")]
    assert all(str(tmp_path) not in text for _, text in texts)


def test_a_file_that_is_not_a_checkpoint_is_rejected(
    parts: tuple[Path, dict[str, nn.Module]], file: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    model = recipe_of(parts[0]).model
    pickled, torn, lora = (tmp_path / name for name in ("a.ckpt", "b.safetensors", "c.safetensors"))
    pickled.write_bytes(b"x")
    torn.write_bytes(file.read_bytes()[:1000])
    save_file({"lora_unet_x.lora_up.weight": torch.zeros(1)}, lora)
    for wrong, why in (
        (pickled, "not a .safetensors"),
        (torn, "cannot read"),
        (lora, "not a complete"),
    ):
        with pytest.raises(UsageError, match=why):
            with_checkpoint(model, wrong)
    with pytest.raises(UsageError, match="needs a recipe that loads"):
        with_checkpoint(replace(model, vae={}), file)
    monkeypatch.chdir(tmp_path)
    assert main(["base-train", "mini", "--checkpoint", str(file)]) == 2
    assert "needs a recipe that loads" in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "runs" / "bases").exists()


def test_a_file_of_other_shapes_is_rejected(
    parts: tuple[Path, dict[str, nn.Module]], file: Path, tmp_path: Path
) -> None:
    tensors = load_file(file)
    name = "model.diffusion_model.middle_block.0.in_layers.2.weight"
    tensors[name] = tensors[name][:, :5].contiguous()
    wrong = tmp_path / "wrong.safetensors"
    save_file(tensors, wrong)
    with pytest.raises(UsageError, match="cannot load unet from"):
        base_train(recipe_of(parts[0]), tmp_path / "base", wrong)


def test_a_checkpoint_without_some_weights_is_rejected(
    parts: tuple[Path, dict[str, nn.Module]], file: Path, tmp_path: Path
) -> None:
    for name, part in (
        ("model.diffusion_model.middle_block.0.in_layers.2.weight", "unet"),
        ("first_stage_model.encoder.conv_in.weight", "vae"),
        ("cond_stage_model.transformer.text_model.final_layer_norm.weight", "text_encoder"),
    ):
        tensors = load_file(file)
        del tensors[name]
        save_file(tensors, tmp_path / "lacking.safetensors")
        with pytest.raises(UsageError, match=f"cannot load {part} from .*missing.*weight"):
            base_train(recipe_of(parts[0]), tmp_path / part, tmp_path / "lacking.safetensors")
