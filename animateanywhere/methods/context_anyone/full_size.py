"""The network of the paper at full size: Wan 2.1's text-to-video transformer with the new parts,
its VAE, UMT5, and as the second encoder the CLIP image encoder of Wan's image-to-video networks.

`create_parts` begins with published weights, which a recipe names (`recipes/cast-wan.toml`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import WanTransformer3DModel
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPVisionModel

from animateanywhere.backbones import wan_vace
from animateanywhere.backbones.clip_image import clip_pixels
from animateanywhere.backbones.create import create_base
from animateanywhere.backbones.family import Base, Family, latent_shape
from animateanywhere.backbones.sources import load_config, part_of
from animateanywhere.backbones.spec import Model
from animateanywhere.methods.context_anyone.settings import Recipe
from animateanywhere.methods.context_anyone.transformer import (
    CastBlock,
    CastTransformer,
    from_text_to_video,
)


def padded_text(base: Base, prompts: list[str]) -> Tensor:
    """See `Family.encode_text`: states (B, 512, D), zeros after the prompt, as Wan saw them."""
    return padded(wan_vace.encode_text(base, prompts))


def padded(states: Tensor) -> Tensor:
    """States (B, L, D) of prompts, with zeros up to the length that Wan was trained with."""
    return F.pad(states, (0, 0, 0, wan_vace.LENGTH - states.shape[1]))


def text_shape(base: Base) -> tuple[int, int]:
    return wan_vace.LENGTH, base.denoiser.config.text_dim


FAMILY: Family = replace(
    wan_vace.FAMILY, name="ContextAnyone",
    # The transformer last: it takes the width of image tokens
    parts={
        **{name: kind for name, kind in wan_vace.FAMILY.parts.items() if name != "transformer"},
        "image_encoder": CLIPVisionModel, "transformer": CastTransformer,
    },
    hashed=("transformer", "image_encoder"), optional=("image_encoder",), blocks=(CastBlock,),
    stacks=("blocks",), build=lambda base, video: base.denoiser, encode_region=None,
    encode_reference=None, encode_text=padded_text, pose_shape=latent_shape, text_shape=text_shape,
    pipeline=None, pretrained=False,
)  # fmt: skip


def create_parts(settings: Recipe, out: Path) -> None:
    """Create the parts that are missing in `out`, from the sources that a recipe names.

    Raises UsageError for weights that do not fit, and errors as `create_base` does.
    """
    family = replace(FAMILY, create=partial(_part, settings))
    if not settings.cast.image_tokens:
        parts = {name: kind for name, kind in family.parts.items() if name != "image_encoder"}
        family = replace(family, parts=parts)
    create_base(settings.model, out, [], settings.seed, family)


def _part(settings: Recipe, name: str, model: Model, out: Path, captions: list[str]) -> Any:
    """See `Family.create`."""
    if name not in ("transformer", "image_encoder"):
        return wan_vace.create(name, model, out, captions)
    kind = CLIPVisionModel if name == "image_encoder" else WanTransformer3DModel
    part = part_of(kind, getattr(model, name), name)
    if name == "image_encoder":
        return part
    own: dict[str, Any] = {"pose_channels": part.config.in_channels if settings.cast.poses else 0}
    if settings.cast.image_tokens:
        own["image_dim"] = int(load_config(out / "image_encoder")["hidden_size"])
    return from_text_to_video(part, **own, **settings.transformer)


def image_tokens(encoder: Any, pictures: np.ndarray | Sequence[np.ndarray]) -> Tensor:
    """Image tokens (K, M, D) of pictures (K, H, W, 3) uint8: the states before the last layer, as
    in Wan's image-to-video networks."""
    with torch.no_grad():
        out = encoder(clip_pixels(encoder, np.stack(list(pictures))), output_hidden_states=True)
    states: Tensor = out.hidden_states[-2].float()
    return states
