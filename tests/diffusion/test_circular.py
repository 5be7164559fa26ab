"""Windows around a circle."""

import pytest
import torch
from torch import Tensor

from animateanywhere.diffusion.circular import blend_circle, circular_windows
from animateanywhere.diffusion.sampling import Denoiser, blend, windows


@pytest.mark.parametrize("frames", [2, 3, 4, 5, 10, 16, 17, 40])
def test_every_frame_and_every_border_is_inside_of_a_window(frames: int) -> None:
    ranges = circular_windows(frames, 4, 1)
    assert len(ranges) >= 2
    inside = set[tuple[int, int]]()
    for start, stop in ranges:
        assert stop - start == min(frames, 4)
        inside |= {(i % frames, (i + 1) % frames) for i in range(start, stop - 1)}
    assert {(i, (i + 1) % frames) for i in range(frames)} <= inside


def averaging(start: int, stop: int) -> Denoiser:
    """Every frame becomes a little like the mean of its window."""
    return lambda x, t: x / 2 + x.mean(1, keepdim=True) / 2


def test_the_last_frame_is_made_together_with_the_first() -> None:
    x = torch.zeros(1, 12, 1, 1, 1)
    x[:, 0] = 1
    t = torch.tensor(0)
    line = blend(averaging, windows(12, 4, 1))(x, t)
    circle = blend_circle(averaging, 12, 4, 1)(x, t)
    assert line[0, -1] == 0 and circle[0, -1] > 0


def test_a_rotated_video_gives_a_rotated_result() -> None:
    x = torch.randn(1, 12, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    denoiser, t = blend_circle(averaging, 12, 4, 1), torch.tensor(0)
    step = circular_windows(12, 4, 1)[1][0]

    def rotated(x: Tensor) -> Tensor:
        return x.roll(step, 1)

    torch.testing.assert_close(denoiser(rotated(x), t), rotated(denoiser(x, t)))
