"""Frames to latents and back.

Most VAEs take pictures one by one. Wan's packs time as well: a clip of 1 + 4n frames becomes 1 + n
latents, the first of one frame and each other one of four, and each knows what came before it. To
it a clip is something else than its frames, so functions here ask which of both is meant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderDC, AutoencoderKL, AutoencoderKLWan, AutoencoderTiny
from torch import Tensor

VAES = {
    "AutoencoderDC": AutoencoderDC, "AutoencoderKL": AutoencoderKL,
    "AutoencoderKLWan": AutoencoderKLWan, "AutoencoderTiny": AutoencoderTiny,
}  # fmt: skip
# Pixels that go through the VAE at once: 32 frames of 128 a side, 2 of 512; decoding, half of that
ENCODED, DECODED = 2**19, 2**18


def encode_frames(
    vae: Any, frames: np.ndarray | Tensor, slice_size: int | None = None, clip: bool = False
) -> Tensor:
    """Frames (N, H, W, 3) uint8 -> latents (N, C, h, w) float32, scaled to about unit variance.

    slice_size: frames at once; without, as many as `at_once` says. clip: the frames follow one
    another; of a VAE that packs time there are then fewer latents, `latent_count` of them.
    """
    device = next(vae.parameters()).device
    made = []
    slice_size = slice_size or at_once(frames.shape[1], ENCODED)
    with torch.no_grad():
        if clip and packs(vae) > 1:
            return _scaled(vae, _encode_clip(vae, frames, device))
        for start in range(0, len(frames), slice_size):
            pixels = torch.as_tensor(frames[start : start + slice_size])
            made.append(_scaled(vae, vae_encode(vae, to_pixels(pixels.to(device)))))
    return torch.cat(made)


def decode_latents(
    vae: Any, latents: Tensor, slice_size: int | None = None, clip: bool = False
) -> np.ndarray:
    """Latents (N, C, h, w) -> frames (N, H, W, 3) uint8; `clip` as in `encode_frames`."""
    parts = decoded(vae, latents, slice_size, clip)
    return np.concatenate(list(parts))


def decoded(
    vae: Any, latents: Tensor, slice_size: int | None = None, clip: bool = False
) -> Iterator[np.ndarray]:
    """As `decode_latents`, a few frames (n, H, W, 3) at a time, so that not all need be held."""
    for pixels in decoded_pixels(vae, latents, slice_size, clip):
        pixels = (pixels.float().permute(0, 2, 3, 1) * 127.5 + 127.5).round().clamp(0, 255)
        yield pixels.to(torch.uint8).cpu().numpy()


def decoded_pixels(
    vae: Any, latents: Tensor, slice_size: int | None = None, clip: bool = False
) -> Iterator[Tensor]:
    """As `decoded`: (n, 3, H, W) about [-1, 1], on the VAE's device."""
    if clip and packs(vae) > 1:
        yield from _decode_clip(vae, _raw(vae, latents))
        return
    size = latents.shape[-1] * spatial_factor(vae)
    for part in latents.split(slice_size or at_once(size, DECODED)):
        with torch.no_grad():
            pixels = _vae_decode(vae, _raw(vae, part))
        yield pixels


def each_clip(encode: Callable[..., Tensor], clips: np.ndarray) -> Tensor:
    """Clips (P, F, H, W, 3) uint8 -> (P, T, ...) by what encodes frames as `encode_frames` does;
    clips of one frame are pictures, and go together."""
    if clips.shape[1] == 1:
        return encode(clips[:, 0])[:, None]
    return torch.stack([encode(clip, clip=True) for clip in clips])


def packs(vae: Any) -> int:
    """How many frames of a clip, after its first, share a latent; 1 of most VAEs."""
    return int(getattr(vae.config, "scale_factor_temporal", None) or 1)


def latent_count(frames: int, packed: int) -> int:
    """How many latents hold so many frames of one clip, `packed` together (see `packs`)."""
    return 1 + -(-(frames - 1) // packed)


def whole_clip(frames: int, packed: int) -> int:
    """The longest clip of at most so many frames that fills its latents."""
    return 1 + (frames - 1) // packed * packed


def at_once(size: int, pixels: int) -> int:
    """How many frames of a side of `size` have so many pixels together; at least one."""
    return max(pixels // size**2, 1)


def vae_encode(vae: Any, pixels: Tensor) -> Tensor:
    """Pixels (N, 3, H, W) in [-1, 1] -> raw latents (N, C, h, w); the mode where there is one."""
    if packs(vae) > 1:
        return vae.encode(pixels[:, :, None]).latent_dist.mode()[:, :, 0]
    output = vae.encode(pixels)
    if hasattr(output, "latent_dist"):  # AutoencoderKL
        return output.latent_dist.mode()
    return output.latents if hasattr(output, "latents") else output.latent  # Tiny, DC


def to_pixels(frames: Tensor) -> Tensor:
    """(N, H, W, 3) uint8 -> (N, 3, H, W) float32 in [-1, 1]."""
    return frames.permute(0, 3, 1, 2).float() / 127.5 - 1


def spatial_factor(vae: Any) -> int:
    config = vae.config
    if packs(vae) > 1:
        return int(config.scale_factor_spatial)
    channels = getattr(config, "block_out_channels", None) or config.encoder_block_out_channels
    return 2 ** (len(channels) - 1)


def latent_channels(vae: Any) -> int:
    return int(vae.config.z_dim if packs(vae) > 1 else vae.config.latent_channels)


def _vae_decode(vae: Any, latents: Tensor) -> Tensor:
    """Raw latents (N, C, h, w), each a picture -> pixels (N, 3, H, W)."""
    if packs(vae) > 1:
        return vae.decode(latents[:, :, None]).sample[:, :, 0]
    return vae.decode(latents).sample


def _encode_clip(vae: Any, frames: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """Frames (F, H, W, 3) uint8 of one clip -> raw latents (T, C, h, w). As `AutoencoderKLWan`
    does it, without the whole clip's pixels on the device. The last frame is repeated where the
    clip ends within a latent."""
    vae.clear_cache()
    made = []
    for start, stop in _chunks(len(frames), packs(vae)):
        pixels = to_pixels(torch.as_tensor(frames[start:stop]).to(device))
        short = stop - start - len(pixels)
        pixels = torch.cat([pixels, pixels[-1:].expand(short, -1, -1, -1)])
        vae._enc_conv_idx = [0]
        made.append(
            vae.encoder(
                pixels.transpose(0, 1)[None].to(vae.dtype),
                feat_cache=vae._enc_feat_map, feat_idx=vae._enc_conv_idx,
            )
        )  # fmt: skip
    mean = vae.quant_conv(torch.cat(made, 2))[0].chunk(2)[0]  # (C, T, h, w), of mean and variance
    vae.clear_cache()
    return mean.transpose(0, 1)


@torch.no_grad()
def _decode_clip(vae: Any, latents: Tensor) -> Iterator[Tensor]:
    """Raw latents (T, C, h, w) of one clip -> its pixels (n, 3, H, W), latent after latent."""
    vae.clear_cache()
    memory = vae._feat_map  # of what came before; the VAE's own is cleared by others meanwhile
    for number in range(len(latents)):
        latent = vae.post_quant_conv(latents[number][None, :, None].to(vae.dtype))
        pixels = vae.decoder(latent, feat_cache=memory, feat_idx=[0], first_chunk=number == 0)
        yield pixels[0].transpose(0, 1)


def _chunks(frames: int, packed: int) -> Iterator[tuple[int, int]]:
    yield 0, 1
    yield from ((start, start + packed) for start in range(1, frames, packed))


def _scaled(vae: Any, latents: Tensor) -> Tensor:
    shift, scale = _moments(vae, latents)
    return (latents.float() - shift) * scale


def _raw(vae: Any, latents: Tensor) -> Tensor:
    shift, scale = _moments(vae, latents)
    return latents / scale + shift


def _moments(vae: Any, like: Tensor) -> tuple[Any, Any]:
    """What raw latents are shifted by and then scaled by: numbers, or of each channel its own."""
    config = vae.config
    if packs(vae) == 1:
        return getattr(config, "shift_factor", None) or 0.0, config.scaling_factor
    mean, std = (
        torch.tensor(values, device=like.device)[:, None, None]
        for values in (config.latents_mean, config.latents_std)
    )
    return mean, 1 / std
