"""The inputs of a training step and of a sampling step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from animateanywhere.backbones.base import Base, encode_text
from animateanywhere.pose.skeleton import heat


@dataclass(frozen=True)
class Batch:
    """The rows of a training step: B rows of F frames, encoded.

    Each pixel has weight M + background · (1 − M): background = alpha² gives the paper's background
    weakening (eq. 1), background = 1 a loss on the full frame.
    """

    latents: Tensor  # (B, F, C, h, w)
    pose_latents: Tensor  # (B, F, C, h, w)
    text_states: Tensor  # (B, T, D)
    # M, (B, F, 1, h, w) in [0, 1]: 1 the person, 0 the background; 0.5 gives plain attention.
    # None: a loss on the full frame
    mask: Tensor | None = None
    # (B, T): 1 words for the person, -1 for a scene, 0 others. None: plain attention
    tokens: Tensor | None = None
    background: Tensor | None = None  # (B,) in [0, 1]: weight of the background outside `mask`
    weight: Tensor | None = None  # (B,): weight of each row


class Read(NamedTuple):
    """What is read for a pass of base training: B rows of F frames."""

    latents: np.ndarray  # (B, F, C, h, w) float16
    pose_latents: np.ndarray
    keypoints: np.ndarray  # (B, F, 18, 3), in pixels
    captions: list[str]
    width: int  # of the frames, in pixels

    def batch(self, base: Base, pose_weight: float) -> Batch:
        """The rows on the base's device, with their captions encoded. pose_weight: see
        `weighted`."""
        device = base.denoiser.device
        x, poses = (torch.from_numpy(part).float().to(device) for part in self[:2])
        batch = Batch(x, poses, encode_text(base, self.captions))
        return weighted(batch, self.keypoints, self.width, pose_weight) if pose_weight else batch


def weighted(batch: Batch, keypoints: np.ndarray, width: int, pose_weight: float) -> Batch:
    """A batch with additional weight of pixels near the limbs, as in HumanSD's heatmap-guided loss
    (arXiv 2304.04269; ours computes the heatmap from the pose itself).

    keypoints: (B, F, 18, 3) in pixels of frames of `width`.
    """
    x = batch.latents
    cells = heat(keypoints.reshape(-1, 18, 3), width, (x.shape[-2], x.shape[-1]))
    near = torch.from_numpy(cells).unflatten(0, x.shape[:2])[:, :, None].to(x.device)
    # weight · (near + background · (1 − near)) = 1 + pose_weight · near
    weight = x.new_full((len(x),), 1 + pose_weight)
    return Batch(
        x, batch.pose_latents, batch.text_states, near, background=1 / weight, weight=weight
    )


@dataclass(frozen=True)
class Conditions:
    """The conditions of B videos of F frames."""

    pose_latents: Tensor  # (B, F, C, h, w)
    text_states: Tensor  # (B, T, D)
    negative_states: Tensor  # (1, T, D): of the empty prompt, for classifier-free guidance

    def window(self, start: int, stop: int) -> Conditions:
        """The conditions of frames `start` to `stop`, the latter excluded."""
        return replace(self, pose_latents=self.pose_latents[:, start:stop])
