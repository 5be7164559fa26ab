"""The loss of the autoencoder: sharp pictures from latents that a diffusion model can learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from animateanywhere.data.corpus import Corpus
from animateanywhere.data.openpose import KEYPOINTS, VISIBLE
from animateanywhere.data.skeleton import heat
from animateanywhere.diffusion.losses import reconstruction
from animateanywhere.models.vae import to_pixels, vae_encode
from animateanywhere.recipe import Autoencoder

_FACE = [KEYPOINTS.index(name) for name in ("nose", "right eye", "left eye")]
_HEAD = [*_FACE, *(KEYPOINTS.index(name) for name in ("neck", "right ear", "left ear"))]


@dataclass(frozen=True)
class Source:
    """Pictures to draw from."""

    corpus: Corpus
    share: float  # of the rows of a batch
    upright: bool = True  # of people: mirrored at most; others are turned and change their colors


def draw(
    sources: list[Source], rows: int, settings: Autoencoder, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Pictures (B, 3, H, W) in [-1, 1] and how much each pixel counts, (B, 1, H, W), 1 and more."""
    shares = torch.tensor([source.share for source in sources])
    counts = torch.multinomial(shares, rows, True, generator=generator).bincount(
        minlength=len(sources)
    )
    pictures, weights = [], []
    for source, count in zip(sources, counts.tolist(), strict=True):
        if not count:
            continue
        corpus = source.corpus
        numbers = torch.randint(len(corpus.frames), (count,), generator=generator).sort().values
        x = to_pixels(torch.from_numpy(corpus.frames[numbers.numpy(), 0]))
        points = corpus.keypoints[numbers.numpy(), 0]
        weight = importance(points, x.shape[-1], settings)
        pictures.append(x)
        weights.append(weight)
        if torch.rand((), generator=generator) < 0.5:
            pictures[-1], weights[-1] = x.flip(3), weight.flip(3)
        if not source.upright:
            turns, order = (
                int(torch.randint(4, (), generator=generator)),
                torch.randperm(3, generator=generator),
            )
            pictures[-1] = pictures[-1].rot90(turns, (2, 3))[:, order]
            weights[-1] = weights[-1].rot90(turns, (2, 3))
    return torch.cat(pictures), torch.cat(weights)


def importance(keypoints: np.ndarray, size: int, settings: Autoencoder) -> Tensor:
    """How much pixels count, (N, 1, size, size): 1, more near limbs, and more still in faces.

    keypoints: (N, 18, 3) in pixels, OpenPose-18.
    """
    near = torch.from_numpy(heat(keypoints, size, size // 8))[:, None]
    weight = 1 + settings.person * F.interpolate(near, (size, size))
    grid = np.stack(np.meshgrid(*[np.arange(size, dtype=np.float32) + 0.5] * 2), -1)  # (H, W, 2)
    for row, pose in enumerate(keypoints):
        face, head = (pose[names][pose[names, 2] >= VISIBLE, :2] for names in (_FACE, _HEAD))
        if len(face) and len(head) > 1:
            radius = max(1.6 * np.linalg.norm(head - face.mean(0), axis=1).mean(), 3.0)
            distance = np.linalg.norm(grid - face.mean(0), axis=-1) / radius
            weight[row, 0] += settings.face * torch.from_numpy(np.exp(-(distance**4)))
    return weight


def autoencoder_loss(
    vae: Any, x: Tensor, weight: Tensor, settings: Autoencoder, generator: torch.Generator
) -> tuple[Tensor, dict[str, float]]:
    """How far pictures come out of the VAE from how they went in.

    On the way the latents get noise, so that near latents decode to near pictures, and in half of
    the rows are halved in size and must decode to the halved picture: coarse structure then stands
    in the coarse structure of the latents, which is what denoising learns first (EQ-VAE, Kouzelis
    et al. 2025; Skorokhodov et al. 2025). They are held to unit variance as a whole, so that the
    encoder spends it where it matters most.

    x (B, 3, H, W) in [-1, 1]; weight (B, 1, H, W).
    """
    latents = vae_encode(vae, x).float()
    std = latents.std()
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    strength = 2 * settings.noise * torch.rand((len(x), 1, 1, 1), generator=generator).to(latents)
    y = vae.decode(latents + strength * std.detach() * noise).sample.float()
    plain = reconstruction(y, x, weight)
    loss = plain + 0.01 * (std.clamp_min(1e-6).log().square() + latents.mean().square())
    logs = {"reconstruction": float(plain.detach()), "std": float(std.detach())}
    if settings.equivariance:
        some = slice(0, None, 2)
        small = vae.decode(F.avg_pool2d(latents[some], 2)).sample.float()
        halved = reconstruction(small, F.avg_pool2d(x[some], 2), F.avg_pool2d(weight[some], 2))
        loss = loss + settings.equivariance * halved
        logs["halved"] = float(halved.detach())
    return loss, logs
