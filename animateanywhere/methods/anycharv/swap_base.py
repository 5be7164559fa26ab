"""A base for `aa swap`: a folder with its own UNet, and the name of the base that the rest comes
from (`parts` in base.toml)."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel

from animateanywhere.backbones import sd_unet
from animateanywhere.backbones.base import Base, find_base, latent_shape, load_base, load_parts
from animateanywhere.backbones.borrowing import command_config
from animateanywhere.backbones.create import save_part
from animateanywhere.backbones.family import Family
from animateanywhere.core.errors import UsageError
from animateanywhere.core.frame_size import Size
from animateanywhere.methods.anycharv import full_size
from animateanywhere.training.picture_encoder import PictureEncoder

COMMAND = "swap"
MOST = 4096  # pixels of a side of reference pictures
OWN = ("image_encoder", "reference_unet")  # parts that other bases do not have
# The paper's bases with these parts; a reference UNet only where it is not the denoiser itself
FAMILY: Family = replace(
    sd_unet.FAMILY,
    parts={
        **sd_unet.FAMILY.parts, "image_encoder": PictureEncoder,
        "reference_unet": UNet2DConditionModel,
    },
    hashed=(*sd_unet.FAMILY.hashed, *OWN),
    optional=(*sd_unet.FAMILY.optional, "reference_unet"),
)  # fmt: skip


def load_swap_base(name: str | Path = "mini-swap", device: str | torch.device = "cpu") -> Base:
    """Load a base for `aa swap`, in float32, in eval mode and without gradients.

    Raises UsageError if there is no such base, if it is for another command, and if the base that
    its other parts come from is no longer the one that it was trained with.
    """
    folder = find_base(name)
    does = "put the person of a picture into a scene"
    config = command_config(folder, COMMAND, does, "mini-swap", "anycharv")
    if (folder / "pose_guider").is_dir():
        base = load_parts(folder, config, device, full_size.FAMILY)
        full_size.require_fitting(base)
        _require_stride(base)
        return base
    base = load_parts(folder, config, device, FAMILY)
    channels, encoder = channels_of(base), base.parts["image_encoder"].config.channels
    needed, found = 3 * channels + 1, base.denoiser.config.in_channels
    if found != needed or encoder != channels:
        raise UsageError(
            f"{folder}: its networks do not fit each other: with a VAE of {channels} channels, the "
            f"UNet has {needed} and the picture encoder {channels} input channels, but here "
            f"{found} and {encoder}; get the base again"
        )
    _require_stride(base)
    reference_size(base)
    return base


def _require_stride(base: Base) -> None:
    """Raise UsageError for a frame size that the network cannot have."""
    if base.config["size"] % (stride := base.family.stride(base)):
        raise UsageError(
            f"{base.folder / 'base.toml'}: size must be a multiple of {stride}, and is "
            f"{base.config['size']}; get the base again"
        )


def reference_size(base: Base) -> Size:
    """Width and height of reference pictures, in pixels."""
    sides: list[Any] = [base.config.get(key) for key in ("reference_width", "reference_height")]
    stride = base.family.stride(base)
    for side in sides:
        if type(side) is not int or not 0 < side <= MOST or side % stride:
            raise UsageError(
                f"{base.folder}: base.toml lacks the size of reference pictures, reference_width "
                f"and reference_height: multiples of {stride} up to {MOST}"
            )
    return Size(*sides)


def create_swap_base(parts: str, own_reference: bool, out: Path, seed: int) -> None:
    """Create the parts of a swap base that are missing in `out`, from the base `parts`.

    The UNet gets input channels for scene and mask, zeros at first, so that it equals that of
    `parts` before training. own_reference: with a reference UNet of its own, a copy of the former.
    """
    if all((out / name).is_dir() for name in ("unet", "image_encoder")):
        return
    base = load_base(parts)
    if base.family.denoiser != "unet" or base.denoiser.config.in_channels != 2 * channels_of(base):
        raise UsageError(f"base {parts}: only a UNet with poses beside its latents can learn swaps")
    torch.manual_seed(seed)  # new layers are drawn from the global generator
    encoder = PictureEncoder(channels_of(base), base.denoiser.config.cross_attention_dim)
    save_part(encoder, out / "image_encoder")
    if own_reference:
        save_part(base.denoiser, out / "reference_unet")
    save_part(widened(base.denoiser, channels_of(base)), out / "unet")


def widened(unet: Any, channels: int) -> Any:
    """A copy of a UNet with input channels for the scene's latents and the mask, zeros at first."""
    wide = copy.deepcopy(unet)
    sd_unet.widen_conv_in(wide, channels + 1)
    return wide


def channels_of(base: Base) -> int:
    """Channels of a latent."""
    return latent_shape(base)[0]
