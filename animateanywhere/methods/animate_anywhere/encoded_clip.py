"""Encoding of a clip for the network: latents, pose conditions, and masks at latent size."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from animateanywhere.backbones.base import Base, encode_poses
from animateanywhere.backbones.vae import encode_frames
from animateanywhere.datasets.subject import Subject


class EncodedClip(NamedTuple):
    """A clip of N frames as T latents; T = N unless the VAE compresses time."""

    latents: Tensor  # (T, C, h, w)
    poses: Tensor  # (T, *pose_shape), see `base.encode_poses`
    masks: Tensor  # (T, 1, h, w) in [0, 1], soft


def encode_clip(base: Base, clip: Subject, video: bool = False) -> EncodedClip:
    """Encode frames, skeletons and masks of a clip. video: as consecutive frames, see
    `vae.encode_frames`."""
    video = video and len(clip.frames) > 1
    latents = encode_frames(base.vae, clip.frames, clip=video)
    poses = encode_skeletons(base, clip.keypoints, video)
    return EncodedClip(latents, poses, latent_masks(clip.masks, latents))


def encode_skeletons(base: Base, keypoints: np.ndarray, video: bool = False) -> Tensor:
    """Draw keypoints (N, 18, 3) as pictures of the size in use (`Base.frame`), and encode them as
    pose conditions (T, *pose_shape)."""
    pictures = base.family.draw(keypoints, base.frame.height, base.frame.width)
    return encode_poses(base, pictures, clip=video)


def latent_masks(masks: np.ndarray, latents: Tensor) -> Tensor:
    """Masks (N, H, W) at the size of latents (T, C, h, w), by area averaging: (T, 1, h, w) in
    [0, 1]. If T is less than N, the first latent is of the first frame, and masks of the frames in
    each other latent are averaged."""
    fine = torch.from_numpy(masks)[:, None].to(latents)  # (N, 1, H, W)
    small = F.interpolate(fine, latents.shape[-2:], mode="area")
    if len(small) == len(latents):
        return small
    rest = small[1:].unflatten(0, (len(latents) - 1, -1)).mean(1)
    return torch.cat([small[:1], rest])
