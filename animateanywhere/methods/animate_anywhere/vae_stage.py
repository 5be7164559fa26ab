"""Training of the VAE: what it learns from, and a loss for sharp pictures and latents that a
diffusion model can learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from animateanywhere.backbones.vae import to_pixels, vae_encode
from animateanywhere.diffusion.losses import reconstruction
from animateanywhere.methods.animate_anywhere.settings import Autoencoder
from animateanywhere.pose.keypoints import KEYPOINTS, VISIBLE
from animateanywhere.pose.skeleton import heat

_FACE = [KEYPOINTS.index(name) for name in ("nose", "right eye", "left eye")]
_HEAD = [*_FACE, *(KEYPOINTS.index(name) for name in ("neck", "right ear", "left ear"))]


class TakesPictures(Protocol):
    """Numbered square pictures of one size, with keypoints."""

    def __len__(self) -> int: ...

    def take(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Frames (n, S, S, 3) uint8 and keypoints (n, 18, 3), by numbers (n,)."""


@dataclass(frozen=True)
class Source:
    """Pictures that the VAE learns from."""

    pictures: TakesPictures
    share: float  # share of the rows of a batch, relative to those of the other sources
    upright: bool = True  # False: augmented by rotations and permutations of the color channels


def draw_pictures(
    sources: list[Source],
    rows: int,
    pose_weight: float,
    face_weight: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Draw a batch: pictures (B, 3, H, W) in [-1, 1] and weights of their pixels (B, 1, H, W).

    rows: B. The pictures of each source are augmented by a random horizontal flip, and see
    `Source.upright`. pose_weight and face_weight: as in `pixel_weights`.
    """
    shares = torch.tensor([source.share for source in sources])
    counts = torch.multinomial(shares, rows, True, generator=generator)
    pictures, weights = [], []
    for source, count in zip(sources, counts.bincount(minlength=len(sources)), strict=True):
        if not count:
            continue
        picked = torch.randint(len(source.pictures), (int(count),), generator=generator)
        frames, keypoints = source.pictures.take(picked.sort().values.numpy())
        x = to_pixels(torch.from_numpy(frames))
        weight = pixel_weights(keypoints, x.shape[-1], pose_weight, face_weight)
        if torch.rand((), generator=generator) < 0.5:
            x, weight = x.flip(3), weight.flip(3)
        if not source.upright:
            turns = int(torch.randint(4, (), generator=generator))
            channels = torch.randperm(3, generator=generator)
            x, weight = x.rot90(turns, (2, 3))[:, channels], weight.rot90(turns, (2, 3))
        pictures.append(x)
        weights.append(weight)
    side = min(x.shape[-1] for x in pictures)  # of sources that differ, the corner that all have
    return (
        torch.cat([x[..., :side, :side] for x in pictures]),
        torch.cat([weight[..., :side, :side] for weight in weights]),
    )


def pixel_weights(
    keypoints: np.ndarray, size: int, pose_weight: float, face_weight: float
) -> Tensor:
    """Weights of pixels in the loss, (N, 1, size, size): 1, plus up to `pose_weight` near limbs,
    plus up to `face_weight` in faces.

    keypoints: (N, 18, 3) in pixels, OpenPose-18. A face is a soft disk at its visible keypoints,
    with a radius by their distance to ears and neck.
    """
    near = torch.from_numpy(heat(keypoints, size, size // 8))[:, None]
    weight = 1 + pose_weight * F.interpolate(near, (size, size))
    grid = np.stack(np.meshgrid(*[np.arange(size, dtype=np.float32) + 0.5] * 2), -1)  # (H, W, 2)
    for row, pose in enumerate(keypoints):
        face, head = (pose[names][pose[names, 2] >= VISIBLE, :2] for names in (_FACE, _HEAD))
        if len(face) and len(head) > 1:
            radius = max(1.6 * np.linalg.norm(head - face.mean(0), axis=1).mean(), 3.0)
            distance = np.linalg.norm(grid - face.mean(0), axis=-1) / radius
            weight[row, 0] += face_weight * torch.from_numpy(np.exp(-(distance**4)))
    return weight


def autoencoder_loss(
    vae: Any, x: Tensor, weight: Tensor, settings: Autoencoder, generator: torch.Generator
) -> tuple[Tensor, dict[str, float]]:
    """Reconstruction loss of the VAE, with regularization of its latents.

    Noise is added to the latents, so that nearby latents decode to similar pictures. In half of the
    rows they are also downsampled, and must decode to the downsampled picture: low frequencies of
    the latents, which a diffusion model learns first, then represent coarse structure (EQ-VAE,
    Kouzelis et al. 2025, arXiv 2502.09509; Skorokhodov et al. 2025, arXiv 2502.14831). Mean and
    variance of all latents together are kept near 0 and 1; the encoder distributes the variance
    among channels.

    x (B, 3, H, W) in [-1, 1]; weight (B, 1, H, W). Returns the loss and its parts for the log:
    `reconstruction`, `std` of the latents, and `downsampled`.
    """
    latents = vae_encode(vae, x).float()
    std = latents.std()
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    level = 2 * settings.noise * torch.rand((len(x), 1, 1, 1), generator=generator).to(latents)
    y = vae.decode(latents + level * std.detach() * noise).sample.float()
    error = reconstruction(y, x, weight)
    loss = error + 0.01 * (std.clamp_min(1e-6).log().square() + latents.mean().square())
    logs = {"reconstruction": float(error.detach()), "std": float(std.detach())}
    if settings.equivariance:
        half = slice(0, None, 2)
        small = vae.decode(F.avg_pool2d(latents[half], 2)).sample.float()
        error = reconstruction(small, F.avg_pool2d(x[half], 2), F.avg_pool2d(weight[half], 2))
        loss = loss + settings.equivariance * error
        logs["downsampled"] = float(error.detach())
    return loss, logs
