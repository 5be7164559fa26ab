"""The shapes that everything else speaks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # `aa prepare` needs no torch, and it takes seconds to load
    from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """One training step's rows, ready for the loss; B rows of F frames."""

    latents: Tensor  # (B, F, C, h, w)
    pose_latents: Tensor  # (B, F, C, h, w)
    text_states: Tensor  # (B, T, D)
    mask: Tensor | None = None  # (B, F, 1, h, w) in [0, 1], soft; None: the full frame counts
    tokens: Tensor | None = None  # (B, T) in {-1, 0, 1}
    regular: Tensor | None = None  # (B,) bool: regularization rows take the full-frame loss
    heat: Tensor | None = None  # (B, F, 1, h, w) in [0, 1]: near the limbs of the pose
    made: Tensor | None = None  # (B,) bool: subject rows whose background the base made


@dataclass(frozen=True)
class Conditions:
    """What B videos of F frames are generated from."""

    pose_latents: Tensor  # (B, F, C, h, w)
    text_states: Tensor  # (B, T, D)
    negative_states: Tensor  # (1, T, D): the empty prompt, for guidance

    def window(self, start: int, stop: int) -> Conditions:
        return replace(self, pose_latents=self.pose_latents[:, start:stop])
