"""The shapes that everything else speaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # `aa prepare` needs no torch, and it takes seconds to load
    from torch import Tensor


@dataclass(frozen=True)
class Region:
    """Who owns a pixel or a token: +1 the person, -1 the background, 0 neither (plain attention).

    Inside a UNet it travels as `cross_attention_kwargs={"region": region}` and counts images, N =
    B·F of them: mask (N, 1, h, w), tokens (N, T).
    """

    mask: Tensor  # (B, F, 1, h, w) in [-1, 1], at latent size
    tokens: Tensor  # (B, T) in {-1, 0, 1}

    def row(self, number: int) -> Region:
        """Of one row, (1, ...)."""
        return Region(self.mask[number : number + 1], self.tokens[number : number + 1])


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
class Subject:
    """One person's clip as `prepare` leaves it: N frames, square, at the base's size."""

    folder: Path
    frames: np.ndarray  # (N, H, W, 3) uint8
    masks: np.ndarray  # (N, H, W) float32 in [0, 1]
    keypoints: np.ndarray  # (N, 18, 3) float32: x, y in pixels, confidence
    captions: list[str]  # one a frame; the person is written "<token> <class_word>"
    fps: float
    class_word: str
    scene: str | None

    def take(self, frames: Sequence[int]) -> Subject:
        """Some of its frames."""
        some = list(frames)
        return replace(
            self, frames=self.frames[some], masks=self.masks[some], keypoints=self.keypoints[some],
            captions=[self.captions[i] for i in some],
        )  # fmt: skip


@dataclass(frozen=True)
class Conditions:
    """What B videos of F frames are generated from."""

    pose_latents: Tensor  # (B, F, C, h, w)
    text_states: Tensor  # (B, T, D)
    negative_states: Tensor  # (1, T, D): the empty prompt, for guidance

    def window(self, start: int, stop: int) -> Conditions:
        return replace(self, pose_latents=self.pose_latents[:, start:stop])
