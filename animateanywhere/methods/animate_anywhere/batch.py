"""What a step of training and a step of sampling are made from."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """One training step's rows, ready for the loss; B rows of F frames.

    Eq. 1 weighs each pixel by M + background · (1 − M): with background = alpha² it is the paper's
    background weakening; with background = 1 the full frame counts.
    """

    latents: Tensor  # (B, F, C, h, w)
    pose_latents: Tensor  # (B, F, C, h, w)
    text_states: Tensor  # (B, T, D)
    # M, (B, F, 1, h, w): 1 the person, 0 the background, soft; 0.5 neither, where attention is
    # plain. None: the full frame counts.
    mask: Tensor | None = None
    # (B, T): 1 words of the person, -1 of a scene, 0 neither. None: attention is plain.
    tokens: Tensor | None = None
    background: Tensor | None = None  # (B,) in [0, 1]: how much the background counts, with `mask`
    weight: Tensor | None = None  # (B,): how much each row counts


@dataclass(frozen=True)
class Conditions:
    """What B videos of F frames are generated from."""

    pose_latents: Tensor  # (B, F, C, h, w)
    text_states: Tensor  # (B, T, D)
    negative_states: Tensor  # (1, T, D): the empty prompt, for guidance

    def window(self, start: int, stop: int) -> Conditions:
        """Those of some frames."""
        return replace(self, pose_latents=self.pose_latents[:, start:stop])
