"""Parts of a base from external sources: folders in diffusers layout, a hub, a single file."""

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

SEPARATE = ("motion_adapter", "controlnet")  # parts that are published in their own repositories


def load_config(folder: Path) -> dict[str, Any]:
    """Read the config.json of a part."""
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


def part_of(kind: Any, table: dict[str, Any], name: str, half: bool = False) -> Any:
    """Load a part of class `kind` from the source that its table of a recipe names, or build it
    from the config in the table, with new weights.

    name: of the part; also of its folder in the source, unless the table has `subfolder`. half:
    load weights in bfloat16, as published. Raises UsageError if the part cannot be loaded or built.
    """
    if "config" in table:
        try:
            return _from_single_file(kind, table, name, half)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            first = str(error).strip().splitlines()[0]
            raise UsageError(f"cannot load {name} from {table['from']}: {first}") from None
    if "from" in table:
        weights = issubclass(kind, nn.Module)
        # Only safetensors: pickle files can run code
        options = {"use_safetensors": True, **_dtype(kind, half)} if weights else {}
        place = table.get("subfolder", "" if name in SEPARATE else name)
        try:
            return kind.from_pretrained(table["from"], subfolder=place, **options)
        except (OSError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise UsageError(f"cannot load {name} from {table['from']}: {first}") from None
    config = {key: value for key, value in table.items() if key != "_class_name"}
    try:
        if issubclass(kind, PreTrainedModel):
            return kind(kind.config_class(**config))
        return kind(**config)
    except (TypeError, ValueError) as error:
        raise UsageError(f"model.{name}: {error}") from None


def tokenizer_of(kind: Any, table: dict[str, Any]) -> Any:
    """Load the tokenizer from the source of the text encoder; table: the text encoder's."""
    return part_of(kind, {"from": table.get("config", table["from"])}, "tokenizer")


def report_downloads(model: Model, out: Path) -> None:
    """Print the weight files that `create_base` will download, with their sizes; nothing if the hub
    does not answer (cached files need no download)."""
    from huggingface_hub import HfApi

    for part, table in model.tables().items():
        source = table.get("from")
        if "config" in table:
            say(f"{part}: {source}; config and tokenizer of {table['config']}")
        if not source or Path(source).exists() or (out / part).is_dir():
            continue
        folder = table.get("subfolder", "" if part in SEPARATE else part)
        with suppress(Exception):  # errors are reported by the download itself
            files = HfApi().list_repo_tree(source, folder or None)
            sizes = {f.path: getattr(f, "size", 0) for f in files}
            for path in _weights(sizes):
                say(f"{part}: {source}/{path}, {sizes[path] / 1e9:.2f} GB")


def _from_single_file(kind: Any, table: dict[str, Any], part: str, half: bool) -> Any:
    file, config = table["from"], table["config"]
    if issubclass(kind, PreTrainedModel):  # CLIP, the only text encoder diffusers reads from a file
        return create_diffusers_clip_model_from_ldm(kind, load_file(file), part, config)
    model = kind.from_single_file(file, config=config, subfolder=part, **_dtype(kind, half))
    model.register_to_config(_name_or_path=None)  # a local path
    return model


def _dtype(kind: Any, half: bool) -> dict[str, torch.dtype]:
    if not half:
        return {}
    return {"dtype" if issubclass(kind, PreTrainedModel) else "torch_dtype": torch.bfloat16}


def _weights(files: dict[str, int]) -> list[str]:
    """The files of a folder that are loaded: the one without a variant in its name, or all shards
    of a sharded one."""
    names = [path for path in files if path.endswith(".safetensors")]
    plain = [
        path
        for path in names
        if Path(path).name in ("diffusion_pytorch_model.safetensors", "model.safetensors")
    ]
    return plain[:1] or [path for path in names if "-of-" in path and ".fp16" not in path]
