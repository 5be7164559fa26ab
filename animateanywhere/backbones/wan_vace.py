"""Wan 2.1 VACE: a diffusion transformer conditioned on a video of skeletons.

Wan (arXiv 2503.20314) predicts the flow from latents to noise, for clips whose VAE compresses time
(see `vae`). VACE (arXiv 2503.07598) adds a branch that reads a control video, here skeletons, and a
mask of what is to be generated: everything, or a region of a scene (`aa swap`), where pictures of
whom to put there come in front of the clip. The text encoder, UMT5, has six billion frozen
weights: they stay in main memory in half precision, each layer is moved to the denoiser's device
while it runs, and the states of a prompt are cached.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import UniPCMultistepScheduler, WanVACETransformer3DModel
from diffusers.loaders import WanLoraLoaderMixin
from diffusers.models.transformers.transformer_wan import (
    WanAttention,
    WanAttnProcessor,
    WanTransformerBlock,
)
from diffusers.models.transformers.transformer_wan_vace import WanVACETransformerBlock
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_map
from transformers import T5Tokenizer, UMT5EncoderModel

from animateanywhere.backbones.create_tokenizer import t5_tokenizer
from animateanywhere.backbones.family import Base, Checkpoint, Family, latent_shape
from animateanywhere.backbones.guided_attention import Region, guided_attention
from animateanywhere.backbones.sources import part_of, tokenizer_of
from animateanywhere.backbones.spec import Model
from animateanywhere.backbones.vae import VAES, encode_frames, spatial_factor, temporal_factor
from animateanywhere.pose import openpose_drawing

# Names of layers in diffusers' transformer, and in Wan's original code
OWN_NAMES = {
    "condition_embedder.time_embedder.linear_1": "time_embedding.0",
    "condition_embedder.time_embedder.linear_2": "time_embedding.2",
    "condition_embedder.text_embedder.linear_1": "text_embedding.0",
    "condition_embedder.text_embedder.linear_2": "text_embedding.2",
    "condition_embedder.time_proj": "time_projection.1",
    "attn1": "self_attn", "attn2": "cross_attn", "to_out.0": "o", "to_q": "q", "to_k": "k",
    "to_v": "v", "ffn.net.0.proj": "ffn.0", "ffn.net.2": "ffn.2",
}  # fmt: skip
GRAY = 127.5  # zero as a pixel of the VAE: what is not shown
PROMPTS_AT_ONCE = 32  # in one pass of the text encoder
LENGTH = 512  # tokens of a padded prompt; the transformer attends to the padding, zeros, as well
TYPICAL_LENGTH = 64  # tokens of a usual prompt without padding, for estimates


def create(name: str, model: Model, out: Path, captions: list[str]) -> Any:
    """See `Family.create`. Transformer and text encoder keep the half precision in which they are
    published."""
    if name != "tokenizer":
        half = name in ("transformer", "text_encoder")
        return part_of(FAMILY.parts[name], getattr(model, name), name, half)
    table = model.text_encoder
    if "from" not in table:
        return t5_tokenizer(captions, table.get("vocab_size", 1200), LENGTH)
    tokenizer = tokenizer_of(T5Tokenizer, table)
    tokenizer.model_max_length = LENGTH  # UMT5's own has no maximum
    return tokenizer


def build(base: Base, video: bool) -> Any:
    """The transformer, for images and video: a picture is a clip of one frame."""
    return base.denoiser


def predict(
    network: Any,
    x: Tensor,
    timesteps: Tensor,
    pose_latents: Tensor,
    text_states: Tensor,
    region: Region | None = None,
) -> Tensor:
    """See `Predict`, for clips of T latents.

    x: (B, T, C, h, w). timesteps: (B,), 1000 times the share of noise. pose_latents: from
    `control`, (B, T, K, h, w). text_states: (B, L, D) with L up to 512. Returns the flow, shaped
    like x.
    """
    _set_region(network, region)
    padding = LENGTH - text_states.shape[1]
    y = network(
        rearrange(x, "b t c h w -> b c t h w"),
        timesteps,
        F.pad(text_states, (0, 0, 0, padding)),
        control_hidden_states=rearrange(pose_latents, "b t c h w -> b c t h w"),
    ).sample
    return rearrange(y, "b c t h w -> b t c h w")


def control(
    vae: Any, pictures: np.ndarray | Tensor, clip: bool, scene: np.ndarray | None = None,
    region: np.ndarray | None = None,
) -> Tensor:  # fmt: skip
    """Encode skeleton pictures (N, H, W, 3) uint8 as the input of VACE's branch, (T, K, h, w).

    K consists of the latents of what is preserved ("inactive"), of the control video ("reactive"),
    and of the mask of what is generated, with a channel for each pixel of a latent pixel (arXiv
    2503.07598, section 3.2). What a part does not show is gray in it.

    Args:
        clip: see `vae.encode_frames`.
        scene: frames (N, H, W, 3) uint8 that are preserved outside of the region; None: nothing is.
        region: (N, H, W) in [0, 1], more than 0.5 is generated; None: everything is.
    """
    if scene is None or region is None:
        reactive = encode_frames(vae, pictures, clip=clip)  # (T, C, h, w)
        gray = torch.full(pictures.shape, GRAY).to(reactive.device)
        inactive = encode_frames(vae, gray if clip else gray[:1], clip=clip).expand_as(reactive)
        mask = reactive.new_ones(len(reactive), spatial_factor(vae) ** 2, *reactive.shape[2:])
        return torch.cat([inactive, reactive, mask], 1)
    inside = torch.from_numpy(region > 0.5)  # (N, H, W)
    shown = inside[..., None]
    reactive, inactive = (
        encode_frames(vae, torch.where(where, torch.as_tensor(frames).half(), GRAY), clip=clip)
        for where, frames in ((shown, pictures), (~shown, scene))
    )  # half precision holds all gray levels, and 127.5
    mask = _mask_channels(vae, inside, len(reactive), clip).to(reactive)
    return torch.cat([inactive, reactive, mask], 1)


def reference(vae: Any, pictures: np.ndarray) -> Tensor:
    """Encode pictures (R, H, W, 3) uint8, each of them whole, on white, as the input of VACE's
    branch that comes in front of a clip's: (R, K, h, w), preserved, with a mask of zeros.

    Predictions for these positions are of no use.
    """
    latents = encode_frames(vae, pictures)  # (R, C, h, w)
    rest = latents.new_zeros(len(latents), spatial_factor(vae) ** 2, *latents.shape[2:])
    return torch.cat([latents, torch.zeros_like(latents), rest], 1)


def _mask_channels(vae: Any, inside: Tensor, count: int, clip: bool) -> Tensor:
    """A mask (N, H, W) at the size of `count` latents, (count, S², H / S, W / S): a channel for
    each pixel, of the frame that is nearest in time (as diffusers has it)."""
    side, packed = spatial_factor(vae), temporal_factor(vae)
    length = 1 + packed * (count - 1) if clip else count
    nearest = (torch.arange(count) + 0.5) * length / count
    chosen = inside[nearest.long().clamp(max=len(inside) - 1)]
    return rearrange(chosen, "t (h a) (w b) -> t (a b) h w", a=side, b=side)


def encode_pose(base: Base, pictures: np.ndarray, clip: bool) -> Tensor:
    """See `Family.encode_pose` and `control`."""
    return control(base.vae, pictures, clip)


def encode_region(
    base: Base, pictures: np.ndarray | None, scene: np.ndarray, region: np.ndarray
) -> Tensor:
    """See `Family.encode_region` and `control`."""
    drawn = torch.full(scene.shape, GRAY) if pictures is None else pictures
    return control(base.vae, drawn, True, scene, region)


def encode_reference(base: Base, pictures: np.ndarray) -> Tensor:
    """See `Family.encode_reference` and `reference`."""
    return reference(base.vae, pictures)


def pose_shape(base: Base) -> tuple[int, ...]:
    return base.denoiser.config.vace_in_channels, *latent_shape(base)[1:]


def stride(base: Base) -> int:
    """See `Family.stride`: a patch of latents; the rotary position embeddings take any number."""
    return spatial_factor(base.vae) * int(base.denoiser.config.patch_size[-1])


def encode_text(base: Base, prompts: list[str]) -> Tensor:
    """Encode B prompts as states (B, T, D) float32, padded with zeros to the longest of them.

    States of single prompts are cached in `base.text_cache`.
    """
    cache = base.text_cache
    new = sorted({prompt for prompt in prompts if prompt not in cache})
    for start in range(0, len(new), PROMPTS_AT_ONCE):
        some = new[start : start + PROMPTS_AT_ONCE]
        tokens = base.tokenizer(
            some, padding=True, truncation=True, max_length=LENGTH, return_tensors="pt"
        )
        with torch.no_grad(), _layers_on(base.text_encoder, base.denoiser.device):
            states = base.text_encoder(tokens.input_ids, tokens.attention_mask).last_hidden_state
        for prompt, row, mask in zip(some, states, tokens.attention_mask, strict=True):
            cache[prompt] = row[: int(mask.sum())].float().cpu()
    states = nn.utils.rnn.pad_sequence([cache[prompt] for prompt in prompts], batch_first=True)
    return states.to(base.denoiser.device)


def text_shape(base: Base) -> tuple[int, int]:
    return TYPICAL_LENGTH, base.denoiser.config.text_dim


@contextmanager
def _layers_on(text_encoder: Any, device: torch.device) -> Iterator[None]:
    """Run each layer of the text encoder on a device, with its weights moved there only while it
    runs; on a CPU in float32, since most CPUs are many times slower in half precision."""
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    stored: dict[nn.Parameter, Tensor] = {}

    def moved(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return value.to(device, dtype) if value.is_floating_point() else value.to(device)

    def load(layer: nn.Module, args: Any, kwargs: Any) -> Any:
        for weight in layer.parameters():
            stored[weight] = weight.data
            weight.data = moved(weight.data)
        return tree_map(moved, (args, kwargs))

    def unload(layer: nn.Module, args: Any, out: Any) -> None:
        for weight in layer.parameters():
            weight.data = stored.pop(weight)

    stack = text_encoder.encoder
    hooks = [
        hook
        for layer in (*stack.block, stack.final_layer_norm)
        for hook in (
            layer.register_forward_pre_hook(load, with_kwargs=True),
            layer.register_forward_hook(unload, always_call=True),
        )
    ]
    try:
        with torch.autocast(device.type, enabled=False):  # UMT5 overflows in float16
            yield
    finally:
        for hook in hooks:
            hook.remove()


def read_lora(tensors: dict[str, Tensor], transformer: Any) -> tuple[dict[str, Tensor], Any]:
    """See `Family.read_lora`. diffusers has already multiplied the tensors by their alphas."""
    return WanLoraLoaderMixin.lora_state_dict(tensors), None


def kohya_name(layer: str) -> str | None:
    """The name of a layer in tools that use Wan's original names, such as ComfyUI."""
    part, _, inner = layer.partition(".")
    return f"diffusion_model.{own_name(inner)}" if part == "transformer" else None


def architecture(base: Base) -> tuple[str, str]:
    return "wan2.1", "wan2.1"


def own_name(layer: str) -> str:
    """The name in Wan's original code of a linear layer of diffusers' transformer."""
    if layer == "proj_out":
        return "head.head"
    for theirs, own in OWN_NAMES.items():
        layer = layer.replace(theirs, own)
    return layer.replace("proj_in", "before_proj").replace("proj_out", "after_proj")


def guide(transformer: WanVACETransformer3DModel, gamma: float) -> None:
    """Enable mask-guided attention in all attention layers of a transformer, in place, as
    `guided_attention.guide` does in a UNet.

    Its layers accept no further arguments, so `predict` sets the region on their common processor.
    """
    processor = GuidedWanAttention(gamma)
    for layer in transformer.modules():
        if isinstance(layer, WanAttention):
            layer.set_processor(processor)


class GuidedWanAttention(WanAttnProcessor):
    """diffusers' attention processor with the appended channel of `guided_attention`; without a
    region it is plain."""

    def __init__(self, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma
        self.pixels: Tensor | None = None  # (B, L), of the clip's patches
        self.tokens: Tensor | None = None  # (B, 512)

    def __call__(
        self,
        attn: WanAttention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Attend from hidden_states (B, L, D) to encoder_hidden_states (B, 512, D) or
        themselves."""
        if self.pixels is None or self.tokens is None or self.gamma == 1:
            return super().__call__(
                attn, hidden_states, encoder_hidden_states, attention_mask, rotary_emb
            )
        cross = encoder_hidden_states is not None
        context = encoder_hidden_states if cross else hidden_states
        q, k, v = (
            x.unflatten(2, (attn.heads, -1))
            for x in (
                attn.norm_q(attn.to_q(hidden_states)),
                attn.norm_k(attn.to_k(context)),
                attn.to_v(context),
            )
        )  # (B, L, H, d), (B, T, H, d)
        if rotary_emb is not None:
            q, k = _rotate(q, *rotary_emb), _rotate(k, *rotary_emb)
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        m_k = self.tokens if cross else self.pixels
        x = guided_attention(q, k, v, self.pixels, m_k, self.gamma)
        x = attn.to_out[0](x.transpose(1, 2).flatten(2).type_as(q))  # (B, L, D)
        return attn.to_out[1](x)


def _set_region(transformer: WanVACETransformer3DModel, region: Region | None) -> None:
    """Set the region for this pass and its backward pass, which may recompute parts of it."""
    processor = transformer.blocks[0].attn1.processor
    if not isinstance(processor, GuidedWanAttention):
        return
    processor.pixels = processor.tokens = None
    if region is not None:
        patch = transformer.config.patch_size[1:]
        small = F.avg_pool2d(region.mask.flatten(0, 1).float(), patch)  # (B·T, 1, h', w')
        processor.pixels = small.reshape(len(region.mask), -1)
        padding = LENGTH - region.tokens.shape[1]
        processor.tokens = F.pad(region.tokens, (0, padding))


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding (Su et al. 2021, arXiv 2104.09864): rotate each pair of channels of
    x (B, L, H, d) by its angle, given as cos and sin (1, L, 1, d)."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)).contiguous())
    rotation = torch.complex(cos[..., 0::2].float(), sin[..., 0::2].float())
    return torch.view_as_real(pairs * rotation).flatten(-2).type_as(x)


FAMILY = Family(
    name="Wan 2.1 VACE",
    parts={
        "tokenizer": T5Tokenizer, "text_encoder": UMT5EncoderModel, "vae": VAES,
        "scheduler": UniPCMultistepScheduler, "transformer": WanVACETransformer3DModel,
    },
    denoiser="transformer",
    hashed=("transformer",),
    learns_tokens=False,
    blocks=(WanTransformerBlock, WanVACETransformerBlock),
    stacks=("blocks", "vace_blocks"),
    checkpoint=Checkpoint(
        ("transformer",), frozenset({"vace_patch_embedding.weight"}), "transformer of Wan 2.1 VACE"
    ),
    create=create,
    build=build,
    guide=guide,
    predict=predict,
    encode_pose=encode_pose,
    encode_region=encode_region,
    encode_reference=encode_reference,
    draw=openpose_drawing.draw,
    encode_text=encode_text,
    pose_shape=pose_shape,
    stride=stride,
    text_shape=text_shape,
    read_lora=read_lora,
    kohya_name=kohya_name,
    pipeline="WanVACEPipeline",
    architecture=architecture,
    half="bf16",  # as in diffusers' pipeline
    pretrained=True,
)  # fmt: skip
