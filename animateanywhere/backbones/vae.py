"""Frames to latents and back.

Most VAEs encode pictures one by one. Wan's VAE compresses time as well: a clip of 1 + 4n frames
becomes 1 + n latents, the first of one frame and each other of four, and each depends on the frames
before it. Since the latents of a clip then differ from those of its frames, functions here have an
argument `clip` that says which are meant. Its passes are in float32 within autocast too, as in
diffusers' pipelines: in bfloat16, in which Wan's transformer runs, pixels would be wrong by 1.7 %
of their deviation, for 0.4 GB less of 5.6 (random weights; 512 x 512, estimated).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderDC, AutoencoderKL, AutoencoderKLWan, AutoencoderTiny
from torch import Tensor
from torch.nn import functional as F

from animateanywhere.core.errors import Failure

VAES = {
    "AutoencoderDC": AutoencoderDC, "AutoencoderKL": AutoencoderKL,
    "AutoencoderKLWan": AutoencoderKLWan, "AutoencoderTiny": AutoencoderTiny,
}  # fmt: skip
# Pixels in one pass of the VAE: 32 frames of 128 pixels a side, or 2 of 512; half as many to decode
ENCODED, DECODED = 2**19, 2**18


def encode_frames(
    vae: Any, frames: np.ndarray | Tensor, slice_size: int | None = None, clip: bool = False
) -> Tensor:
    """Encode frames (N, H, W, 3) uint8 as latents (N, C, h, w) float32 of about unit variance.

    slice_size: frames in one pass; by default see `at_once`. clip: the frames are consecutive
    frames of one clip; a VAE that compresses time then returns only `latent_count` latents.
    """
    device = next(vae.parameters()).device
    parts = []
    slice_size = slice_size or at_once(frames.shape[1] * frames.shape[2], ENCODED)
    with torch.no_grad():
        if clip and temporal_factor(vae) > 1:
            return _scaled(vae, _encode_clip(vae, frames, device))
        for start in range(0, len(frames), slice_size):
            pixels = torch.as_tensor(frames[start : start + slice_size])
            parts.append(_scaled(vae, vae_encode(vae, to_pixels(pixels.to(device)))))
    return torch.cat(parts)


def decode_latents(
    vae: Any, latents: Tensor, slice_size: int | None = None, clip: bool = False
) -> np.ndarray:
    """Decode latents (N, C, h, w) to frames (N, H, W, 3) uint8; arguments as for
    `encode_frames`."""
    parts = decoded(vae, latents, slice_size, clip)
    return np.concatenate(list(parts))


def decoded(
    vae: Any, latents: Tensor, slice_size: int | None = None, clip: bool = False
) -> Iterator[np.ndarray]:
    """`decode_latents` as an iterator over a few frames (n, H, W, 3) at a time, to bound memory.

    Raises Failure for values that are not finite, which would become black pixels.
    """
    for pixels in decoded_pixels(vae, latents, slice_size, clip):
        if not pixels.isfinite().all():
            raise Failure(
                "the generated frames are not finite numbers (NaN): lower the guidance scale or "
                "the strength of weights and LoRA; if half precision overflows on this GPU, "
                "AA_DEVICE=cpu computes in float32"
            )
        pixels = (pixels.float().permute(0, 2, 3, 1) * 127.5 + 127.5).round().clamp(0, 255)
        yield pixels.to(torch.uint8).cpu().numpy()


def decoded_pixels(
    vae: Any, latents: Tensor, slice_size: int | None = None, clip: bool = False
) -> Iterator[Tensor]:
    """`decoded` as pixels (n, 3, H, W) of about [-1, 1], on the VAE's device."""
    if clip and temporal_factor(vae) > 1:
        yield from _decode_clip(vae, raw_latents(vae, latents))
        return
    area = latents.shape[-2] * latents.shape[-1] * spatial_factor(vae) ** 2
    for part in latents.split(slice_size or at_once(area, DECODED)):
        with torch.no_grad():
            pixels = _vae_decode(vae, raw_latents(vae, part))
        yield pixels


def each_clip(encode: Callable[..., Tensor], clips: np.ndarray) -> Tensor:
    """Encode P clips (P, F, H, W, 3) uint8, one by one, as (P, T, ...); clips of one frame are
    pictures and are encoded together. encode: a function with the signature of
    `encode_frames(frames, clip)`."""
    if clips.shape[1] == 1:
        return encode(clips[:, 0])[:, None]
    return torch.stack([encode(clip, clip=True) for clip in clips])


def temporal_factor(vae: Any) -> int:
    """How many frames of a clip, after the first, share one latent; 1 for most VAEs."""
    return int(getattr(vae.config, "scale_factor_temporal", None) or 1)


def latent_count(frames: int, packed: int) -> int:
    """Number of latents of a clip of `frames` frames; packed: see `temporal_factor`."""
    return 1 + -(-(frames - 1) // packed)


def whole_clip(frames: int, packed: int) -> int:
    """Length of the longest clip of at most `frames` frames whose last latent is full."""
    return 1 + (frames - 1) // packed * packed


def at_once(area: int, pixels: int) -> int:
    """How many frames of `area` pixels have at most `pixels` pixels in total; at least 1."""
    return max(pixels // area, 1)


def vae_encode(vae: Any, pixels: Tensor) -> Tensor:
    """Encode pixels (N, 3, H, W) in [-1, 1] as unscaled latents (N, C, h, w): the mode of the
    posterior if the VAE has one."""
    if temporal_factor(vae) > 1:
        with _in_float32(pixels):
            return vae.encode(pixels[:, :, None]).latent_dist.mode()[:, :, 0]
    output = vae.encode(pixels)
    if hasattr(output, "latent_dist"):  # AutoencoderKL
        return output.latent_dist.mode()
    return output.latents if hasattr(output, "latents") else output.latent  # Tiny, DC


def to_pixels(frames: Tensor) -> Tensor:
    """Convert frames (N, H, W, 3) uint8 to pixels (N, 3, H, W) float32 in [-1, 1]."""
    return frames.permute(0, 3, 1, 2).float() / 127.5 - 1


def spatial_factor(vae: Any) -> int:
    """Pixels of a frame per latent pixel, along each side."""
    config = vae.config
    if temporal_factor(vae) > 1:
        return int(config.scale_factor_spatial)
    channels = getattr(config, "block_out_channels", None) or config.encoder_block_out_channels
    return int(2 ** (len(channels) - 1) * latent_patch(vae.config))


def latent_channels(vae: Any) -> int:
    """Number of channels of a latent, after folding."""
    return int(vae.config.z_dim) if temporal_factor(vae) > 1 else encoded_channels(vae.config)


def encoded_channels(config: Mapping[str, Any]) -> int:
    """Channels of what `encode_frames` returns, from the config of a VAE for single frames."""
    return int(config["latent_channels"] * latent_patch(config) ** 2)


def latent_patch(config: Mapping[str, Any]) -> int:
    """Side of the patches into which latents are folded: each becomes one position, its values
    channels. A key of ours in the VAE's config. A VAE at 4x then suits a UNet made for 8x."""
    return int(config.get("latent_patch", 1))


def _vae_decode(vae: Any, latents: Tensor) -> Tensor:
    """Raw latents (N, C, h, w), each a picture -> pixels (N, 3, H, W)."""
    if temporal_factor(vae) > 1:
        with _in_float32(latents):
            return vae.decode(latents[:, :, None].float()).sample[:, :, 0]
    return vae.decode(latents).sample


def _encode_clip(vae: Any, frames: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """Encode frames (F, H, W, 3) uint8 of one clip as unscaled latents (T, C, h, w).

    Equals `AutoencoderKLWan.encode`, but the device never has to store all pixels. The last frame
    is repeated if the clip does not fill its last latent.
    """
    vae.clear_cache()
    parts = []
    for start, stop in _chunks(len(frames), temporal_factor(vae)):
        pixels = to_pixels(torch.as_tensor(frames[start:stop]).to(device))
        short = stop - start - len(pixels)
        pixels = torch.cat([pixels, pixels[-1:].expand(short, -1, -1, -1)])
        vae._enc_conv_idx = [0]
        with _in_float32(pixels):
            parts.append(
                vae.encoder(
                    pixels.transpose(0, 1)[None].to(vae.dtype),
                    feat_cache=vae._enc_feat_map, feat_idx=vae._enc_conv_idx,
                )
            )  # fmt: skip
    with _in_float32(parts[0]):
        moments = vae.quant_conv(torch.cat(parts, 2))
    mean = moments[0].chunk(2)[0]  # (C, T, h, w), of mean and variance
    vae.clear_cache()
    return mean.transpose(0, 1)


@torch.no_grad()
def _decode_clip(vae: Any, latents: Tensor) -> Iterator[Tensor]:
    """Decode unscaled latents (T, C, h, w) of one clip to pixels (n, 3, H, W), one latent at a
    time."""
    vae.clear_cache()
    cache = vae._feat_map  # features of earlier frames; other calls replace the VAE's own
    for number in range(len(latents)):
        with _in_float32(latents):
            latent = vae.post_quant_conv(latents[number][None, :, None].to(vae.dtype))
            pixels = vae.decoder(latent, feat_cache=cache, feat_idx=[0], first_chunk=number == 0)
        yield pixels[0].transpose(0, 1)


def _in_float32(like: Tensor) -> AbstractContextManager[None]:
    return torch.autocast(like.device.type, enabled=False)


def _chunks(frames: int, packed: int) -> Iterator[tuple[int, int]]:
    yield 0, 1
    yield from ((start, start + packed) for start in range(1, frames, packed))


def _scaled(vae: Any, latents: Tensor) -> Tensor:
    shift, scale = _moments(vae, latents)
    return F.pixel_unshuffle((latents.float() - shift) * scale, latent_patch(vae.config))


def raw_latents(vae: Any, latents: Tensor) -> Tensor:
    """What the VAE decodes, from latents as `encode_frames` returns them."""
    shift, scale = _moments(vae, latents)
    return F.pixel_shuffle(latents, latent_patch(vae.config)) / scale + shift


def _moments(vae: Any, like: Tensor) -> tuple[Any, Any]:
    """Shift and scale of raw latents: numbers, or tensors (C, 1, 1) with a value per channel."""
    config = vae.config
    if temporal_factor(vae) == 1:
        return getattr(config, "shift_factor", None) or 0.0, config.scaling_factor
    mean, std = (
        torch.tensor(values, device=like.device)[:, None, None]
        for values in (config.latents_mean, config.latents_std)
    )
    return mean, 1 / std
