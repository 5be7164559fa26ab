"""A clip as the network sees it: latents, pose latents, and the person's mask at latent size."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from animateanywhere.backbones.base import Base, encode_poses
from animateanywhere.backbones.vae import encode_frames
from animateanywhere.datasets.subject import Subject
from animateanywhere.pose.skeleton import draw


class EncodedClip(NamedTuple):
    """T latents of N frames: as many, but of a VAE that packs time."""

    latents: Tensor  # (T, C, h, w)
    poses: Tensor  # (T, C, h, w), or what else the base sees of poses
    masks: Tensor  # (T, 1, h, w) in [0, 1], soft


def encode_clip(base: Base, clip: Subject, video: bool = False) -> EncodedClip:
    """Encode frames, skeletons and masks. video: the frames follow one another, as in
    `vae.encode_frames`."""
    video = video and len(clip.frames) > 1
    latents = encode_frames(base.vae, clip.frames, clip=video)
    poses = encode_skeletons(base, clip.keypoints, clip.frames.shape[1], video)
    return EncodedClip(latents, poses, latent_masks(clip.masks, latents))


def encode_skeletons(base: Base, keypoints: np.ndarray, size: int, video: bool = False) -> Tensor:
    """Draw keypoints (N, 18, 3) into squares of `size` pixels and encode them (T, C, h, w)."""
    return encode_poses(base, draw(keypoints, size, size), clip=video)


def latent_masks(masks: np.ndarray, latents: Tensor) -> Tensor:
    """Masks (N, H, W) at the size of latents (T, C, h, w): the share of each that the person
    covers, (T, 1, h, w). Where fewer latents hold a clip, the first holds its first frame."""
    fine = torch.from_numpy(masks)[:, None].to(latents)  # (N, 1, H, W)
    small = F.interpolate(fine, latents.shape[-2:], mode="area")
    if len(small) == len(latents):
        return small
    rest = small[1:].unflatten(0, (len(latents) - 1, -1)).mean(1)
    return torch.cat([small[:1], rest])
