"""A base model: a folder in diffusers layout, be it the bundled mini one or SD 1.5 sized."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Container
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from animateanywhere.backbones import controlnet, sd_unet, wan_vace
from animateanywhere.backbones.family import Base as Base
from animateanywhere.backbones.family import Family as Family
from animateanywhere.backbones.family import token_ids as token_ids
from animateanywhere.backbones.sources import load_config
from animateanywhere.backbones.spec import Model
from animateanywhere.backbones.vae import latent_channels, latent_count, packs, spatial_factor
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import sha256, write_aside
from animateanywhere.core.paths import ASSETS, RUNS

# Their bars and notes would break into ours; what goes wrong still raises.
diffusers_logging.set_verbosity_error()
diffusers_logging.disable_progress_bar()
transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()

BUNDLED = ASSETS / "mini"
TRAINED = RUNS / "base"  # where `aa base-train` leaves the user's own
BASES = RUNS / "bases"  # and those of other recipes, by name


def family_of(parts: Container[str]) -> Family:
    """The kind of backbone of a base with such parts, which are folders or tables of a recipe."""
    if "transformer" in parts:
        return wan_vace.FAMILY
    return controlnet.FAMILY if "controlnet" in parts else sd_unet.FAMILY


def family_in(folder: Path) -> Family:
    """Of the base in `folder`."""
    return family_of({path.name for path in folder.iterdir() if path.is_dir()})


def find_base(name: str | Path) -> Path:
    """A base's folder: one given as such, or by name what `aa base-train` made here; of `mini` else
    the bundled one. Raises UsageError where there is none."""
    if str(name) == "mini":
        if (TRAINED / "base.toml").is_file():
            return TRAINED
        if (BUNDLED / "base.toml").is_file():
            return BUNDLED
        raise UsageError("no bundled base in this installation: install again or `aa base-train`")
    folder = Path(name)
    for place in (folder, BASES / folder):
        if (place / "base.toml").is_file():
            return place
    if folder.is_dir():
        raise UsageError(f"{folder} is no finished base: it has no base.toml (see `aa base-train`)")
    raise UsageError(f"no base {name}: give a folder or a name that `aa bases` lists as ready")


def load_base(name: str | Path = "mini", device: str | torch.device = "cpu") -> Base:
    """Load a base in float32. Raises UsageError in one line where a part is missing or foreign."""
    folder = find_base(name)
    config = {"guidance_scale": Model.guidance_scale}  # the first bases do not say
    return load_parts(folder, config | base_config(folder), device)


def base_config(folder: Path) -> dict[str, Any]:
    """What a finished base says of itself in its base.toml: name, size, frames, fps, license..."""
    return tomllib.loads((folder / "base.toml").read_text(encoding="utf-8"))


def load_parts(folder: Path, config: dict[str, Any], device: str | torch.device = "cpu") -> Base:
    """Load the parts in `folder`, of a base that may still be in training.

    On the device "meta" networks have shapes and no weights: of each its config.json is read, and
    there is no tokenizer and no hash. Raises UsageError as `load_base`.
    """
    family, parts = family_in(folder), dict[str, Any]()
    empty = torch.device(device).type == "meta"
    try:
        for name, kind in family.parts.items():
            place = folder / name
            if (empty and name == "tokenizer") or (name in family.optional and not place.is_dir()):
                continue
            _require(place)
            if name == "vae":
                kind = kind[load_config(place)["_class_name"]]
            frozen = name == "text_encoder" and not family.learns_tokens
            parts[name] = _load(kind, place, device, frozen)
    except (OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
        raise UsageError(f"{folder} is no whole base: {str(error).splitlines()[0]}") from None
    known = "" if empty else hash_of(folder)
    return Base(folder, config, known, parts, family, packs(parts["vae"]))


def _load(kind: Any, folder: Path, device: str | torch.device, frozen: bool) -> Any:
    """One part. Weights may be stored in half precision; training and CPUs want float32, but what
    is frozen waits in main memory, in half."""
    if not issubclass(kind, nn.Module):
        return kind.from_pretrained(folder)
    of_transformers = issubclass(kind, PreTrainedModel)
    if torch.device(device).type == "meta":
        with torch.device("meta"):
            if of_transformers:
                model = kind(kind.config_class.from_pretrained(folder))
            else:
                model = kind.from_config(load_config(folder))
    else:
        dtype = torch.bfloat16 if frozen else torch.float32
        option = "dtype" if of_transformers else "torch_dtype"
        model = kind.from_pretrained(folder, use_safetensors=True, **{option: dtype})
        model = model.to("cpu" if frozen else device)
    return model.eval().requires_grad_(False)


def _require(folder: Path) -> None:
    """Raise where there is no such folder: its name could be that of a repository of a hub."""
    if not folder.is_dir():
        raise OSError(f"it has no {folder.name}")


def hash_of(folder: Path) -> str:
    """SHA-256 of the weights that personal ones build on (`Family.hashed`)."""
    digest = hashlib.sha256()
    for part in family_in(folder).hashed:
        for path in sorted((folder / part).glob("*.safetensors")):
            digest.update(sha256(path).encode())
    return digest.hexdigest()


def write_base_toml(folder: Path, config: dict[str, Any]) -> None:
    """Write base.toml last: a folder with it is a finished base."""
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in config.items()]
    with write_aside(folder / "base.toml") as aside:
        aside.write_text("".join(lines), encoding="utf-8")


def encode_poses(base: Base, pictures: np.ndarray, clip: bool = False) -> Tensor:
    """Skeleton pictures (N, H, W, 3) uint8 -> what the base sees of them, (T, *pose_shape): latents
    (T, C, h, w), of Wan VACE with more channels, or for a ControlNet the pictures themselves,
    (N, 3, H, W) uint8.

    clip: they follow one another, as in `vae.encode_frames`.
    """
    return base.family.encode_pose(base, pictures, clip)


def encode_text(base: Base, prompts: list[str]) -> Tensor:
    """Prompts -> text_states (B, T, D): the text encoder's last hidden states."""
    return base.family.encode_text(base, prompts)


def latent_shape(base: Base) -> tuple[int, int, int]:
    """(C, h, w) of one latent at the base's size."""
    side = base.config["size"] // spatial_factor(base.vae)
    return latent_channels(base.vae), side, side


def window_length(base: Base) -> int:
    """How many latents of a clip go through the network at once: what it was trained with."""
    return latent_count(int(base.config["frames"]), base.packed)


def noise_share(base: Base) -> float:
    """What the frames of a clip have in common of the noise's variance, in 0..1."""
    return float(base.config.get("noise_share", 0.0))


def guidance_rescale(base: Base) -> float:
    """How far to rescale guidance: it overexposes a model trained down to zero SNR (Lin et al.
    2024, section 3.4)."""
    return 0.7 if base.scheduler.config.get("rescale_betas_zero_snr") else 0.0
