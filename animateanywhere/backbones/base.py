"""A base model: a folder in diffusers layout, be it the bundled mini one or SD 1.5 sized."""

from __future__ import annotations

import copy
import hashlib
import json
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    ControlNetModel,
    DDPMScheduler,
    MotionAdapter,
    UNet2DConditionModel,
    UniPCMultistepScheduler,
    WanVACETransformer3DModel,
)
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer, T5Tokenizer, UMT5EncoderModel
from transformers.utils import logging as transformers_logging

from animateanywhere.backbones import wan_vace
from animateanywhere.backbones.controlnet import attach
from animateanywhere.backbones.spec import Model
from animateanywhere.backbones.vae import (
    VAES,
    encode_frames,
    latent_channels,
    latent_count,
    packs,
    spatial_factor,
)
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
# Parts by whether the base is of Stable Diffusion's kind or of Wan's
KINDS: dict[str, tuple[Any, Any]] = {
    "tokenizer": (CLIPTokenizer, T5Tokenizer),
    "text_encoder": (CLIPTextModel, UMT5EncoderModel),
    "scheduler": (DDPMScheduler, UniPCMultistepScheduler),
}
# The folders of a base that hold a network each
NETWORKS = ("unet", "transformer", "motion_adapter", "vae", "text_encoder", "controlnet")


@dataclass
class Base:
    """The parts of a base, on one device, in eval mode.

    What denoises is a UNet with temporal layers (`motion_adapter`, None before video), or of bases
    of Wan's kind a transformer.
    """

    folder: Path
    config: dict[str, Any]  # name, size, frames, fps, guidance_scale
    hash: str  # of the weights that personal weights stand on
    tokenizer: Any  # CLIPTokenizer, or T5Tokenizer of Wan's
    text_encoder: Any  # CLIPTextModel, or UMT5EncoderModel of Wan's
    vae: Any  # one of VAES
    unet: Any  # UNet2DConditionModel
    motion_adapter: MotionAdapter | None
    scheduler: Any  # DDPMScheduler, or UniPCMultistepScheduler of Wan's
    controlnet: ControlNetModel | None = None  # of bases that see the pose through one
    transformer: Any = None  # WanVACETransformer3DModel
    packed: int = 1  # frames that share a latent, as `vae.packs` tells
    said: dict[str, Tensor] = field(default_factory=dict)  # text states (T, D) of a frozen encoder

    @property
    def network(self) -> Any:
        """What denoises pictures: the UNet or the transformer."""
        return self.unet if self.transformer is None else self.transformer

    @property
    def network_name(self) -> str:
        """Its folder, and the prefix of its parameters."""
        return "unet" if self.transformer is None else "transformer"

    @property
    def learns_words(self) -> bool:
        """Whether a new word can be learned: the text encoder may train, and is where the network
        is. Of Wan's kind it does neither."""
        return self.transformer is None


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
    """Load the parts in `folder`, of a base that may still be in training."""

    def part(kind: Any, name: str) -> Any:
        """The part, or None where the base has none of that name."""
        return _load(kind, folder / name, device) if (folder / name).is_dir() else None

    of_wan = (folder / "transformer").is_dir()
    try:
        vae = _load(VAES[load_config(folder / "vae")["_class_name"]], folder / "vae", device)
        parts = {
            "transformer": part(WanVACETransformer3DModel, "transformer"),
            "unet": None if of_wan else _load(UNet2DConditionModel, folder / "unet", device),
            "motion_adapter": part(MotionAdapter, "motion_adapter"),
            "controlnet": part(ControlNetModel, "controlnet"),
        }
        for name, (clip, t5) in KINDS.items():
            kind: Any = t5 if of_wan else clip
            load = _load if name == "text_encoder" else _plain
            parts[name] = load(kind, folder / name, device)
    except (OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
        raise UsageError(f"{folder} is no whole base: {str(error).splitlines()[0]}") from None
    if not of_wan:
        attach(parts["unet"], parts["controlnet"])
    return Base(folder, config, hash_of(folder), vae=vae, packed=packs(vae), **parts)


def _load(kind: Any, folder: Path, device: str | torch.device) -> Any:
    # Weights may be stored in half precision; training and CPUs want float32.
    dtype = torch.float32
    _require(folder)
    if kind is UMT5EncoderModel:
        dtype, device = torch.bfloat16, "cpu"  # see `backbones.wan_vace`
    option = "dtype" if kind in (CLIPTextModel, UMT5EncoderModel) else "torch_dtype"
    model = kind.from_pretrained(folder, use_safetensors=True, **{option: dtype})
    return model.to(device).eval().requires_grad_(False)


def _require(folder: Path) -> None:
    """Raise where there is no such folder: its name could be that of a repository of a hub."""
    if not folder.is_dir():
        raise OSError(f"it has no {folder.name}")


def _plain(kind: Any, folder: Path, _: object) -> Any:
    """A part without weights."""
    _require(folder)
    return kind.from_pretrained(folder)


def apart(base: Base) -> Base:
    """The same base with a UNet and temporal layers of its own, that change with no other."""
    own = {n: copy.deepcopy(getattr(base, n)) for n in ("unet", "transformer", "motion_adapter")}
    if base.unet is not None:
        attach(own["unet"], base.controlnet)
    return replace(base, **own)


def load_config(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


def hash_of(folder: Path) -> str:
    """SHA-256 of the weights that personal ones build on: what denoises, and a text encoder that
    may learn (UMT5's 11 GB would take a minute)."""
    digest = hashlib.sha256()
    if (folder / "transformer").is_dir():
        parts: tuple[str, ...] = ("transformer",)
    else:
        parts = ("unet", "motion_adapter", "text_encoder", "controlnet")
    for part in parts:
        for path in sorted((folder / part).glob("*.safetensors")):
            digest.update(sha256(path).encode())
    return digest.hexdigest()


def write_base_toml(folder: Path, config: dict[str, Any]) -> None:
    """Write base.toml last: a folder with it is a finished base."""
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in config.items()]
    with write_aside(folder / "base.toml") as aside:
        aside.write_text("".join(lines), encoding="utf-8")


def encode_poses(base: Base, pictures: np.ndarray, clip: bool = False) -> Tensor:
    """Skeleton pictures (N, H, W, 3) uint8 -> what the base sees of them: latents (T, C, h, w), of
    Wan's kind with more channels, or for a ControlNet the pictures themselves, (N, 3, H, W) uint8.

    clip: they follow one another, as in `vae.encode_frames`.
    """
    if base.transformer is not None:
        return wan_vace.control(base.vae, pictures, clip)
    if base.controlnet is None:
        return encode_frames(base.vae, pictures)
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous().to(base.vae.device)


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


def token_ids(tokenizer: Any, prompts: list[str]) -> Tensor:
    """(B, T) int64, padded to the tokenizer's full length."""
    return tokenizer(
        prompts, padding="max_length", truncation=True,
        max_length=tokenizer.model_max_length, return_tensors="pt",
    ).input_ids  # fmt: skip


def encode_text(base: Base, prompts: list[str]) -> Tensor:
    """Prompts -> text_states (B, T, D): the text encoder's last hidden states."""
    if base.transformer is not None:
        return wan_vace.encode_text(base, prompts)
    ids = token_ids(base.tokenizer, prompts).to(base.text_encoder.device)
    return base.text_encoder(ids).last_hidden_state
