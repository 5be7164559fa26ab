"""Creation of a base: its parts are built from a recipe, or loaded from folders, hubs or a single
file and widened for poses."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from rich.markup import escape
from safetensors import SafetensorError, safe_open
from transformers import CLIPTokenizer

from animateanywhere.backbones.base import Family, family_of, load_base, write_base_toml
from animateanywhere.backbones.sources import (
    LOADING,
    fetch,
    files_of,
    from_folder,
    load_config,
    part_of,
    place_of,
    require_vocabulary,
)
from animateanywhere.backbones.spec import Model
from animateanywhere.backbones.vae import VAES
from animateanywhere.core.errors import UsageError, first_line
from animateanywhere.core.files import folder_aside
from animateanywhere.core.hub import in_cache
from animateanywhere.core.messages import say, warn


def create_base(
    model: Model, out: Path, captions: list[str], seed: int = 0, family: Family | None = None
) -> None:  # fmt: skip
    """Create the parts of a base that are missing in `out`, in diffusers layout.

    A part whose table has `from` is loaded from that folder or hub repository (`subfolder` names
    the folder inside); other parts are built from their config with new weights. Files of a hub are
    shared with its cache, where the disk allows it. captions: the corpus that a new tokenizer is
    trained on. family: of a base with parts of a method's own. Raises UsageError for a table that
    is wrong, and errors as `sources.fetch` does.
    """
    family = family or family_of(model.tables())
    if "from" in model.text_encoder:
        _drop_incomplete_tokenizer(family, out)
    existing = [name for name in family.parts if (out / name).is_dir()]
    model = fetch(model, existing, out)
    for number, name in enumerate(family.parts):
        if name in existing:
            continue
        # diffusers draws initial weights from the global generator: after a stop midway too, the
        # same ones for each part
        torch.manual_seed(seed + number)
        if name == "vae":
            part = _vae(model.vae)
        else:
            part = family.create(name, model, out, captions)
        files = _cached(name, model)
        if not files:
            save_part(part, out / name)
        elif name == "tokenizer":
            _save_tokenizer(part, files, out / name)
        elif _is_stored(part, files):
            _share(files, out / name)
        else:
            say(escape(f"{name}: changed for this base, so a copy is written to {out / name}"))
            save_part(part, out / name)


def _drop_incomplete_tokenizer(family: Family, out: Path) -> None:
    """Remove a tokenizer of an earlier version, which did not notice that its files were missing.
    Also one without the text encoder to check it against."""
    folder = out / "tokenizer"
    if not folder.is_dir():
        return
    try:
        tokenizer = from_folder(family.parts["tokenizer"], folder)
        require_vocabulary(tokenizer, load_config(out / "text_encoder"))
    except LOADING as error:
        if (out / "text_encoder").is_dir():
            warn(escape(f"{folder}: {error}; it is gathered again"))
        shutil.rmtree(folder)


def _cached(name: str, model: Model) -> list[Path]:
    """The files of a part in the hub's cache; empty if it is from elsewhere or new."""
    words = name == "tokenizer"
    table = model.text_encoder if words else getattr(model, name)
    source = table.get("config", table.get("from")) if words else table.get("from")
    if source is None or not in_cache(Path(source)):
        return []
    folder = Path(source) / (name if words else place_of(name, table))
    return [folder / file for file in files_of(name, sorted(f.name for f in folder.iterdir()))]


def _is_stored(part: Any, files: list[Path]) -> bool:
    """Whether files in the hub's cache can serve as those of a part: creation has changed no
    shapes, and has not reduced the precision, as it does for frozen text encoders."""
    if not isinstance(part, torch.nn.Module):
        return True
    before, now = load_config(files[0].parent), part.config
    own = type(part).__name__
    same = before.get("_class_name", own) == own and all(
        getattr(now, key, None) == before.get(key) for key in ("in_channels", "latent_patch")
    )
    size = sum(tensor.nbytes for tensor in part.parameters())
    return same and sum(f.stat().st_size for f in files if f.suffix == ".safetensors") < 1.2 * size


def _share(files: list[Path], folder: Path) -> None:
    """Make a part of files in the hub's cache: by hard links, which take no space, or by copies
    where the disk has no links."""
    with folder_aside(folder) as aside:
        for file in files:
            _link(file, aside)


def _save_tokenizer(tokenizer: Any, files: list[Path], folder: Path) -> None:
    """Save a tokenizer with the vocabularies of its source, which older versions of transformers
    read."""
    with folder_aside(folder) as aside:
        tokenizer.save_pretrained(aside)
        for file in files:
            if not (aside / file.name).exists():
                _link(file, aside)


def _link(file: Path, folder: Path) -> None:
    target = file.resolve()  # in the cache, files are symbolic links
    try:
        os.link(target, folder / file.name)
    except OSError:
        shutil.copyfile(target, folder / file.name)


def _vae(table: dict[str, Any]) -> Any:
    kind = VAES.get(table.get("_class_name", "AutoencoderKL"))
    if kind is None:
        raise UsageError(f"model.vae: _class_name must be one of {', '.join(VAES)}")
    vae = part_of(kind, {key: table[key] for key in table if key != "latent_patch"}, "vae")
    if "latent_patch" in table:  # not an argument of diffusers' classes
        vae.register_to_config(latent_patch=table["latent_patch"])
    return vae


def with_checkpoint(model: Model, file: Path) -> Model:
    """A copy of `model` that takes weights from a single file, the form in which fine-tunes are
    published: UNet, text encoder and VAE of Stable Diffusion, or the transformer of Wan VACE.

    Configs and tokenizer still come from the sources that the recipe names. Raises UsageError for
    a file that is not such a checkpoint, and for a recipe that names no sources.
    """
    if file.suffix != ".safetensors":
        raise UsageError(
            f"{file} is not a .safetensors file: other formats can run code and are not read"
        )
    try:
        with safe_open(file, "pt") as opened:
            names = set(opened.keys())
    except (OSError, SafetensorError) as error:
        raise UsageError(f"cannot read {file}: {first_line(error)}") from None
    kind = family_of(model.tables()).checkpoint
    if not all(any(name.endswith(suffix) for name in names) for suffix in kind.key_suffixes):
        raise UsageError(f"{file} is not a {kind.description}")
    tables = {part: getattr(model, part) for part in kind.parts}
    if not all("from" in table for table in tables.values()):
        raise UsageError(
            "--checkpoint needs a recipe that loads these parts (`from = ...`), such as sd15"
        )
    tables = {
        part: {**table, "from": str(file), "config": table["from"]}
        for part, table in tables.items()
    }
    return replace(model, license="", **tables)  # the file does not state its license


def save_part(part: Any, folder: Path, half: bool = False) -> None:
    """Save one part as a folder, completely or not at all. half: store float16."""
    with folder_aside(folder) as aside:
        if half:
            part = part.half()
        part.save_pretrained(aside)
        if isinstance(part, CLIPTokenizer):  # vocab.json and merges.txt, for transformers 4
            part.backend_tokenizer.model.save(str(aside))
        if half:
            part.float()
        for file in aside.glob("*.json"):
            _forget_source(file)


def save_once(part: Any, folder: Path) -> None:
    """`save_part` in the main process of several, while the others wait."""
    if PartialState().is_main_process:
        save_part(part, folder)
    PartialState().wait_for_everyone()


def _forget_source(file: Path) -> None:
    """Remove the folder that a part was loaded from, on this machine, from its config."""
    config = json.loads(file.read_text(encoding="utf-8"))
    for key in ("_name_or_path", "name_or_path"):
        source = config.get(key) if isinstance(config, dict) else None
        if isinstance(source, str) and (Path(source).is_absolute() or Path(source).exists()):
            del config[key]
            text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
            file.write_text(text, encoding="utf-8")


def bundle(base: Path, out: Path) -> None:
    """Copy a finished base in half precision, with the logs and scores of its training but without
    checkpoints and corpus."""
    parts = load_base(base)
    for name, part in parts.networks.items():
        save_part(part, out / name, half=True)
    for name in ("tokenizer", "scheduler", "perception"):
        shutil.copytree(base / name, out / name, dirs_exist_ok=True)
    for record in (*base.glob("training/*/log.jsonl"), *base.glob("training/*/done.json")):
        target = out / record.relative_to(base)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(record, target)
    write_base_toml(out, {key: value for key, value in parts.config.items() if key != "hash"})
