"""The inputs of a training step and of a sampling step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from animateanywhere.backbones.base import Base, encode_text
from animateanywhere.methods.animate_anywhere.settings import Loss
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
    """What is read for a pass of base training: B rows of F frames, in main memory."""

    latents: Tensor  # (B, F, C, h, w) float16
    pose_latents: Tensor
    captions: list[str]
    more: Tensor | None  # see `more_weight`

    def batch(self, base: Base) -> Batch:
        """The rows on the base's device, with their captions encoded."""
        device = base.denoiser.device
        x, poses = (part.to(device).float() for part in self[:2])
        batch = Batch(x, poses, encode_text(base, self.captions))
        return batch if self.more is None else weighted(batch, self.more.to(device))


def more_weight(
    rule: Loss, keypoints: np.ndarray, width: int, grid: tuple[int, int],
    regions: np.ndarray | None = None,
) -> Tensor | None:  # fmt: skip
    """The weight of pixels of latents beyond 1, (B, F, 1, h, w), by the rule's `pose_weight`,
    `face_weight` and `object_weight`; None without.

    Near the limbs as in HumanSD's heatmap-guided loss (arXiv 2304.04269; ours computes the heatmap
    from the pose itself); faces and objects are ours.

    Args:
        keypoints: (B, F, 18, 3), in pixels of frames of `width`.
        grid: (h, w) of the latents.
        regions: (B, F, h', w', 2) uint8, see `datasets.clips.Corpus`.
    """
    parts = []
    if rule.pose_weight:
        near = heat(keypoints.reshape(-1, 18, 3), width, grid)
        parts.append(rule.pose_weight * torch.from_numpy(near)[:, None])
    if rule.uses_regions and regions is not None:
        cells = torch.from_numpy(regions.reshape(-1, *regions.shape[2:]))
        share = F.adaptive_avg_pool2d(cells.permute(0, 3, 1, 2) / 255, grid)
        face, thing = share.split(1, 1)  # (B·F, 1, h, w)
        parts.append(rule.face_weight * face + rule.object_weight * thing)
    return sum(parts[1:], parts[0]).unflatten(0, keypoints.shape[:2]) if parts else None


def weighted(batch: Batch, more: Tensor) -> Batch:
    """A batch whose pixels have the weight 1 + `more`, (B, F, 1, h, w), at least 0."""
    # weight · (mask + background · (1 − mask)) = 1 + more
    most = more.flatten(1).amax(1)  # (B,)
    mask = more / most.clamp_min(1e-8)[:, None, None, None, None]
    return replace(batch, mask=mask, background=1 / (1 + most), weight=1 + most)


@dataclass(frozen=True)
class Conditions:
    """The conditions of B videos of F frames."""

    pose_latents: Tensor  # (B, F, C, h, w)
    text_states: Tensor  # (B, T, D)
    negative_states: Tensor  # (1, T, D): of the empty prompt, for classifier-free guidance

    def window(self, start: int, stop: int) -> Conditions:
        """The conditions of frames `start` to `stop`, the latter excluded."""
        return replace(self, pose_latents=self.pose_latents[:, start:stop])
