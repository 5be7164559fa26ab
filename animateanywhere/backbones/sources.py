"""Parts of a base taken from elsewhere: folders in diffusers' layout, a hub, one file."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler, UniPCMultistepScheduler, WanVACETransformer3DModel
from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    T5Tokenizer,
    UMT5Config,
    UMT5EncoderModel,
)

from animateanywhere.backbones.base import NETWORKS
from animateanywhere.backbones.spec import Model
from animateanywhere.core.errors import UsageError
from animateanywhere.core.messages import say

# What tells a checkpoint with UNet, VAE and text encoder of Stable Diffusion 1.5's kind
CHECKPOINT = {
    "model.diffusion_model.input_blocks.0.0.weight", "first_stage_model.decoder.conv_in.weight",
    "cond_stage_model.transformer.text_model.embeddings.position_embedding.weight",
}  # fmt: skip
VACE = "vace_patch_embedding.weight"  # and one of Wan VACE's kind, whatever stands before it
WITHOUT_WEIGHTS = (DDPMScheduler, UniPCMultistepScheduler, CLIPTokenizer, T5Tokenizer)
LARGE = (UMT5EncoderModel, WanVACETransformer3DModel)  # kept as published, in half precision


def part_of(kind: Any, table: dict[str, Any], subfolder: str) -> Any:
    """A part of class `kind`: from where its table of a recipe says, else fresh by its config.

    Raises UsageError where it cannot be had.
    """
    if "config" in table:
        try:
            return _of_checkpoint(kind, table, subfolder)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            first = str(error).strip().splitlines()[0]
            raise UsageError(f"no {subfolder} in {table['from']}: {first}") from None
    if "from" in table:
        # Only safetensors: pickle can run code.
        options = {} if kind in WITHOUT_WEIGHTS else {"use_safetensors": True, **_dtype(kind)}
        place = table.get("subfolder", subfolder)
        try:
            return kind.from_pretrained(table["from"], subfolder=place, **options)
        except (OSError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise UsageError(
                f"cannot load {place or 'the part'} of {table['from']}: {first}"
            ) from None
    config = {key: value for key, value in table.items() if key != "_class_name"}
    try:
        if kind is CLIPTextModel:
            return CLIPTextModel(CLIPTextConfig(**config, bos_token_id=0, eos_token_id=1))
        if kind is UMT5EncoderModel:
            return UMT5EncoderModel(UMT5Config(**config))
        return kind(**config)
    except (TypeError, ValueError) as error:
        raise UsageError(f"model.{subfolder or 'motion_adapter'}: {error}") from None


def tell_fetched(model: Model, out: Path) -> None:
    """Say which files of a hub `create_base` will fetch, and how large they are; nothing where the
    hub cannot be asked (what is kept from before needs none)."""
    from huggingface_hub import HfApi

    for part in NETWORKS:
        table = getattr(model, part)
        source = table.get("from")
        if "config" in table:
            say(f"{part}: {source}; its shapes and words as {table['config']}")
        if not source or Path(source).exists() or (out / part).is_dir():
            continue
        folder = table.get("subfolder", "" if part in ("motion_adapter", "controlnet") else part)
        with suppress(Exception):  # the fetching itself says what is wrong
            files = HfApi().list_repo_tree(source, folder or None)
            sizes = {f.path: getattr(f, "size", 0) for f in files}
            for path in _weights(sizes):
                say(f"{part}: {source}/{path}, {sizes[path] / 1e9:.2f} GB")


def of_checkpoint(model: Model, file: Path) -> Model:
    """The same base with what one file holds, as fine-tunes are passed on: UNet, text encoder and
    VAE of Stable Diffusion, or the transformer of Wan VACE. Shapes and tokenizer are those of what
    the recipe takes them from.

    Raises UsageError for a file that is none, and for a recipe that takes them from nowhere.
    """
    if file.suffix != ".safetensors":
        raise UsageError(f"{file} is no .safetensors: other files can run code, and are not read")
    try:
        with safe_open(file, "pt") as opened:
            names = set(opened.keys())
    except (OSError, SafetensorError) as error:
        raise UsageError(f"cannot read {file}: {str(error).splitlines()[0]}") from None
    if model.transformer and not any(name.endswith(VACE) for name in names):
        raise UsageError(f"{file} is no transformer of Wan 2.1 VACE")
    if not model.transformer and not names >= CHECKPOINT:
        raise UsageError(f"{file} is no whole checkpoint of Stable Diffusion 1.5 or a fine-tune")
    parts = ("transformer",) if model.transformer else ("unet", "text_encoder", "vae")
    tables = {part: getattr(model, part) for part in parts}
    if not all("from" in table for table in tables.values()):
        raise UsageError("--checkpoint goes with recipes that take their parts from elsewhere")
    tables = {
        part: {**table, "from": str(file), "config": table["from"]}
        for part, table in tables.items()
    }
    return replace(model, license="", **tables)  # of the file, which does not say


def _of_checkpoint(kind: Any, table: dict[str, Any], part: str) -> Any:
    file, config = table["from"], table["config"]
    if kind is CLIPTextModel:
        return create_diffusers_clip_model_from_ldm(kind, load_file(file), part, config)
    made = kind.from_single_file(file, config=config, subfolder=part, **_dtype(kind))
    made.register_to_config(_name_or_path=None)  # a folder of this machine
    return made


def _dtype(kind: Any) -> dict[str, torch.dtype]:
    if kind not in LARGE:
        return {}
    return {"dtype" if kind is UMT5EncoderModel else "torch_dtype": torch.bfloat16}


def _weights(files: dict[str, int]) -> list[str]:
    """Which files of a folder are loaded: those without a variant in their name, or all pieces of
    one that is in pieces."""
    names = [path for path in files if path.endswith(".safetensors")]
    plain = [
        path
        for path in names
        if Path(path).name in ("diffusion_pytorch_model.safetensors", "model.safetensors")
    ]
    return plain[:1] or [path for path in names if "-of-" in path and ".fp16" not in path]
