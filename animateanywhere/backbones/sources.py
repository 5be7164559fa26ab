"""Parts of a base taken from elsewhere: folders in diffusers' layout, a hub, one file."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedModel

from animateanywhere.backbones.spec import Model
from animateanywhere.core.errors import UsageError
from animateanywhere.core.messages import say

WHOLE = ("motion_adapter", "controlnet")  # parts that hubs have in repositories of their own


def load_config(folder: Path) -> dict[str, Any]:
    """The config.json of a part."""
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


def part_of(kind: Any, table: dict[str, Any], name: str, half: bool = False) -> Any:
    """A part of class `kind`: from where its table of a recipe says, else fresh by its config.

    name: of the part, and of its folder where it is from, unless the table says another. half:
    take its weights in bfloat16, as published, where they are from elsewhere.
    Raises UsageError where it cannot be had.
    """
    if "config" in table:
        try:
            return _of_checkpoint(kind, table, name, half)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            first = str(error).strip().splitlines()[0]
            raise UsageError(f"no {name} in {table['from']}: {first}") from None
    if "from" in table:
        weights = issubclass(kind, nn.Module)
        # Only safetensors: pickle can run code.
        options = {"use_safetensors": True, **_dtype(kind, half)} if weights else {}
        place = table.get("subfolder", "" if name in WHOLE else name)
        try:
            return kind.from_pretrained(table["from"], subfolder=place, **options)
        except (OSError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise UsageError(f"cannot load {name} of {table['from']}: {first}") from None
    config = {key: value for key, value in table.items() if key != "_class_name"}
    try:
        if issubclass(kind, PreTrainedModel):
            return kind(kind.config_class(**config))
        return kind(**config)
    except (TypeError, ValueError) as error:
        raise UsageError(f"model.{name}: {error}") from None


def tokenizer_of(kind: Any, table: dict[str, Any]) -> Any:
    """The tokenizer of where the text encoder is from; table: the text encoder's."""
    return part_of(kind, {"from": table.get("config", table["from"])}, "tokenizer")


def tell_fetched(model: Model, out: Path) -> None:
    """Say which files of a hub `create_base` will fetch, and how large they are; nothing where the
    hub cannot be asked (what is kept from before needs none)."""
    from huggingface_hub import HfApi

    for part, table in model.tables().items():
        source = table.get("from")
        if "config" in table:
            say(f"{part}: {source}; its shapes and words as {table['config']}")
        if not source or Path(source).exists() or (out / part).is_dir():
            continue
        folder = table.get("subfolder", "" if part in WHOLE else part)
        with suppress(Exception):  # the fetching itself says what is wrong
            files = HfApi().list_repo_tree(source, folder or None)
            sizes = {f.path: getattr(f, "size", 0) for f in files}
            for path in _weights(sizes):
                say(f"{part}: {source}/{path}, {sizes[path] / 1e9:.2f} GB")


def _of_checkpoint(kind: Any, table: dict[str, Any], part: str, half: bool) -> Any:
    file, config = table["from"], table["config"]
    if issubclass(kind, PreTrainedModel):  # CLIP: diffusers knows no other text encoder of a file
        return create_diffusers_clip_model_from_ldm(kind, load_file(file), part, config)
    made = kind.from_single_file(file, config=config, subfolder=part, **_dtype(kind, half))
    made.register_to_config(_name_or_path=None)  # a folder of this machine
    return made


def _dtype(kind: Any, half: bool) -> dict[str, torch.dtype]:
    if not half:
        return {}
    return {"dtype" if issubclass(kind, PreTrainedModel) else "torch_dtype": torch.bfloat16}


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
