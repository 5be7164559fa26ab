"""The network of the paper at its own size: Stable Diffusion 1.5 with AnimateDiff's temporal
layers, a ReferenceNet, a pose guider, and CLIP's image encoder in the place of the text encoder
(section 3.2, appendix A.2).

Published weights (`recipes/anycharv.toml`) and weights that are trained by the paper's four runs
(`recipes/sd15-swap.toml`) have these parts. What the network gets is as in `method`, but for three
things: cross-attention sees CLIP's image token alone, or zeros without a reference; the pose is
features that are added after the first layer (`pose_guider`); the ReferenceNet sees no pose.

The conventions are those in which the published weights were trained, as the public code tells: the
reference is cut out on black, cropped to its box and stretched to the frame; masks reach latent
size by their nearest pixel; the scene's latents are not put in outside of the region.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler, MotionAdapter, UNet2DConditionModel
from PIL import Image
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from animateanywhere.backbones import sd_unet
from animateanywhere.backbones.clip_image import clip_pixels
from animateanywhere.backbones.create import save_part
from animateanywhere.backbones.family import Base, Family, latent_shape
from animateanywhere.backbones.low_memory import convert
from animateanywhere.backbones.sources import (
    LOADING,
    fetch,
    from_folder,
    load_config,
    part_of,
    place_of,
)
from animateanywhere.backbones.vae import VAES, at_once, spatial_factor, to_pixels
from animateanywhere.core.errors import UsageError, first_line
from animateanywhere.methods.anycharv import published_weights
from animateanywhere.methods.anycharv.pose_guider import PoseGuider, add_poses
from animateanywhere.methods.anycharv.reference_picture import cropped
from animateanywhere.methods.anycharv.settings import Parts
from animateanywhere.pose import openpose_drawing

GROUND = 0  # gray level around a person who is cut out, and of what is masked in scenes
PIXELS = 2**18  # of skeleton pictures in one pass


def build(base: Base, video: bool) -> Any:
    """See `Family.build`; the network takes pose features."""
    network = sd_unet.build(base, video)
    add_poses(network)
    return network


def encode_pose(base: Base, pictures: np.ndarray, clip: bool) -> Tensor:
    """See `Family.encode_pose`: features (N, P, h, w)."""
    size = at_once(pictures.shape[1] * pictures.shape[2], PIXELS)
    device = base.denoiser.device
    with torch.no_grad():
        return torch.cat(
            [
                pose_features(base.parts["pose_guider"], some.to(device))
                for some in torch.from_numpy(pictures).split(size)
            ]
        )


def pose_features(guider: Any, pictures: Tensor) -> Tensor:
    """What a pose guider makes of skeleton pictures (N, H, W, 3) in 0..255: (N, P, h, w)."""
    features: Tensor = guider((to_pixels(pictures) + 1) / 2)
    return features


def nothing(base: Base, prompts: list[str]) -> Tensor:
    """See `Family.encode_text`: what cross-attention sees without a reference, (B, 1, D) zeros."""
    width = base.denoiser.config.cross_attention_dim
    return torch.zeros(len(prompts), 1, width, device=base.denoiser.device)


def no_words(base: Base) -> Tensor:
    """States (1, 0, D) of no words: cross-attention sees the image's token alone."""
    return nothing(base, [""])[:, :0]


def pose_shape(base: Base) -> tuple[int, ...]:
    return base.denoiser.config.block_out_channels[0], *latent_shape(base)[1:]


def image_tokens(encoder: Any, pictures: np.ndarray) -> Tensor:
    """The CLIP image embeddings of pictures (K, H, W, 3) uint8, each as one token, (K, 1, D).

    The picture is squeezed to the encoder's square, as in the public code.
    """
    with torch.no_grad():
        tokens: Tensor = encoder(clip_pixels(encoder, pictures)).image_embeds[:, None].float()
    return tokens


# Of which parts there are, and how they are used
FAMILY: Family = replace(
    sd_unet.FAMILY,
    name="AnyCharV",
    parts={
        "vae": VAES, "scheduler": DDPMScheduler, "unet": UNet2DConditionModel,
        "motion_adapter": MotionAdapter, "reference_unet": UNet2DConditionModel,
        "pose_guider": PoseGuider, "image_encoder": CLIPVisionModelWithProjection,
    },
    hashed=("unet", "motion_adapter", "reference_unet", "pose_guider", "image_encoder"),
    optional=(),
    build=build,
    encode_pose=encode_pose,
    draw=openpose_drawing.draw,
    encode_text=nothing,
    encode_weighted=None,
    pose_shape=pose_shape,
    learns_tokens=False,
)  # fmt: skip


def is_full_size(base: Base) -> bool:
    """Whether a base is of this kind."""
    return "pose_guider" in base.parts


def create_parts(model: Parts, out: Path, seed: int) -> None:
    """Create the parts that are missing in `out`, from the sources that a recipe names: folders or
    repositories of a hub, with published weights of AnyCharV, or those that the paper starts from.

    Raises UsageError for weights that do not fit, and errors as `sources.fetch` does.
    """
    existing = [name for name in FAMILY.parts if (out / name).is_dir()]
    model = fetch(model, existing, out)
    for number, name in enumerate(FAMILY.parts):
        if name not in existing:
            torch.manual_seed(seed + number)  # of new layers; each part's own, as in `create_base`
            save_part(_part(name, model), out / name)


def _part(name: str, model: Parts) -> Any:
    """A part from its source. Raises UsageError if it cannot be had from there."""
    table = getattr(model, name)
    if name == "scheduler":
        return part_of(DDPMScheduler, table, name)
    if "from" not in table:
        raise UsageError(f"model.{name}: name its source, from = folder or hub repository")
    folder = Path(table["from"]) / place_of(name, table)
    try:
        if not folder.is_dir():
            raise OSError(f"it has no folder {folder.name}")
        kind = str(load_config(folder).get("_class_name", ""))
        part = _LOADED.get((name, kind), _usual)(name, folder)
        if wrong := [n for n, weight in part.named_parameters() if not weight.isfinite().all()]:
            raise ValueError(f"{wrong[0]} is not finite")
        return part
    except (*LOADING, TypeError) as error:
        raise UsageError(f"cannot load {name} from {folder}: {first_line(error)}") from None


def _usual(name: str, folder: Path) -> Any:
    kind = FAMILY.parts[name]
    if name == "vae":
        kind = VAES[load_config(folder)["_class_name"]]
    return from_folder(kind, folder, torch.float32)


def _widened(name: str, folder: Path) -> Any:
    """Stable Diffusion's UNet with input channels for scene and mask, zeros at first."""
    unet = _usual(name, folder)
    channels = unet.config.out_channels
    if unet.config.in_channels == channels:
        sd_unet.widen_conv_in(unet, channels + 1)
    return unet


def _temporal(name: str, folder: Path) -> Any:
    """AnimateDiff's temporal layers, which normalize each frame by itself."""
    adapter = _usual(name, folder)
    adapter.register_to_config(**{sd_unet.EACH_FRAME: True})
    return adapter


# How a part is loaded from a network of some class, by its config.json
_LOADED: dict[tuple[str, str], Callable[[str, Path], Any]] = {
    ("unet", "UNet3DConditionModel"): lambda _, folder: published_weights.denoiser(folder)[0],
    ("motion_adapter", "UNet3DConditionModel"): (
        lambda _, folder: published_weights.denoiser(folder)[1]
    ),
    ("reference_unet", "UNet2DConditionModel"): (
        lambda _, folder: published_weights.reference_net(folder)
    ),
    ("pose_guider", "PoseGuider"): lambda _, folder: published_weights.pose_guider(folder),
    ("pose_guider", "ControlNetModel"): (
        lambda _, folder: published_weights.guider_of_controlnet(folder)
    ),
    ("unet", "UNet2DConditionModel"): _widened,
    ("motion_adapter", "MotionAdapter"): _temporal,
}


def require_fitting(base: Base) -> None:
    """Raise UsageError for parts that do not fit each other."""
    channels, unet = latent_shape(base)[0], base.denoiser.config
    guider = base.parts["pose_guider"].config
    width = base.parts["image_encoder"].config.projection_dim
    factor = 2 ** (len(guider.block_out_channels) - 1)
    for text, found, needed in (
        ("input channels of the UNet", unet.in_channels, 2 * channels + 1),
        ("input channels of the ReferenceNet",
         base.parts["reference_unet"].config.in_channels, channels),
        ("features of the pose guider", guider.conditioning_embedding_channels,
         unet.block_out_channels[0]),
        ("pixels of a feature of the pose guider", factor, spatial_factor(base.vae)),
        ("width of an image token", width, unet.cross_attention_dim),
    ):  # fmt: skip
        if found != needed:
            raise UsageError(
                f"{base.folder}: its networks do not fit each other: {text}: {found}, where "
                f"{needed} is needed; get the base again"
            )


@contextmanager
def reading(base: Base) -> Iterator[None]:
    """Have what reads pictures on the denoiser's device inside, and in main memory afterwards: it
    is of no use while a scene is denoised."""
    device = base.denoiser.device
    readers = [base.parts[name] for name in ("reference_unet", "image_encoder")]
    convert(readers, lambda tensor: tensor.to(device))
    try:
        yield
    finally:
        convert(readers, lambda tensor: tensor.cpu())


def stretched(
    picture: np.ndarray, mask: np.ndarray, width: int, height: int, background: bool = False
) -> np.ndarray:
    """A person on black, or with the background, uint8 (height, width, 3): cropped to the outline's
    box, and stretched.

    picture: uint8 (H, W, 3). mask: (H, W) in [0, 1]. Raises ValueError for an empty mask.
    """
    person, _ = cropped(picture, mask, GROUND, background)
    return np.asarray(person.resize((width, height), Image.Resampling.BICUBIC))


def cut_outs(base: Base, pictures: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> np.ndarray:
    """Reference pictures (K, height, width, 3) uint8 of the frame's size."""
    width, height = base.frame
    each, background = zip(pictures, masks, strict=True), keeps_background(base)
    return np.stack([
        stretched(picture, mask, width, height, background) for picture, mask in each
    ])  # fmt: skip


def keeps_background(base: Base) -> bool:
    """Whether the base learned from reference pictures with their background."""
    return bool(base.config.get("reference_background", False))
