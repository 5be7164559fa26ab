"""The network: Wan's transformer with a reference in its sequence (figure 2b of the paper).

Without a reference it equals diffusers' `WanTransformer3DModel` with the same weights, bit for bit,
so Wan's text-to-video weights load as they are. What is new has no effect at first: the output
layers of Emphasize-Attention, the values of image tokens and the embedding of poses start at zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from diffusers import WanTransformer3DModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.normalization import FP32LayerNorm
from diffusers.models.transformers.transformer_wan import (
    WanAttention,
    WanRotaryPosEmbed,
    WanTransformerBlock,
)
from diffusers.utils import BaseOutput
from einops import rearrange
from torch import Tensor, nn

from animateanywhere.methods.context_anyone.attention import (
    DualAttention,
    EmphasizeAttention,
    OneWayAttention,
    Rope,
)


class Layout(NamedTuple):
    """Numbers of tokens: of the reference and the video in the sequence, and of images in what
    cross-attention sees, where they come before the text."""

    references: int
    video: int
    images: int


@dataclass
class CastOutput(BaseOutput):
    """sample: the flow of the video (B, C, T, h, w). references: the same of the reference pictures
    (B, C, K, h, w), None without any."""

    sample: Tensor
    references: Tensor | None = None


class CastBlock(WanTransformerBlock):
    """A block of Wan with three attentions: among the tokens of reference and video, from the video
    to the reference, and to text and image tokens."""

    def __init__(
        self, dim: int, ffn_dim: int, num_heads: int, qk_norm: str, cross_attn_norm: bool,
        eps: float, added_kv_proj_dim: int | None, one_way: bool, emphasis: bool,
    ) -> None:  # fmt: skip
        super().__init__(dim, ffn_dim, num_heads, qk_norm, cross_attn_norm, eps, added_kv_proj_dim)
        self.one_way = one_way
        if one_way:
            self.attn1.set_processor(OneWayAttention())
        if added_kv_proj_dim is not None:
            self.attn2.set_processor(DualAttention())
            zero(self.attn2.add_v_proj)
        self.emphasis: Any = None
        if emphasis:
            self.emphasis = WanAttention(
                dim, num_heads, dim // num_heads, eps, cross_attention_dim_head=dim // num_heads,
                processor=EmphasizeAttention(),
            )  # fmt: skip
            self.norm_emphasis = FP32LayerNorm(dim, eps, elementwise_affine=True)
            zero(self.emphasis.to_out[0])

    def forward(
        self, hidden_states: Tensor, encoder_hidden_states: Tensor, temb: Tensor, rotary_emb: Rope,
        layout: Layout,
    ) -> Tensor:  # fmt: skip
        """The sequence (B, n + N, D) after this block.

        encoder_hidden_states: (B, M + T, D), image tokens and text. temb: shift, scale and gate of
        attention and feed-forward (B, G, 6, D), for the G = 2 times of reference and video or, with
        no reference, one.
        """
        x, n = hidden_states, layout.references
        table = self.scale_shift_table[:, None] + temb.float()  # (B, G, 6, D)
        shift, scale, gate, shift_2, scale_2, gate_2 = (
            spread(values, layout) for values in table.unbind(2)
        )

        norm = (self.norm1(x.float()) * (1 + scale) + shift).type_as(x)
        own = {"references": n} if self.one_way else {}
        x = (x.float() + self.attn1(norm, None, None, rotary_emb, **own) * gate).type_as(x)

        if self.emphasis is not None and n:
            norm = self.norm_emphasis(x.float()).type_as(x)
            video = x[:, n:] + self.emphasis(norm[:, n:], norm[:, :n])
            x = torch.cat([x[:, :n], video], 1)

        norm = self.norm2(x.float()).type_as(x)
        own = {"images": layout.images} if self.attn2.add_k_proj is not None else {}
        x = x + self.attn2(norm, encoder_hidden_states, None, None, **own)

        norm = (self.norm3(x.float()) * (1 + scale_2) + shift_2).type_as(x)
        return (x.float() + self.ffn(norm).float() * gate_2).type_as(x)


class CastTransformer(WanTransformer3DModel):
    """Wan's transformer for a video and reference pictures."""

    _no_split_modules = ["CastBlock"]  # noqa: RUF012 - as in diffusers
    _repeated_blocks = ["CastBlock"]  # noqa: RUF012
    _keep_in_fp32_modules = [*WanTransformer3DModel._keep_in_fp32_modules, "norm_emphasis"]  # noqa: RUF012
    _cp_plan = None  # that of diffusers cuts the sequence without regard to its two parts

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        patch_size: tuple[int, ...] = (1, 2, 2),
        num_attention_heads: int = 12,
        attention_head_dim: int = 128,
        in_channels: int = 16,
        out_channels: int = 16,
        text_dim: int = 4096,
        freq_dim: int = 256,
        ffn_dim: int = 8960,
        num_layers: int = 30,
        cross_attn_norm: bool = True,
        qk_norm: str = "rms_norm_across_heads",
        eps: float = 1e-6,
        image_dim: int | None = None,
        added_kv_proj_dim: int | None = None,
        rope_max_seq_len: int = 1024,
        pos_embed_seq_len: int | None = None,
        gap: int = 24,
        one_way: bool = True,
        emphasis: bool = True,
        pose_channels: int = 0,
    ) -> None:
        """The arguments of `WanTransformer3DModel`, by default those of Wan 2.1 T2V 1.3B, and:

        gap: β of Gap-RoPE, in token frames. one_way: whether the reference does not see the video.
        emphasis: whether there is Emphasize-Attention. pose_channels: of a pose latent beside the
        noisy one, 0 for none. image_dim: of image tokens, None for none.
        """
        dim = num_attention_heads * attention_head_dim
        added_kv_proj_dim = dim if image_dim is not None else None
        super().__init__(
            patch_size, num_attention_heads, attention_head_dim, in_channels, out_channels,
            text_dim, freq_dim, ffn_dim, 0, cross_attn_norm, qk_norm, eps, image_dim,
            added_kv_proj_dim, rope_max_seq_len, pos_embed_seq_len,
        )  # fmt: skip
        self.register_to_config(num_layers=num_layers, added_kv_proj_dim=added_kv_proj_dim)
        self.blocks = nn.ModuleList([
            CastBlock(
                dim, ffn_dim, num_attention_heads, qk_norm, cross_attn_norm, eps,
                added_kv_proj_dim, one_way, emphasis,
            )
            for _ in range(num_layers)
        ])  # fmt: skip
        self.pose_embedding: Any = None
        if pose_channels:
            patch: Any = tuple(patch_size)
            self.pose_embedding = nn.Conv3d(pose_channels, dim, patch, patch, bias=False)
            zero(self.pose_embedding)

    def forward(
        self,
        hidden_states: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        encoder_hidden_states_image: Tensor | None = None,
        references: Tensor | None = None,
        poses: Tensor | None = None,
        return_dict: bool = True,
    ) -> CastOutput | tuple[Tensor, Tensor | None]:
        """One pass.

        Args:
            hidden_states: noisy latents (B, C, T, h, w); T, h and w multiples of the patch's sides.
            timestep: (B,), 1000 times the share of noise. That of the reference is 0.
            encoder_hidden_states: states of the prompts (B, L, text_dim).
            encoder_hidden_states_image: image tokens (B, M, image_dim).
            references: clean latents (B, C, K, h, w) of K pictures of one person.
            poses: pose latents (B, pose_channels, T, h, w).
        """
        x, patch = hidden_states, self.config.patch_size
        if any(side % part for side, part in zip(x.shape[2:], patch, strict=True)):
            raise ValueError(f"latents of {tuple(x.shape[2:])} are no multiple of patches {patch}")
        tokens = flat(self.patch_embedding(x))
        if poses is not None:
            tokens = tokens + flat(self.pose_embedding(poses))
        count = 0 if references is None else references.shape[2]
        before = 0
        if references is not None:
            # A picture stands still for the frames of a patch
            still = self.patch_embedding(references.repeat_interleave(patch[0], 2))
            before = count * still[0, 0, 0].numel()
            tokens = torch.cat([flat(still), tokens], 1)
        rope = gap_rope(self.rope, x.shape[2:], count, self.config.gap)

        times = timestep[:, None]
        if count:
            times = torch.cat([torch.zeros_like(times), times], 1)  # (B, G)
        temb, parts, text, images = self.condition_embedder(
            times.flatten(), encoder_hidden_states, encoder_hidden_states_image,
            timestep_seq_len=times.shape[1],
        )  # fmt: skip
        layout = Layout(before, tokens.shape[1] - before, 0 if images is None else images.shape[1])
        context = text if images is None else torch.cat([images, text], 1)
        for block in self.blocks:
            tokens = block(tokens, context, parts.unflatten(2, (6, -1)), rope, layout)

        table = self.scale_shift_table[:, None] + temb[:, :, None]  # (B, G, 2, D)
        shift, scale = (spread(values, layout) for values in table.unbind(2))
        tokens = (self.norm_out(tokens.float()) * (1 + scale) + shift).type_as(tokens)
        tokens = self.proj_out(tokens)
        video = self._pictures(tokens[:, before:], *x.shape[3:])
        again = None
        if count:
            each = self._pictures(tokens[:, :before], *x.shape[3:])  # (B, C, K·p, h, w)
            again = each.unflatten(2, (count, -1)).mean(3)
        return CastOutput(video, again) if return_dict else (video, again)

    def _pictures(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """Latents (B, C, T, h, w) of tokens (B, L, p·q·r·C)."""
        p, q, r = self.config.patch_size
        return rearrange(
            tokens, "b (t h w) (p q r c) -> b c (t p) (h q) (w r)", h=height // q, w=width // r,
            p=p, q=q, r=r,
        )  # fmt: skip


def gap_rope(rope: WanRotaryPosEmbed, shape: tuple[int, ...], references: int, gap: int) -> Rope:
    """Gap-RoPE (figure 3): the references have the temporal indices 0 … K − 1, and the frames of
    the video K + β, K + β + 1, …

    It is Wan's embedding of a clip of so many frames, without the tokens of those in the gap.
    shape: T, h and w of the video's latents. Raises ValueError for a clip that is too long.
    """
    frames, height, width = shape
    patch, cells = rope.patch_size, (height // rope.patch_size[1]) * (width // rope.patch_size[2])
    start = references + gap if references else 0
    last = start + frames // patch[0]
    if max(last, height // patch[1], width // patch[2]) > rope.max_seq_len:
        raise ValueError(f"Wan's positions end at {rope.max_seq_len}, and this clip needs {last}")
    clip = torch.empty(1, 1, last * patch[0], height, width, device="meta")  # only its shape counts
    cos, sin = (
        torch.cat([table[:, : references * cells], table[:, start * cells :]], 1)
        for table in rope(clip)
    )
    return cos, sin


def spread(values: Tensor, layout: Layout) -> Tensor:
    """Values (B, G, D) of reference and video for each of their tokens, (B, n + N, D); of one kind
    alone, they are the same for all and stay (B, 1, D)."""
    if values.shape[1] == 1:
        return values
    reference, video = values.split(1, 1)
    return torch.cat(
        [reference.expand(-1, layout.references, -1), video.expand(-1, layout.video, -1)], 1
    )


def flat(x: Tensor) -> Tensor:
    """Patches (B, D, T, h, w) as tokens (B, T·h·w, D)."""
    return x.flatten(2).transpose(1, 2).contiguous()


def zero(layer: Any) -> None:
    """Zero the weights of a layer, in place."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def from_text_to_video(network: WanTransformer3DModel, **own: Any) -> CastTransformer:
    """A network with the weights of Wan's for text to video, which it equals without a reference.

    own: arguments of `CastTransformer` that Wan's lacks. Emphasize-Attention begins with the
    projections of self-attention, which find alike what looks alike.
    """
    known = {k: v for k, v in network.config.items() if not k.startswith("_")}
    cast = CastTransformer(**known | own)
    missing, unexpected = cast.load_state_dict(network.state_dict(), strict=False)
    assert not unexpected, unexpected
    new = ("emphasis", "pose_embedding", "image_embedder", ".add_", ".norm_added_")
    assert all(any(mark in name for mark in new) for name in missing), missing
    for block in cast.blocks:
        if block.emphasis is not None:
            states = block.attn1.state_dict()
            kept = {name: value for name, value in states.items() if not name.startswith("to_out")}
            block.emphasis.load_state_dict(kept, strict=False)
    return cast
