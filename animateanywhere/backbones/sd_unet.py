"""The paper's base (section 2.1): Stable Diffusion's UNet with the pose latent concatenated to the
noisy latent, after HumanSD; for video with AnimateDiff's temporal layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler, MotionAdapter, UNet2DConditionModel, UNetMotionModel
from diffusers.loaders import StableDiffusionLoraLoaderMixin
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from einops import rearrange, repeat
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from animateanywhere.backbones.create_tokenizer import clip_tokenizer, init_text_encoder
from animateanywhere.backbones.family import (
    IMAGE_BETAS,
    OWN,
    Base,
    Checkpoint,
    Family,
    latent_shape,
    latent_stride,
    token_ids,
)
from animateanywhere.backbones.guided_attention import Region, guide
from animateanywhere.backbones.prompt_weights import parse, weigh, weighted_ids
from animateanywhere.backbones.sources import load_config, part_of, tokenizer_of
from animateanywhere.backbones.spec import Model
from animateanywhere.backbones.vae import (
    VAES,
    encode_frames,
    encoded_channels,
)
from animateanywhere.pose import skeleton

IMAGE_PARTS: dict[str, Any] = {
    "tokenizer": CLIPTokenizer, "text_encoder": CLIPTextModel, "vae": VAES,
    "scheduler": DDPMScheduler, "unet": UNet2DConditionModel,
}  # fmt: skip
SD15 = ([320, 640, 1280, 1280], 768)  # block_out_channels, cross_attention_dim
EACH_FRAME = "norm_each_frame"  # a key of ours in the adapter's config, see `motion_unet`


def create(name: str, model: Model, out: Path, captions: list[str]) -> Any:
    """See `Family.create`. The UNet's input is widened for the pose latents by zeros, so a base
    equals its source model before training."""
    if name != "unet":
        return create_part(name, model, captions)
    unet = create_unet(model, out)
    widen_conv_in(unet, encoded_channels(load_config(out / "vae")))
    return unet


def create_unet(model: Model, out: Path) -> Any:
    """The UNet for images: with the channels of the VAE in `out` if it is new, unchanged if it is
    loaded."""
    channels = encoded_channels(load_config(out / "vae"))
    config = {"in_channels": channels, "out_channels": channels, **model.unet}
    return part_of(UNet2DConditionModel, model.unet if "from" in model.unet else config, "unet")


def create_part(name: str, model: Model, captions: list[str]) -> Any:
    """See `Family.create`; all parts but the UNet."""
    if name == "tokenizer":
        table = model.text_encoder
        if "from" in table:
            return tokenizer_of(CLIPTokenizer, table)
        length = table.get("max_position_embeddings", 77)
        return clip_tokenizer(captions, table.get("vocab_size", 1200), length)
    table = getattr(model, name)
    fresh = "from" not in table
    if name == "text_encoder":
        ends = {"bos_token_id": 0, "eos_token_id": 1}  # as in `create_tokenizer`
        encoder = part_of(CLIPTextModel, {**ends, **table}, name)
        if fresh:
            init_text_encoder(encoder)
        return encoder
    own = {key: table[key] for key in (EACH_FRAME, IMAGE_BETAS) if key in table}
    part = part_of(FAMILY.parts[name], {k: v for k, v in table.items() if k not in own}, name)
    if name == "motion_adapter":
        if fresh:
            zero_init(part)
        own = {EACH_FRAME: part.config.get(EACH_FRAME, not fresh)} | own
    part.register_to_config(**own)
    return part


def zero_init(adapter: MotionAdapter) -> None:
    """Zero the last layer of each new motion module, in place, so that the temporal layers do not
    change an image UNet at first. AnimateDiff does this, diffusers does not."""
    for name, parameter in adapter.named_parameters():
        if ".proj_out." in name:
            torch.nn.init.zeros_(parameter)


def widen_conv_in(unet: UNet2DConditionModel, extra: int) -> None:
    """Add `extra` zero-initialized input channels for the pose latents, in place.

    HumanSD's conditioning (section 2.1 of the paper): before training, the output is bit-identical
    to that of the original model, whatever the pose.
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


def build(base: Base, video: bool) -> Any:
    """The base's image UNet or, for video, the same with its temporal layers. Raises ValueError for
    a base without temporal layers."""
    if not video:
        return base.denoiser
    if "motion_adapter" not in base.parts:
        raise ValueError("the base has no motion adapter")
    return motion_unet(base.denoiser, base.parts["motion_adapter"])


def motion_unet(unet: UNet2DConditionModel, adapter: MotionAdapter) -> UNetMotionModel:
    """Insert temporal layers into an image UNet. Spatial weights are shared with `unet` and
    temporal weights with `adapter`, not copied: training one changes the other.

    A temporal transformer begins with a GroupNorm. AnimateDiff's own code, with which the public
    adapters were trained (v1, v2 and v3, and others made with it), takes its statistics in each
    frame by itself; diffusers takes them over all frames of a clip. The entry `norm_each_frame` of
    the adapter's config says which: True by default for adapters that are loaded from a source,
    False for new ones and where it is missing, as in the bundled base, which was trained so.

    The norms outside of the temporal layers are those of an image UNet, in each frame by itself, as
    in v2 and v3 (`use_inflated_groupnorm`). v1 was trained with statistics over all frames there.
    """
    with torch.device("meta"):
        network = UNetMotionModel.from_unet2d(unet, adapter, load_weights=False)
        if adapter.config.get(EACH_FRAME):
            normalize_each_frame(network)
    network.load_state_dict({**unet.state_dict(), **adapter.state_dict()}, assign=True)
    return network


class FrameGroupNorm(nn.GroupNorm):
    """GroupNorm of a clip (B, C, F, H, W) with statistics of each frame by itself."""

    def forward(self, x: Tensor) -> Tensor:
        frames = rearrange(x, "b c f h w -> (b f) c h w")
        return rearrange(super().forward(frames), "(b f) c h w -> b c f h w", f=x.shape[2])


def normalize_each_frame(network: nn.Module) -> None:
    """Let the temporal transformers of a network normalize each frame by itself, in place; their
    norms get new weights."""
    for layer in network.modules():
        if isinstance(layer, AnimateDiffTransformer3D):
            norm = layer.norm
            layer.norm = FrameGroupNorm(norm.num_groups, norm.num_channels, norm.eps)


def predict(
    network: Any,
    x: Tensor,
    timesteps: Tensor,
    pose_latents: Tensor,
    text_states: Tensor,
    region: Region | None = None,
) -> Tensor:
    """See `Predict`. pose_latents: shaped like x, concatenated on the channel axis."""
    x = torch.cat([x, pose_latents], dim=2)  # (B, F, 2C, h, w)
    return run(network, x, timesteps, each_frame(text_states, x.shape[1]), region)


def run(
    unet: Any, x: Tensor, timesteps: Tensor, text_states: Tensor, region: Region | None, **more: Any
) -> Tensor:
    """Run a UNet for images or video on x (B, F, C', h, w); returns (B, F, C, h, w).

    text_states: for each frame, (B·F, T, D). more: further arguments of its forward pass.
    """
    frames = x.shape[1]
    if region is not None:
        mask, tokens = region.mask.flatten(0, 1), each_frame(region.tokens, frames)
        more["cross_attention_kwargs"] = {"region": Region(mask, tokens)}
    if isinstance(unet, UNetMotionModel):
        x = rearrange(x, "b f c h w -> b c f h w")
        y = unet(x, timesteps, encoder_hidden_states=text_states, **more).sample
        return rearrange(y, "b c f h w -> b f c h w")
    x = rearrange(x, "b f c h w -> (b f) c h w")
    times = each_frame(timesteps, frames)
    y = unet(x, times, encoder_hidden_states=text_states, **more).sample
    return rearrange(y, "(b f) c h w -> b f c h w", f=frames)


def each_frame(x: Tensor, frames: int) -> Tensor:
    """Repeat values of B videos, (B, ...), for each of their frames: (B·F, ...)."""
    return repeat(x, "b ... -> (b f) ...", f=frames)


def encode_pose(base: Base, pictures: np.ndarray, clip: bool) -> Tensor:
    """See `Family.encode_pose`. Returns latents (N, C, h, w) of the pictures, encoded one by
    one."""
    return encode_frames(base.vae, pictures)


def encode_text(base: Base, prompts: list[str]) -> Tensor:
    """Encode B prompts as the text encoder's last hidden states, (B, T, D)."""
    ids = token_ids(base.tokenizer, prompts).to(base.text_encoder.device)
    return base.text_encoder(ids).last_hidden_state


def encode_weighted(base: Base, prompt: str) -> Tensor:
    """See `Family.encode_weighted`."""
    ids, weights = weighted_ids(base.tokenizer, parse(prompt))
    both = torch.cat([ids, token_ids(base.tokenizer, [""])]).to(base.text_encoder.device)
    states, empty = base.text_encoder(both).last_hidden_state.split(1)
    return weigh(states, empty, weights)


def text_shape(base: Base) -> tuple[int, int]:
    config = base.text_encoder.config
    return config.max_position_embeddings, config.hidden_size


def read_lora(tensors: dict[str, Tensor], unet: Any) -> tuple[dict[str, Tensor], Any]:
    """See `Family.read_lora`. Factors for `conv_in` are padded with zeros for the pose channels,
    which other tools do not have."""
    found, alphas = StableDiffusionLoraLoaderMixin.lora_state_dict(tensors, unet_config=unet.config)
    out = dict(found)
    for key, value in found.items():
        if ".conv_in." in key and value.ndim == 4:
            missing = unet.conv_in.in_channels - value.shape[1]
            if missing > 0 and ("lora_A" in key or "down" in key):
                zeros = value.new_zeros(len(value), missing, *value.shape[2:])
                out[key] = torch.cat([value, zeros], 1)
    return out, alphas


def kohya_name(layer: str) -> str | None:
    """The name of a layer in sd-scripts and web UIs; None for temporal layers, which an image UNet
    does not have."""
    part, _, inner = layer.partition(".")
    if ".motion_modules." in layer or part not in ("unet", "text_encoder"):
        return None
    if part == "text_encoder":
        part, inner = "te", f"text_model.{inner.removeprefix('text_model.')}"
    return f"lora_{part}_{inner.replace('.', '_')}"


def architecture(base: Base) -> tuple[str, str]:
    """See `Family.architecture`. A UNet with other shapes than Stable Diffusion 1.5's gets a name
    from its base."""
    config = base.denoiser.config
    if ([*config.block_out_channels], config.cross_attention_dim) == SD15:
        return "stable-diffusion-v1", "sd_v1"
    own = f"{OWN}{base.config['name']}"
    return own, own


FAMILY = Family(
    name="Stable Diffusion",
    parts={**IMAGE_PARTS, "motion_adapter": MotionAdapter},
    denoiser="unet",
    hashed=("unet", "motion_adapter", "text_encoder"),
    learns_tokens=True,
    blocks=(ResnetBlock2D, Transformer2DModel, AnimateDiffTransformer3D),
    stacks=("down_blocks", "mid_block", "up_blocks"),
    checkpoint=Checkpoint(
        ("unet", "text_encoder", "vae"),
        frozenset({
            "model.diffusion_model.input_blocks.0.0.weight",
            "first_stage_model.decoder.conv_in.weight",
            "cond_stage_model.transformer.text_model.embeddings.position_embedding.weight",
        }),
        "complete checkpoint of Stable Diffusion 1.5 or a fine-tune of it",
    ),
    create=create,
    build=build,
    guide=guide,
    predict=predict,
    encode_pose=encode_pose,
    draw=skeleton.draw,
    encode_text=encode_text,
    pose_shape=latent_shape,  # the pose is encoded by the same VAE
    stride=latent_stride,
    text_shape=text_shape,
    read_lora=read_lora,
    kohya_name=kohya_name,
    architecture=architecture,
    encode_weighted=encode_weighted,
    optional=("motion_adapter",),
)  # fmt: skip
