"""A base for `aa cast`: a folder with transformer, scheduler and picture encoder, and the name of
the base that VAE, tokenizer and text encoder come from (`parts` in base.toml); one of full size
has them all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import UniPCMultistepScheduler
from safetensors import SafetensorError, safe_open

from animateanywhere.backbones import wan_vace
from animateanywhere.backbones.base import Base, family_in, find_base, load_base, load_parts
from animateanywhere.backbones.borrowing import command_config
from animateanywhere.backbones.create import save_part
from animateanywhere.backbones.family import Family, latent_shape
from animateanywhere.backbones.sources import part_of
from animateanywhere.core.errors import UsageError, first_line
from animateanywhere.diffusion.losses import FLOW
from animateanywhere.methods.context_anyone import full_size, phantom
from animateanywhere.methods.context_anyone.settings import Recipe
from animateanywhere.methods.context_anyone.transformer import CastBlock, CastTransformer
from animateanywhere.training.picture_encoder import PictureEncoder

COMMAND = "cast"
DOES = "make a video of the person of a picture"
LENT = ("tokenizer", "text_encoder", "vae")  # parts of the base that it begins with
GRID = 4  # image tokens of a picture, along each side


def family_with(lender: Path) -> Family:
    """The family of a base for `aa cast` that takes its other parts from the base in a folder."""
    lent = family_in(lender)
    own = {"scheduler": UniPCMultistepScheduler, "transformer": CastTransformer,
           "image_encoder": PictureEncoder}  # fmt: skip
    return replace(
        lent, name="ContextAnyone", parts={name: lent.parts[name] for name in LENT} | own,
        denoiser="transformer", optional=("image_encoder",), auxiliary=(), pipeline=None,
        hashed=("transformer", "image_encoder", *(n for n in lent.hashed if n in LENT)),
        blocks=(CastBlock,), stacks=("blocks",), build=lambda base, video: base.denoiser,
        pose_shape=latent_shape, stride=wan_vace.stride, half="bf16",
    )  # fmt: skip


def family_of(config: dict[str, Any]) -> Family:
    """The family of a base for `aa cast` with these contents of base.toml: one that takes parts of
    another base, or one of full size."""
    if phantom.is_phantom(config):
        return phantom.FAMILY
    return family_with(find_base(config["parts"])) if "parts" in config else full_size.FAMILY


def load_cast_base(name: str | Path = "mini-cast", device: str | torch.device = "cpu") -> Base:
    """Load a base for `aa cast`, in float32, in eval mode and without gradients.

    Raises UsageError if there is no such base, if it is for another command, if the base that its
    other parts come from is no longer the one that it was trained with, and for weights that do not
    fit its configs or each other.
    """
    folder = find_base(name)
    config = command_config(folder, COMMAND, DOES, "mini-cast")
    family = family_of(config)
    _require_known(folder, family.parts["transformer"])
    base = load_parts(folder, config, device, family)
    _check(base)
    return base


def create_cast_base(settings: Recipe, out: Path) -> None:
    """Create the parts of a base that are missing in `out`: the network, with new weights. Raises
    UsageError for a table [transformer] that is wrong or does not fit the base."""
    cast = settings.cast
    lender = load_base(cast.base)
    channels, words = latent_shape(lender)[0], lender.family.text_shape(lender)[1]
    follows = {
        "in_channels": channels, "out_channels": channels, "text_dim": words,
        "image_dim": words if cast.image_tokens else None,
        "pose_channels": channels if cast.poses else 0,
    }  # fmt: skip
    if twice := sorted(follows.keys() & settings.transformer.keys()):
        raise UsageError(f"[transformer]: {twice[0]} follows from the base and [cast]: remove it")
    # Each part draws its initial weights by a seed of its own, as in `create_base`
    torch.manual_seed(settings.seed)
    if cast.image_tokens and not (out / "image_encoder").is_dir():
        encoder = PictureEncoder(channels, words, bands=GRID, columns=GRID)
        save_part(encoder, out / "image_encoder")
    if not (out / "scheduler").is_dir():
        scheduler = UniPCMultistepScheduler(
            prediction_type=FLOW, use_flow_sigmas=True, flow_shift=cast.flow_shift
        )
        save_part(scheduler, out / "scheduler")
    torch.manual_seed(settings.seed + 1)
    if not (out / "transformer").is_dir():
        network = part_of(CastTransformer, settings.transformer | follows, "transformer")
        save_part(network, out / "transformer")


def _check(base: Base) -> None:
    """Raise UsageError for parts that do not fit each other."""
    network, channels = base.denoiser.config, latent_shape(base)[0]
    encoder, words = base.parts.get("image_encoder"), base.text_encoder.config.hidden_size
    wrong = ""
    if {network.in_channels, network.out_channels} != {channels}:
        wrong = f"the VAE has {channels} channels, the transformer {network.in_channels}"
    elif (poses := network.get("pose_channels", 0)) not in (0, channels):
        wrong = f"the VAE has {channels} channels, the poses {poses}"
    elif network.text_dim != words:
        wrong = f"the text encoder has {words} channels, the transformer {network.text_dim}"
    elif (network.image_dim is None) != (encoder is None):
        wrong = "the transformer and the picture encoder are of two bases"
    elif encoder is not None and (width := _width(encoder)) != network.image_dim:
        wrong = f"image tokens have {width} channels, for {network.image_dim}"
    elif base.scheduler.config.prediction_type != FLOW:
        wrong = "the scheduler is not of a flow"
    if wrong:
        raise UsageError(f"{base.folder}: its networks do not fit each other: {wrong}")
    if base.config["size"] % (stride := base.family.stride(base)):
        raise UsageError(
            f"{base.folder / 'base.toml'}: size must be a multiple of {stride}, and is "
            f"{base.config['size']}; get the base again"
        )


def _width(encoder: Any) -> int:
    """Channels of image tokens."""
    own = isinstance(encoder, PictureEncoder)
    return int(encoder.config.dim if own else encoder.config.hidden_size)


def _require_known(folder: Path, kind: Any) -> None:
    """Raise UsageError for a transformer with more weights than its config has a place for, which
    diffusers leaves out without a word: half of a network."""
    part = folder / "transformer"
    try:
        config = kind.load_config(part, local_files_only=True)
        with torch.device("meta"):
            known = kind.from_config(config).state_dict().keys()
        for path in sorted(part.glob("*.safetensors")):
            with safe_open(path, "pt") as file:
                if more := sorted(set(file.keys()) - known):
                    raise UsageError(
                        f"{path}: has weights that its config.json does not name, such as "
                        f"{more[0]}; get the base again"
                    )
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise UsageError(f"{folder}: base is incomplete or damaged: {first_line(error)}") from None
