"""A new base's parts: built from a recipe, or taken from folders and hubs and widened for poses."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from animateanywhere.backbones.base import family_of, load_base, write_base_toml
from animateanywhere.backbones.sources import part_of
from animateanywhere.backbones.spec import Model
from animateanywhere.backbones.vae import VAES
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import folder_aside


def create_base(model: Model, out: Path, captions: list[str], seed: int = 0) -> None:
    """Make the parts of a base that `out` lacks, in diffusers layout.

    A part with `from` comes from that folder or hub name (`subfolder` names the part in it);
    otherwise it is built from its config with fresh weights. captions: what a fresh tokenizer is
    trained on.
    """
    torch.manual_seed(seed)  # diffusers initializes from the global generator
    family = family_of(model.tables())
    for name in family.parts:
        if (out / name).is_dir():
            continue
        if name == "vae":
            part = _vae(model.vae)
        else:
            part = family.create(name, model, out, captions)
        save_part(part, out / name)


def _vae(table: dict[str, Any]) -> Any:
    kind = VAES.get(table.get("_class_name", "AutoencoderKL"))
    if kind is None:
        raise UsageError(f"model.vae: _class_name must be one of {', '.join(VAES)}")
    return part_of(kind, table, "vae")


def of_checkpoint(model: Model, file: Path) -> Model:
    """The same base with what one file holds, as fine-tunes are passed on: UNet, text encoder and
    VAE of Stable Diffusion, or the transformer of Wan VACE. Shapes and tokenizer are those of what
    the recipe takes them from.

    Raises UsageError for a file that is not such a checkpoint, and for a recipe that takes them
    from nowhere.
    """
    if file.suffix != ".safetensors":
        raise UsageError(f"{file} is no .safetensors: other files can run code, and are not read")
    try:
        with safe_open(file, "pt") as opened:
            names = set(opened.keys())
    except (OSError, SafetensorError) as error:
        raise UsageError(f"cannot read {file}: {str(error).splitlines()[0]}") from None
    kind = family_of(model.tables()).checkpoint
    if not all(any(name.endswith(mark) for name in names) for mark in kind.marks):
        raise UsageError(f"{file} is no {kind.called}")
    tables = {part: getattr(model, part) for part in kind.holds}
    if not all("from" in table for table in tables.values()):
        raise UsageError("--checkpoint goes with recipes that take their parts from elsewhere")
    tables = {
        part: {**table, "from": str(file), "config": table["from"]}
        for part, table in tables.items()
    }
    return replace(model, license="", **tables)  # of the file, which does not say


def save_part(part: Any, folder: Path, half: bool = False) -> None:
    """Save one part whole or not at all; `half` stores float16."""
    with folder_aside(folder) as aside:
        if half:
            part = part.half()
        part.save_pretrained(aside)
        if half:
            part.float()


def bundle(base: Path, out: Path) -> None:
    """Copy a finished base in half precision; of its training, only logs and scores come along."""
    parts = load_base(base)
    for name, part in parts.networks.items():
        save_part(part, out / name, half=True)
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
