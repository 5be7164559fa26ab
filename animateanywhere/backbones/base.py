"""Base models: folders in diffusers layout, found by name and loaded with their `Family`."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import __version__ as DIFFUSERS
from diffusers.utils import logging as diffusers_logging
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from animateanywhere.backbones import controlnet, sd_unet, wan_vace
from animateanywhere.backbones.family import Base as Base
from animateanywhere.backbones.family import Family as Family
from animateanywhere.backbones.family import latent_shape as latent_shape
from animateanywhere.backbones.family import token_ids as token_ids
from animateanywhere.backbones.prompt_weights import is_weighted, plain
from animateanywhere.backbones.sources import (
    LOADING,
    from_folder,
    load_config,
    require_vocabulary,
)
from animateanywhere.backbones.spec import Model
from animateanywhere.backbones.vae import (
    latent_count,
    temporal_factor,
)
from animateanywhere.core.errors import UsageError, first_line
from animateanywhere.core.files import sha256, write_aside
from animateanywhere.core.json_file import read_json
from animateanywhere.core.paths import ASSETS, RUNS, recipes_folder

# Their progress bars and notes would break into ours; errors are still raised.
diffusers_logging.set_verbosity_error()
diffusers_logging.disable_progress_bar()
transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()

# Entries of configs that change what weights mean: scales of the latents, the noise schedule, and
# how temporal layers normalize. Others follow from the weights, or name files and versions.
DECISIVE = (
    "scaling_factor", "shift_factor", "latents_mean", "latents_std", "latent_patch",
    "beta_schedule", "image_beta_schedule", "beta_start", "beta_end", "trained_betas",
    "num_train_timesteps", "prediction_type", "rescale_betas_zero_snr", "flow_shift",
    "norm_each_frame",
)  # fmt: skip


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _count(value: Any) -> bool:
    return type(value) is int and 1 <= value <= LARGEST


def _number(least: float, most: float) -> Callable[[Any], bool]:
    return lambda value: type(value) in (int, float) and least <= value <= most


LARGEST = 2**14  # pixels a side, frames, steps
# What the entries of base.toml may be
CONFIG: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(
        ("name", "personalize", "license", "sampler", "hash", "command", "parts", "parts_hash",
         "network", "negative"),
        _text,
    ),
    **dict.fromkeys(("size", "frames", "steps"), _count),
    "fps": _number(0.01, 1000),
    **dict.fromkeys(("guidance_scale", "likeness"), _number(0, 1000)),
    **dict.fromkeys(("noise_share", "guidance_rescale", "grow"), _number(0, 1)),
    **dict.fromkeys(("collage", "prompt_motion"), lambda value: isinstance(value, bool)),
    "aspects": lambda value: isinstance(value, list) and all(map(_text, value)),
}  # fmt: skip
BUNDLED = ASSETS / "mini"
LENDER = "bundled"  # its name in others that come with the package: `mini` may be trained here
TRAINED = RUNS / "base"  # output of `aa base-train mini`
BASES = RUNS / "bases"  # output of `aa base-train` with other recipes: a folder for each, by name


def family_of(parts: Container[str]) -> Family:
    """The family of a base with these parts: names of its folders, or of a recipe's tables."""
    if "transformer" in parts:
        return wan_vace.FAMILY
    return controlnet.FAMILY if "controlnet" in parts else sd_unet.FAMILY


def family_in(folder: Path) -> Family:
    """The family of the base in `folder`."""
    return family_of({path.name for path in folder.iterdir() if path.is_dir()})


def find_base(name: str | Path) -> Path:
    """The folder of a base, given as a folder or by the name of its recipe.

    `mini` is the base that `aa base-train mini` wrote here or, without one, the bundled base, and
    `bundled` always that one. Others that come with the package (`mini-swap`) are found after those
    that were trained here. Raises UsageError if there is no finished base of that name.
    """
    if str(name) == "mini" and (TRAINED / "base.toml").is_file():
        return TRAINED
    if str(name) in ("mini", LENDER):
        if (BUNDLED / "base.toml").is_file():
            return BUNDLED
        raise UsageError(
            "this installation lacks the bundled base: reinstall, or run `aa base-train mini`"
        )
    folder = Path(name)
    for place in (folder, BASES / folder, ASSETS / folder):
        if (place / "base.toml").is_file():
            return place
    if folder.is_dir():
        raise UsageError(
            f"{folder} is not a finished base: it has no base.toml; run `aa base-train` to the end"
        )
    if _has_recipe(folder):
        raise UsageError(
            f"base {name} is not on this machine yet: make it by `aa base-train {name}` "
            "(`aa bases` says what it needs)"
        )
    raise UsageError(f"no base {name}: give a folder, or a name that `aa bases` lists as ready")


def _has_recipe(name: Path) -> bool:
    """Whether a recipe of this name makes a base."""
    recipe = recipes_folder() / f"{name}.toml"
    if len(name.parts) != 1 or not recipe.is_file():
        return False
    text = recipe.read_text("utf-8")
    return any(f"\n[{table}]" in text for table in ("model", "swap", "cast"))


def load_base(name: str | Path = "mini", device: str | torch.device = "cpu") -> Base:
    """Load a base in float32, in eval mode and without gradients.

    name: as for `find_base`. Raises UsageError if there is no such base, if it is for another
    command, or if a part is missing or not readable.
    """
    folder = find_base(name)
    return load_parts(folder, _usual_config(folder), device)


def open_base(name: str | Path, needed: Container[str], hash: str) -> Base:
    """A base of which only the parts `needed` are loaded, to the CPU; of the others there are only
    shapes, on the meta device, and there is no tokenizer.

    hash: expected of it. If base.toml states it, the gigabytes that it is made of are not read.
    Raises UsageError as `load_base` does.
    """
    folder = find_base(name)
    config = _usual_config(folder)
    base = load_parts(folder, config, "meta")
    for part in base.networks:
        if part in needed:
            try:
                base.parts[part] = _load(type(base.parts[part]), folder / part, "cpu", False)
            except LOADING as error:
                raise _damaged(folder, error) from None
    stated = config.get("hash") == hash
    base.hash, base.earlier_hash = (hash, "") if stated else _hashes_in(folder)
    return base


def _usual_config(folder: Path) -> dict[str, Any]:
    """`base_config` of a base that generates from prompts. Raises UsageError for another one."""
    config = {"guidance_scale": Model.guidance_scale} | base_config(folder)  # the first lack it
    if "command" in config:
        raise UsageError(
            f"{folder}: this base is for `aa {config['command']}`; give another --base"
        )
    return config


def base_config(folder: Path) -> dict[str, Any]:
    """The contents of base.toml of a finished base: name, size, frames, fps, license...

    Raises UsageError if it is damaged.
    """
    path = folder / "base.toml"
    try:
        config = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: damaged ({first_line(error)}); get the base again") from None
    for key, fits in CONFIG.items():
        if key in config and not fits(config[key]):
            raise UsageError(f"{path}: {key} cannot be {config[key]!r}; get the base again")
    return config


def load_parts(
    folder: Path, config: dict[str, Any], device: str | torch.device = "cpu",
    family: Family | None = None,
) -> Base:  # fmt: skip
    """Load the parts in `folder`, also of a base that is still in training.

    On the meta device only the config.json of each network is read: there are shapes but no
    weights, no tokenizer and no hash. config: if it has `parts`, the name of another base, what the
    folder lacks comes from that one. family: of a base with parts of a method's own. Raises
    UsageError as `load_base` does.
    """
    family, parts = family or family_in(folder), dict[str, Any]()
    lender = find_base(config["parts"]) if "parts" in config else None
    meta = torch.device(device).type == "meta"
    places = {name: _place(folder, name, lender) for name in family.parts}
    try:
        for name, kind in family.parts.items():
            place = places[name]
            if (meta and name == "tokenizer") or (name in family.optional and not place.is_dir()):
                continue
            if not place.is_dir():  # the libraries would look for a repository of that name
                raise OSError(f"it has no folder {name}")
            if name == "vae":
                kind = kind[load_config(place)["_class_name"]]
            frozen = name == "text_encoder" and not family.learns_tokens
            parts[name] = _load(kind, place, device, frozen)
        if "tokenizer" in parts:
            require_vocabulary(parts["tokenizer"], load_config(places["text_encoder"]))
    except (*LOADING, TypeError) as error:  # a config.json without what the network needs
        raise _damaged(folder, error) from None
    digest, earlier = ("", "") if meta else _hashes(family, places)
    return Base(
        folder, config, digest, parts, family, temporal_factor(parts["vae"]), earlier_hash=earlier
    )


def _place(folder: Path, part: str, lender: Path | None) -> Path:
    """The folder of a part: in that of the base or, where it is missing there, in the lender's."""
    lent = lender is not None and not (folder / part).is_dir()
    return lender / part if lender is not None and lent else folder / part


def _damaged(folder: Path, error: Exception) -> UsageError:
    return UsageError(f"{folder}: base is incomplete or damaged: {first_line(error)}")


def _load(kind: Any, folder: Path, device: str | torch.device, frozen: bool) -> Any:
    """Load one part in float32, whatever its files store: training and CPUs need it. A frozen text
    encoder is loaded in bfloat16 to main memory."""
    if not issubclass(kind, nn.Module):
        return from_folder(kind, folder)
    if torch.device(device).type == "meta":
        with torch.device("meta"):
            if issubclass(kind, PreTrainedModel):
                model = kind(kind.config_class.from_pretrained(folder))
            else:
                model = kind.from_config(load_config(folder))
    else:
        model = from_folder(kind, folder, torch.bfloat16 if frozen else torch.float32)
        for key, parameter in model.named_parameters():
            if not parameter.isfinite().all():
                raise ValueError(f"{key} of {folder.name} is not finite")
        model = model.to("cpu" if frozen else device)
    return model.eval().requires_grad_(False)


def hash_of(folder: Path) -> str:
    """SHA-256 over what personal weights depend on, 64 hex digits: the weights of denoiser, text
    encoder (`Family.hashed`) and VAE, and the entries `DECISIVE` of the parts' configs."""
    return _hashes_in(folder)[0]


def _hashes_in(folder: Path) -> tuple[str, str]:
    family = family_in(folder)
    return _hashes(family, {part: folder / part for part in family.parts})


def _hashes(family: Family, places: Mapping[str, Path]) -> tuple[str, str]:
    """`hash_of` of parts in some folders, and what it was before VAE and configs were included."""
    digest = hashlib.sha256()
    for part in family.hashed:
        _update(digest, places[part])
    earlier = digest.hexdigest()
    _update(digest, places["vae"])
    for part in sorted(family.parts):
        for path in places[part].glob("*config.json"):
            config = read_json(path)
            known = {key: config[key] for key in DECISIVE if config.get(key) is not None}
            if known:
                digest.update(json.dumps([part, known]).encode())
    return digest.hexdigest(), earlier


def _update(digest: Any, part: Path) -> None:
    for path in sorted(part.glob("*.safetensors")):
        digest.update(sha256(path).encode())


def write_base_toml(folder: Path, config: dict[str, Any]) -> None:
    """Write base.toml last: a folder with it is a finished base. And model_index.json, by which
    diffusers' `DiffusionPipeline.from_pretrained` loads it, where a pipeline of theirs fits."""
    family = family_in(folder)
    if family.pipeline and all((folder / name).is_dir() for name in family.parts):
        index: dict[str, Any] = {
            "_class_name": family.pipeline,
            "_diffusers_version": DIFFUSERS,
        }
        for name, kind in family.parts.items():
            if name == "vae":
                kind = kind[load_config(folder / name)["_class_name"]]
            index[name] = [kind.__module__.partition(".")[0], kind.__name__]
        if index["scheduler"][1] == "DDPMScheduler":  # that of training, with the same config
            index["scheduler"][1] = "DDIMScheduler"
        if "unet" in index:  # parts that a picture in place of a prompt needs
            index |= {name: [None, None] for name in ("feature_extractor", "image_encoder")}
        with write_aside(folder / "model_index.json") as aside:
            aside.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in config.items()]
    with write_aside(folder / "base.toml") as aside:
        aside.write_text("".join(lines), encoding="utf-8")


def encode_poses(base: Base, pictures: np.ndarray, clip: bool = False) -> Tensor:
    """Encode skeleton pictures (N, H, W, 3) uint8 as the base's pose condition, (T, *pose_shape).

    These are latents (T, C, h, w), for Wan VACE with further channels; for a ControlNet they are
    the pictures themselves, (N, 3, H, W) uint8. clip: the pictures are consecutive frames, as for
    `vae.encode_frames`; T is less than N then if the VAE compresses time.
    """
    return base.family.encode_pose(base, pictures, clip)


def encode_text(base: Base, prompts: list[str]) -> Tensor:
    """Encode B prompts as the text encoder's last hidden states, (B, T, D) float."""
    return base.family.encode_text(base, prompts)


def encode_prompts(base: Base, prompts: list[str]) -> Tensor:
    """`encode_text` of prompts that people wrote, in which words may have weights; families that
    do not honor them get the words alone."""
    weighted = base.family.encode_weighted
    if weighted is None or not any(map(is_weighted, prompts)):
        return encode_text(base, [plain(prompt) for prompt in prompts])
    return torch.cat([
        weighted(base, prompt) if is_weighted(prompt) else encode_text(base, [plain(prompt)])
        for prompt in prompts
    ])  # fmt: skip


def window_length(base: Base) -> int:
    """Number of latents that pass through the network at once: the length it was trained with."""
    return latent_count(int(base.config["frames"]), base.packed)


def noise_share(base: Base) -> float:
    """Share of the noise's variance, in [0, 1], that is common to all frames of a clip."""
    return float(base.config.get("noise_share", 0.0))


def guidance_rescale(base: Base) -> float:
    """Strength of the guidance rescaling, in [0, 1]: plain guidance overexposes the samples of a
    model with zero terminal SNR (Lin et al. 2024, arXiv 2305.08891, section 3.4). base.toml may
    have another."""
    usual = 0.7 if base.scheduler.config.get("rescale_betas_zero_snr") else 0.0
    return float(base.config.get("guidance_rescale", usual))


def sampler_of(base: Base) -> str:
    """The default sampler of a base."""
    return str(base.config.get("sampler", "dpm++"))
