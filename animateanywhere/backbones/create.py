"""A new base's parts: built from a recipe, or taken from folders and hubs and widened for poses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    ControlNetModel,
    MotionAdapter,
    UNet2DConditionModel,
    WanVACETransformer3DModel,
)
from transformers import CLIPTextModel

from animateanywhere.backbones.base import KINDS, NETWORKS, load_base, load_config, write_base_toml
from animateanywhere.backbones.create_tokenizer import clip_tokenizer, prime, t5_tokenizer
from animateanywhere.backbones.sd_unet import widen_conv_in
from animateanywhere.backbones.sources import part_of
from animateanywhere.backbones.spec import Model
from animateanywhere.backbones.vae import VAES
from animateanywhere.backbones.wan_vace import LENGTH
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import folder_aside

# What a fresh ControlNet takes from its UNet's config
LED_BY = (
    "in_channels", "block_out_channels", "down_block_types", "layers_per_block", "norm_num_groups",
    "cross_attention_dim", "attention_head_dim",
)  # fmt: skip


def create_base(model: Model, out: Path, captions: list[str], seed: int = 0) -> None:
    """Make the parts of a base that `out` lacks, in diffusers layout.

    A part with `from` comes from that folder or hub name (`subfolder` names the part in it);
    otherwise it is built from its config with fresh weights. The UNet's conv_in is widened for the
    pose latents here, so that an untrained base equals the model it came from; not where a
    ControlNet brings the pose.
    """
    torch.manual_seed(seed)  # diffusers initializes from the global generator
    of_wan = bool(model.transformer)
    kinds = {name: pair[of_wan] for name, pair in KINDS.items()}
    if not (out / "tokenizer").is_dir():
        tokenizer = _tokenizer(kinds["tokenizer"], model.text_encoder, captions, of_wan)
        save_part(tokenizer, out / "tokenizer")
    if not (out / "text_encoder").is_dir():
        text_encoder = part_of(kinds["text_encoder"], model.text_encoder, "text_encoder")
        if isinstance(text_encoder, CLIPTextModel) and "from" not in model.text_encoder:
            prime(text_encoder)
        save_part(text_encoder, out / "text_encoder")
    if not (out / "vae").is_dir():
        kind = VAES.get(model.vae.get("_class_name", "AutoencoderKL"))
        if kind is None:
            raise UsageError(f"model.vae: _class_name must be one of {', '.join(VAES)}")
        save_part(part_of(kind, model.vae, "vae"), out / "vae")
    if not (out / "scheduler").is_dir():
        save_part(part_of(kinds["scheduler"], model.scheduler, "scheduler"), out / "scheduler")
    if of_wan:
        if not (out / "transformer").is_dir():
            part = part_of(WanVACETransformer3DModel, model.transformer, "transformer")
            save_part(part, out / "transformer")
        return
    if not (out / "unet").is_dir():
        channels = load_config(out / "vae")["latent_channels"]
        config = {"in_channels": channels, "out_channels": channels, **model.unet}
        table = model.unet if "from" in model.unet else config
        unet = part_of(UNet2DConditionModel, table, "unet")
        if not model.controlnet:
            widen_conv_in(unet, channels)
        save_part(unet, out / "unet")
    if model.controlnet and not (out / "controlnet").is_dir():
        shapes = load_config(out / "unet")
        config = {name: shapes[name] for name in LED_BY if name in shapes}
        save_part(part_of(ControlNetModel, config | model.controlnet, ""), out / "controlnet")
    if not (out / "motion_adapter").is_dir():
        adapter = part_of(MotionAdapter, model.motion_adapter, "")
        if "from" not in model.motion_adapter:
            silence(adapter)
        save_part(adapter, out / "motion_adapter")


def _tokenizer(kind: Any, table: dict[str, Any], captions: list[str], of_wan: bool) -> Any:
    """The one of where the text encoder is from, or one of its kind trained on the captions."""
    if "from" in table:
        tokenizer = part_of(kind, {"from": table.get("config", table["from"])}, "tokenizer")
        if of_wan:
            tokenizer.model_max_length = LENGTH  # UMT5's own knows no end
        return tokenizer
    size = table.get("vocab_size", 1200)
    if of_wan:
        return t5_tokenizer(captions, size, LENGTH)
    return clip_tokenizer(captions, size, table.get("max_position_embeddings", 77))


def save_part(part: Any, folder: Path, half: bool = False) -> None:
    """Save one part whole or not at all; `half` stores float16."""
    with folder_aside(folder) as aside:
        if half:
            part = part.half()
        part.save_pretrained(aside)
        if half:
            part.float()


def silence(adapter: MotionAdapter) -> None:
    """Zero the last layer of each fresh motion module, as AnimateDiff does and diffusers does not:
    put into an image UNet, it changes nothing at first."""
    for name, parameter in adapter.named_parameters():
        if ".proj_out." in name:
            torch.nn.init.zeros_(parameter)


def bundle(base: Path, out: Path) -> None:
    """Copy a finished base in half precision; of its training, only logs and scores come along."""
    parts = load_base(base)
    for name in NETWORKS:
        if getattr(parts, name) is None:
            continue
        save_part(getattr(parts, name), out / name, half=True)
        about = out / name / "config.json"
        settings = json.loads(about.read_text(encoding="utf-8"))
        settings.pop("_name_or_path", None)  # a folder of the machine it was trained on
        about.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    for name in ("tokenizer", "scheduler", "perception"):
        shutil.copytree(base / name, out / name, dirs_exist_ok=True)
    for record in (*base.glob("training/*/log.jsonl"), *base.glob("training/*/done.json")):
        target = out / record.relative_to(base)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(record, target)
    write_base_toml(out, {key: value for key, value in parts.config.items() if key != "hash"})
