"""A base model: a folder in diffusers layout, be it the bundled mini one or SD 1.5 sized."""

from __future__ import annotations

import copy
import hashlib
import json
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderTiny,
    ControlNetModel,
    DDPMScheduler,
    MotionAdapter,
    UNet2DConditionModel,
    UNetMotionModel,
)
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from animateanywhere.errors import UsageError
from animateanywhere.files import sha256, write_aside
from animateanywhere.models.control import attach, control_of
from animateanywhere.recipe import Model

# Their bars and notes would break into ours; what goes wrong still raises.
diffusers_logging.set_verbosity_error()
diffusers_logging.disable_progress_bar()
transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()

BUNDLED = Path(__file__).parent.parent / "assets" / "mini"
TRAINED = Path("runs") / "base"  # where `aa base-train` leaves the user's own
BASES = Path("runs") / "bases"  # and those of other recipes, by name
# The folders of a base that hold a network each
NETWORKS = ("unet", "motion_adapter", "vae", "text_encoder", "controlnet")
# Pixels that go through the VAE at once: 32 frames of 128 a side, 2 of 512; decoding, half of that
ENCODED, DECODED = 2**19, 2**18
VAES = {"AutoencoderDC": AutoencoderDC, "AutoencoderKL": AutoencoderKL}
VAES["AutoencoderTiny"] = AutoencoderTiny


@dataclass
class Base:
    """The parts of a base, on one device, in eval mode; `motion_adapter` is None before video."""

    folder: Path
    config: dict[str, Any]  # name, size, frames, fps, guidance_scale
    hash: str  # of the weights that personal weights stand on
    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextModel
    vae: Any  # one of VAES
    unet: UNet2DConditionModel
    motion_adapter: MotionAdapter | None
    scheduler: DDPMScheduler
    controlnet: ControlNetModel | None = None  # of bases that see the pose through one


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
    try:
        vae_class = VAES[load_config(folder / "vae")["_class_name"]]
        parts = {
            "tokenizer": CLIPTokenizer.from_pretrained(folder / "tokenizer"),
            "scheduler": DDPMScheduler.from_pretrained(folder / "scheduler"),
            "text_encoder": _load(CLIPTextModel, folder / "text_encoder", device),
            "vae": _load(vae_class, folder / "vae", device),
            "unet": _load(UNet2DConditionModel, folder / "unet", device),
        }
        adapter = folder / "motion_adapter"
        motion = _load(MotionAdapter, adapter, device) if adapter.is_dir() else None
        led = folder / "controlnet"
        control = _load(ControlNetModel, led, device) if led.is_dir() else None
    except (OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
        raise UsageError(f"{folder} is no whole base: {str(error).splitlines()[0]}") from None
    attach(parts["unet"], control)
    return Base(folder, config, hash_of(folder), motion_adapter=motion, controlnet=control, **parts)


def _load(kind: Any, folder: Path, device: str | torch.device) -> Any:
    # Weights may be stored in half precision; training and CPUs want float32.
    dtype = "dtype" if kind is CLIPTextModel else "torch_dtype"
    model = kind.from_pretrained(folder, use_safetensors=True, **{dtype: torch.float32})
    return model.to(device).eval().requires_grad_(False)


def apart(base: Base) -> Base:
    """The same base with a UNet and temporal layers of its own, that change with no other."""
    unet = copy.deepcopy(base.unet)
    attach(unet, base.controlnet)
    return replace(base, unet=unet, motion_adapter=copy.deepcopy(base.motion_adapter))


def load_config(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


def hash_of(folder: Path) -> str:
    """SHA-256 of the weights that personal ones build on: UNet, motion adapter, text encoder, and
    the ControlNet where there is one."""
    digest = hashlib.sha256()
    for part in ("unet", "motion_adapter", "text_encoder", "controlnet"):
        for path in sorted((folder / part).glob("*.safetensors")):
            digest.update(sha256(path).encode())
    return digest.hexdigest()


def write_base_toml(folder: Path, config: dict[str, Any]) -> None:
    """Write base.toml last: a folder with it is a finished base."""
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in config.items()]
    with write_aside(folder / "base.toml") as aside:
        aside.write_text("".join(lines), encoding="utf-8")


def widen_conv_in(unet: UNet2DConditionModel, extra: int) -> None:
    """Add `extra` input channels for the pose latents, zero-initialised, in place.

    HumanSD's conditioning (section 2.1): at step 0 the model equals the one it came from, bit for
    bit, whatever stands in the new channels.
    """
    old = unet.conv_in
    new = nn.Conv2d(
        old.in_channels + extra, old.out_channels, old.kernel_size, old.stride, old.padding
    ).to(old.weight)
    with torch.no_grad():
        new.weight.zero_()
        new.weight[:, : old.in_channels] = old.weight
        if new.bias is not None and old.bias is not None:
            new.bias.copy_(old.bias)
    unet.conv_in = new
    unet.register_to_config(in_channels=new.in_channels)


def motion_unet(unet: UNet2DConditionModel, adapter: MotionAdapter) -> UNetMotionModel:
    """The image UNet with temporal layers put in. Spatial weights are those of `unet`, temporal
    ones those of `adapter`, and not copies: what trains in one has changed in the other. A
    ControlNet that leads `unet` leads both."""
    with torch.device("meta"):
        made = UNetMotionModel.from_unet2d(unet, adapter, load_weights=False)
    made.load_state_dict({**unet.state_dict(), **adapter.state_dict()}, assign=True)
    attach(made, control_of(unet))
    return made


def encode_frames(vae: Any, frames: np.ndarray | Tensor, slice_size: int | None = None) -> Tensor:
    """Frames (N, H, W, 3) uint8 -> latents (N, C, h, w) float32, scaled to about unit variance.

    slice_size: frames at once; without, as many as `at_once` says.
    """
    rows = []
    device = next(vae.parameters()).device
    slice_size = slice_size or at_once(frames.shape[1], ENCODED)
    with torch.no_grad():
        for start in range(0, len(frames), slice_size):
            pixels = torch.as_tensor(frames[start : start + slice_size])
            latents = vae_encode(vae, to_pixels(pixels.to(device)))
            rows.append((latents.float() - _shift(vae)) * vae.config.scaling_factor)
    return torch.cat(rows)


def encode_poses(base: Base, pictures: np.ndarray) -> Tensor:
    """Skeleton pictures (N, H, W, 3) uint8 -> what the base sees of them: latents (N, C, h, w), or
    for a ControlNet the pictures themselves, (N, 3, H, W) uint8."""
    if base.controlnet is None:
        return encode_frames(base.vae, pictures)
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous().to(base.unet.device)


def decode_latents(vae: Any, latents: Tensor, slice_size: int | None = None) -> np.ndarray:
    """Latents (N, C, h, w) -> frames (N, H, W, 3) uint8, a slice at a time."""
    rows = []
    size = latents.shape[-1] * spatial_factor(vae)
    slice_size = slice_size or at_once(size, DECODED)
    with torch.no_grad():
        for part in latents.split(slice_size):
            pixels = vae.decode(part / vae.config.scaling_factor + _shift(vae)).sample
            pixels = (pixels.float().permute(0, 2, 3, 1) * 127.5 + 127.5).round().clamp(0, 255)
            rows.append(pixels.to(torch.uint8).cpu().numpy())
    return np.concatenate(rows)


def at_once(size: int, pixels: int) -> int:
    """How many frames of a side of `size` have so many pixels together; at least one."""
    return max(pixels // size**2, 1)


def vae_encode(vae: Any, pixels: Tensor) -> Tensor:
    """Pixels (N, 3, H, W) in [-1, 1] -> raw latents (N, C, h, w); the mode where there is one."""
    output = vae.encode(pixels)
    if hasattr(output, "latent_dist"):  # AutoencoderKL
        return output.latent_dist.mode()
    return output.latents if hasattr(output, "latents") else output.latent  # Tiny, DC


def to_pixels(frames: Tensor) -> Tensor:
    """(N, H, W, 3) uint8 -> (N, 3, H, W) float32 in [-1, 1]."""
    return frames.permute(0, 3, 1, 2).float() / 127.5 - 1


def _shift(vae: Any) -> float:
    return getattr(vae.config, "shift_factor", None) or 0.0


def latent_shape(base: Base) -> tuple[int, int, int]:
    """(C, h, w) of one frame at the base's size."""
    side = base.config["size"] // spatial_factor(base.vae)
    return int(base.vae.config.latent_channels), side, side


def spatial_factor(vae: Any) -> int:
    config = vae.config
    channels = getattr(config, "block_out_channels", None) or config.encoder_block_out_channels
    return 2 ** (len(channels) - 1)


def noise_share(base: Base) -> float:
    """What the frames of a clip have in common of the noise's variance, in 0..1."""
    return float(base.config.get("noise_share", 0.0))


def guidance_rescale(base: Base) -> float:
    """How far to rescale guidance: it overexposes a model trained down to zero SNR (Lin et al.
    2024, section 3.4)."""
    return 0.7 if base.scheduler.config.rescale_betas_zero_snr else 0.0


def token_ids(tokenizer: CLIPTokenizer, prompts: list[str]) -> Tensor:
    """(B, T) int64, padded to the tokenizer's full length."""
    return tokenizer(
        prompts, padding="max_length", truncation=True,
        max_length=tokenizer.model_max_length, return_tensors="pt",
    ).input_ids  # fmt: skip


def encode_text(base: Base, prompts: list[str]) -> Tensor:
    """Prompts -> text_states (B, T, D): the text encoder's last hidden states."""
    ids = token_ids(base.tokenizer, prompts).to(base.text_encoder.device)
    return base.text_encoder(ids).last_hidden_state
