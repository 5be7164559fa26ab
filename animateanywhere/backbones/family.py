"""`Base`, a loaded base model, and `Family`, what differs between kinds of backbone.

Everything that depends on the kind of backbone is a field of `Family`. There is one record for each
(`sd_unet`, `controlnet`, `wan_vace`), chosen once by `base.family_of`; other code uses
`base.family` and never tests the kind. To add one, write a module with its record and add a line to
`family_of`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from torch import Tensor, nn

from animateanywhere.backbones.guided_attention import Region
from animateanywhere.backbones.spec import Model
from animateanywhere.backbones.vae import latent_channels, spatial_factor
from animateanywhere.core.frame_size import Size, square

# A key of ours in the scheduler's config: the schedule of the betas in work with images, where it
# differs from `beta_schedule`, that of clips
IMAGE_BETAS = "image_beta_schedule"
OWN = "animateanywhere-"  # begins the names of architectures that no other tool has


class Predict(Protocol):
    """One forward pass of a network from `Family.build`.

    x: noisy latents (B, F, C, h, w). timesteps: (B,). pose_latents: (B, F, *`Family.pose_shape`).
    text_states: (B, T, D). region: for mask-guided attention; None for plain attention. Returns
    (B, F, C, h, w), of the scheduler's prediction type.
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
    """The single file in which weights of a family are published by others."""

    parts: tuple[str, ...]  # the parts in it, by folder name
    key_suffixes: frozenset[str]  # it is recognized by tensors whose names end in all of these
    description: str  # for the message "... is not a <description>"


@dataclass(frozen=True)
class Family:
    """Facts and functions of one kind of backbone. Parts are called by their folders' names."""

    name: str  # in messages
    # Class of each part, in the order of creation; for the VAE the classes it may have, by name
    parts: Mapping[str, Any]
    denoiser: str  # the denoiser's part and the prefix of its parameters: "unet", "transformer"
    hashed: tuple[str, ...]  # parts whose weights personal weights depend on
    # Whether a new token can be learned: the text encoder may train, and is on the denoiser's
    # device. Otherwise it is frozen, in half precision in main memory, and its states are cached.
    learns_tokens: bool
    blocks: tuple[type[nn.Module], ...]  # units of gradient checkpointing (`low_memory.recompute`)
    stacks: tuple[str, ...]  # attributes of the network that contain blocks to compile
    checkpoint: Checkpoint
    # Create a part of a new base, loaded or built as the recipe says: (name, table `[model]`,
    # folder of the parts created so far, captions to train a tokenizer on)
    create: Callable[[str, Model, Path, list[str]], Any]
    # The network for images or, with True, for video; both share their weights
    build: Callable[[Base, bool], Any]
    guide: Callable[[Any, float], None]  # enable mask-guided attention in a network: (it, gamma)
    predict: Predict
    # Skeleton pictures (N, H, W, 3) uint8, and whether they are consecutive frames -> the pose
    # condition (T, *pose_shape)
    encode_pose: Callable[[Base, np.ndarray, bool], Tensor]
    # Keypoints (N, 18, 3) in pixels, height and width -> skeleton pictures (N, H, W, 3) uint8, as
    # the network was trained on
    draw: Callable[[np.ndarray, int, int], np.ndarray]
    encode_text: Callable[[Base, list[str]], Tensor]  # prompts -> states (B, T, D)
    pose_shape: Callable[[Base], tuple[int, ...]]  # shape of one frame's pose condition
    stride: Callable[[Base], int]  # pixels that the sides of frames are multiples of
    text_shape: Callable[[Base], tuple[int, int]]  # (T, D) of a prompt's states; T may be typical
    # Tensors of another tool's LoRA, and the network -> tensors by diffusers' names, their alphas
    read_lora: Callable[[dict[str, Tensor], Any], tuple[dict[str, Tensor], Any]]
    # The name of a layer ("unet.conv_in") in kohya's tools; None if they have no such layer
    kohya_name: Callable[[str], str | None]
    architecture: Callable[[Base], tuple[str, str]]  # its name in ModelSpec, and in kohya's tools
    # A prompt with weights (`prompt_weights`) -> states (1, T, D); None if its weights are ignored
    encode_weighted: Callable[[Base, str], Tensor] | None = None
    # To fill a region of a scene, which `aa swap` does; both None if the network cannot.
    # Skeleton pictures uint8 (N, H, W, 3) or None for gray, consecutive frames of the scene alike,
    # and a region (N, H, W) in [0, 1] -> the pose condition (T, *pose_shape)
    encode_region: Callable[[Base, np.ndarray | None, np.ndarray, np.ndarray], Tensor] | None = None
    # Pictures (R, H, W, 3) uint8 of whom to put there, on white -> pose conditions
    # (R, *pose_shape) in front of those of each window
    encode_reference: Callable[[Base, np.ndarray], Tensor] | None = None
    optional: tuple[str, ...] = ()  # parts that a base may lack
    auxiliary: tuple[str, ...] = ()  # networks that run with the denoiser and are never trained
    # Precision of generation on a GPU: "fp16", or "bf16", in which the network was trained, if the
    # GPU computes it in hardware
    half: Literal["fp16", "bf16"] = "fp16"
    # diffusers' pipeline that a base of this family can be loaded as; None: none of them takes the
    # pose beside the latent
    pipeline: str | None = None
    pretrained: bool = False  # whether all parts are published weights, so no training is needed


def token_ids(tokenizer: Any, prompts: list[str]) -> Tensor:
    """Token ids (B, T) int64 of B prompts, padded to the tokenizer's maximum length."""
    return tokenizer(
        prompts, padding="max_length", truncation=True,
        max_length=tokenizer.model_max_length, return_tensors="pt",
    ).input_ids  # fmt: skip


@dataclass
class Base:
    """A loaded base: its parts, in eval mode, and its family."""

    folder: Path
    config: dict[str, Any]  # base.toml: name, size, frames, fps, guidance_scale...
    hash: str  # of the weights that personal weights depend on, see `base.hash_of`
    parts: dict[str, Any]  # by folder name, see `Family.parts`
    family: Family
    packed: int = 1  # frames that share one latent, see `vae.temporal_factor`
    # The hash that earlier versions gave this base, without VAE and noise schedule; it is still in
    # weights that were learned then
    earlier_hash: str = ""
    text_cache: dict[str, Tensor] = field(default_factory=dict)  # states (T, D) by prompt

    @property
    def frame(self) -> Size:
        """The size of the frames in use: a square of `config["size"]`, unless `at` set another."""
        side = int(self.config["size"])
        return Size(int(self.config.get("width", side)), int(self.config.get("height", side)))

    def at(self, frame: Size) -> Base:
        """The same base, with the same networks, for frames of another size. It is kept in the
        config, so that estimates on the meta device have it too."""
        sides = {} if frame == square(self.config["size"]) else frame._asdict()
        kept = {key: value for key, value in self.config.items() if key not in Size._fields}
        return replace(self, config={**kept, **sides})

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
        """The scheduler for clips; see `scheduler_for`."""
        return self.parts["scheduler"]

    def scheduler_for(self, network: Any) -> Any:
        """The scheduler for a network from `Family.build`.

        Networks for images and for clips may have been trained with different noise schedules:
        Stable Diffusion 1.5 with `scaled_linear` betas, AnimateDiff's temporal layers in it with
        `linear` ones, under which step 500 is as noisy as step 600 of the former. The scheduler's
        config then has `image_beta_schedule`, for the image network.
        """
        own = self.scheduler.config.get(IMAGE_BETAS)
        if own is None or network is not self.denoiser:
            return self.scheduler
        return type(self.scheduler).from_config(self.scheduler.config, beta_schedule=own)

    @property
    def denoiser(self) -> Any:
        """The UNet (the one for images) or transformer."""
        return self.parts[self.family.denoiser]

    @property
    def packs_clips(self) -> bool:
        """Whether the VAE compresses time: the latents of a clip are not those of its frames."""
        return self.packed > 1

    @property
    def networks(self) -> dict[str, Any]:
        """All parts with weights, by name."""
        return {name: part for name, part in self.parts.items() if isinstance(part, nn.Module)}

    @property
    def denoising(self) -> dict[str, Any]:
        """The networks of a denoising step, by name: all but VAE and text encoder."""
        others = ("vae", "text_encoder")
        return {name: part for name, part in self.networks.items() if name not in others}

    def copy(self) -> Base:
        """A base with its own copy of the denoiser; VAE, text encoder and auxiliary networks are
        shared."""
        shared = self.family.auxiliary
        own = {n: copy.deepcopy(part) for n, part in self.denoising.items() if n not in shared}
        return replace(self, parts={**self.parts, **own})


def latent_shape(base: Base) -> tuple[int, int, int]:
    """Shape (C, h, w) of the latent of one frame of the size in use."""
    factor, frame = spatial_factor(base.vae), base.frame
    return latent_channels(base.vae), frame.height // factor, frame.width // factor


def latent_stride(base: Base) -> int:
    """`Family.stride` of a UNet: it halves latents rounded up, and has no position embeddings in
    space, so frames need only be whole latents."""
    return spatial_factor(base.vae)
