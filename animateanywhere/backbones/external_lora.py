"""LoRA files that other people's tools made: a style, or what lets a base do with a few steps (LCM,
Luo et al. 2023, arXiv 2311.05556; distilled Wan)."""

from __future__ import annotations

from pathlib import Path

from rich.markup import escape
from safetensors import SafetensorError
from safetensors.torch import load_file

from animateanywhere.backbones.base import Base
from animateanywhere.core.errors import UsageError
from animateanywhere.core.messages import warn


def add_lora(base: Base, file: Path, scale: float = 1.0) -> None:
    """Merge a LoRA into the denoiser, in place: the names of diffusers, of kohya's tools, of Wan.

    scale: so much of it counts. What it holds for the text encoder is left out, with a warning; on
    an image UNet's widened input the pose's channels are left alone. Raises UsageError for a file
    that is not a LoRA, and for one that belongs to another kind of base.
    """
    name, network = base.family.denoiser, base.denoiser
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"{file}: not readable as safetensors ({reason})") from None
    try:
        found, alphas = base.family.read_lora(tensors, network)
        own = {key: value for key, value in found.items() if key.startswith(f"{name}.")}
        if not own:
            raise ValueError(f"nothing in it is for a {name}")
        network.load_lora_adapter(own, prefix=name, network_alphas=alphas)
    except (KeyError, ValueError, RuntimeError, IndexError, TypeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(f"{file}: no LoRA for {base.config['name']} ({reason})") from None
    network.fuse_lora(lora_scale=scale)
    network.unload_lora()
    if len(own) < len(found):
        warn(escape(f"{file}: what it holds for the text encoder is left out"))
