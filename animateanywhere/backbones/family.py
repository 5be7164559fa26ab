"""What a base is, and what kinds of backbone do, each in its own way.

Everything that depends on the kind of backbone is a field of `Family`: there is one record a kind
(`sd_unet`, `controlnet`, `wan_vace`), and `base.family_of` chooses it once, when a base is loaded
or made. Other code asks `base.family` and knows no kind. A new kind is a module with a record of
its own, and a line in `family_of`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from torch import Tensor, nn

from animateanywhere.backbones.guided_attention import Region
from animateanywhere.backbones.spec import Model


class Predict(Protocol):
    """One pass of a network that `Family.build` made.

    x: noisy latents (B, F, C, h, w). timesteps: (B,). pose_latents: (B, F, *`Family.pose_shape`).
    text_states: (B, T, D). region: None leaves attention plain. Returns (B, F, C, h, w), in the
    scheduler's prediction type.
    """

    def __call__(
        self,
        network: Any,
        x: Tensor,
        timesteps: Tensor,
        pose_latents: Tensor,
        text_states: Tensor,
        region: Region | None = None,
    ) -> Tensor: ...


class Checkpoint(NamedTuple):
    """A single file in which others pass on weights of a family."""

    holds: tuple[str, ...]  # parts, by folder name
    marks: frozenset[str]  # ends of names of tensors, by all of which it is recognized
    called: str  # "file is no ..."


@dataclass(frozen=True)
class Family:
    """Facts and functions of one kind of backbone. Names of parts are those of their folders."""

    name: str  # as messages call it
    parts: Mapping[str, Any]  # class of each, in the order they are made; of the VAE all it may be
    denoiser: str  # the part that denoises, and the prefix of its parameters: "unet", "transformer"
    hashed: tuple[str, ...]  # parts whose weights personal weights stand on
    # Whether a new token can be learned: the text encoder may train, and is where the denoiser is.
    # Else it is frozen: in half precision, in main memory, and what it said is kept.
    learns_tokens: bool
    blocks: tuple[type[nn.Module], ...]  # computed again in the backward pass (`low_memory`)
    stacks: tuple[str, ...]  # attributes of the network that hold blocks, to compile
    checkpoint: Checkpoint
    # A part of a new base, from where the recipe says or fresh: (name, recipe's table of parts,
    # folder with the parts made so far, captions to train a tokenizer on)
    create: Callable[[str, Model, Path, list[str]], Any]
    # The network for images or, if the second argument says so, for video; they share weights
    build: Callable[[Base, bool], Any]
    guide: Callable[[Any, float], None]  # let attention of a network obey a region, by gamma
    predict: Predict
    # Skeleton pictures (N, H, W, 3) uint8, and whether they follow one another -> what the network
    # sees of them, (T, *pose_shape)
    encode_pose: Callable[[Base, np.ndarray, bool], Tensor]
    encode_text: Callable[[Base, list[str]], Tensor]  # prompts -> states (B, T, D)
    pose_shape: Callable[[Base], tuple[int, ...]]  # of one latent frame, as `encode_pose` makes it
    text_shape: Callable[[Base], tuple[int, int]]  # of a prompt: T, about, and D
    # A LoRA file of other tools, for a network -> its tensors by diffusers' names, and their alphas
    read_lora: Callable[[dict[str, Tensor], Any], tuple[dict[str, Tensor], Any]]
    # A layer ("unet.conv_in") as tools of kohya's kind call it; None where they have no such layer
    kohya_name: Callable[[str], str | None]
    architecture: Callable[[Base], tuple[str, str]]  # as ModelSpec calls it, and kohya's tools
    optional: tuple[str, ...] = ()  # parts that a base may lack
    beside: tuple[str, ...] = ()  # networks that run with the denoiser, and never train
    ready: bool = False  # whether its parts come trained, so that a base wants no training


def token_ids(tokenizer: Any, prompts: list[str]) -> Tensor:
    """(B, T) int64, padded to the tokenizer's full length."""
    return tokenizer(
        prompts, padding="max_length", truncation=True,
        max_length=tokenizer.model_max_length, return_tensors="pt",
    ).input_ids  # fmt: skip


@dataclass
class Base:
    """The parts of a base, on one device, in eval mode, and what its kind of backbone does."""

    folder: Path
    config: dict[str, Any]  # name, size, frames, fps, guidance_scale
    hash: str  # of the weights that personal weights stand on
    parts: dict[str, Any]  # by folder name, as `family.parts` lists them
    family: Family
    packed: int = 1  # frames that share a latent, as `vae.packs` says
    text_cache: dict[str, Tensor] = field(default_factory=dict)  # states (T, D) by prompt

    @property
    def tokenizer(self) -> Any:
        return self.parts["tokenizer"]

    @property
    def text_encoder(self) -> Any:
        return self.parts["text_encoder"]

    @property
    def vae(self) -> Any:
        return self.parts["vae"]

    @property
    def scheduler(self) -> Any:
        return self.parts["scheduler"]

    @property
    def denoiser(self) -> Any:
        """The UNet or transformer that denoises images."""
        return self.parts[self.family.denoiser]

    @property
    def packs_clips(self) -> bool:
        """Whether the latents of a clip are something else than those of its frames."""
        return self.packed > 1

    @property
    def networks(self) -> dict[str, Any]:
        """The parts with weights."""
        return {name: part for name, part in self.parts.items() if isinstance(part, nn.Module)}

    @property
    def denoising(self) -> dict[str, Any]:
        """The networks that a denoising step goes through."""
        others = ("vae", "text_encoder")
        return {name: part for name, part in self.networks.items() if name not in others}

    def copy(self) -> Base:
        """The same base with a denoiser of its own, that changes with no other; VAE, text encoder
        and what never trains are shared."""
        beside = self.family.beside
        own = {n: copy.deepcopy(part) for n, part in self.denoising.items() if n not in beside}
        return replace(self, parts={**self.parts, **own})
