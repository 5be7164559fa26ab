"""Windows around a circle: a video whose last frame leads to its first."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from animateanywhere.diffusion.sampling import Denoiser, triangle


def circular_windows(frames: int, length: int, overlap: int) -> list[tuple[int, int]]:
    """Ranges (start, stop) of `length` frames, evenly spaced around a circle of `frames` frames,
    that share at least `overlap` with their neighbors; at least two. A stop beyond `frames`
    continues at the beginning. Raises ValueError unless 0 <= overlap < length."""
    if not 0 <= overlap < length:
        raise ValueError(f"an overlap of {overlap} does not fit windows of {length} frames")
    length = min(length, frames)
    count = max(-(-frames // (length - min(overlap, length - 1))), 2)
    return [(i * frames // count, i * frames // count + length) for i in range(count)]


def blend_circle(
    denoiser_of: Callable[[int, int], Denoiser], frames: int, length: int, overlap: int
) -> Denoiser:
    """As `sampling.blend` around a circle. denoiser_of(start, stop): for a window as from
    `circular_windows`, with conditions that continue at the beginning."""
    parts = [(start, stop, denoiser_of(start, stop))
             for start, stop in circular_windows(frames, length, overlap)]  # fmt: skip

    def denoiser(x: Tensor, t: Tensor) -> Tensor:  # (B, F, C, h, w)
        total, weights = torch.zeros_like(x), x.new_zeros(x.shape[1], 1, 1, 1)
        for start, stop, part in parts:
            index = torch.arange(start, stop, device=x.device) % frames
            weight = triangle(stop - start).to(x)[:, None, None, None]
            total.index_add_(1, index, weight * part(x[:, index], t))
            weights.index_add_(0, index, weight)
        return total / weights

    return denoiser
