"""LoRA files of other tools: a style, or a distillation that needs only a few denoising steps (LCM,
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
    """Merge a LoRA into the denoiser's weights, in place.

    Tensor names may be those of diffusers, of kohya's tools, or of Wan. scale: factor on the LoRA's
    change of the weights. Layers of the text encoder are ignored, with a warning; the pose channels
    of a UNet's widened input are not changed. Raises UsageError for a file that is not a LoRA, or
    that belongs to another family of bases.
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
            raise ValueError(f"it has no layers of a {name}")
        network.load_lora_adapter(own, prefix=name, network_alphas=alphas)
    except (KeyError, ValueError, RuntimeError, IndexError, TypeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(f"{file}: not a LoRA for base {base.config['name']} ({reason})") from None
    network.fuse_lora(lora_scale=scale)
    network.unload_lora()
    if len(own) < len(found):
        warn(escape(f"{file}: its layers of the text encoder are ignored"))
