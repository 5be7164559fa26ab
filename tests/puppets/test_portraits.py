"""Portraits: puppets with individual faces and prints, close to the camera."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from animateanywhere import puppets
from animateanywhere.puppets.prints import PRINT, paint_print, print_at


def width(part: np.ndarray) -> int:
    """Columns between the first and the last pixel of a part (H, W) bool; 0 without one."""
    columns = np.nonzero(part.any(0))[0]
    return int(np.ptp(columns)) if len(columns) else 0


def test_faces_in_portraits_are_large_enough_for_a_vae() -> None:
    specs = [puppets.sample_portrait(seed) for seed in range(30)]
    clips = puppets.render_batch(specs, [0.5] * 30)
    face = puppets.PARTS.index("face")
    assert np.mean([width(clip.parts[0] == face) >= 24 for clip in clips]) > 0.3


@pytest.mark.parametrize("split", ["train", "held-out"])
def test_the_splits_share_no_appearance(split: str) -> None:
    found = [puppets.is_held_out(puppets.sample_portrait(n, split).identity) for n in range(5)]
    assert found == [split == "held-out"] * 5


def test_details_change_only_the_head_and_the_top() -> None:
    """A person without details is rendered the same with and without one in the batch who has."""
    spec = puppets.sample_portrait(3)
    plain = replace(spec, identity=replace(spec.identity, detail=None))
    detailed, alone = (puppets.render(one, frames=1) for one in (spec, plain))
    changed = (detailed.frames != alone.frames).any(-1) & (alone.masks == 255)  # without edges
    assert changed.any()
    allowed = [puppets.PARTS.index(name) for name in ("face", "hair", "top", "skin")]
    assert np.isin(alone.parts[changed], allowed).all()
    together = puppets.render_batch([spec, plain], [0.0, 0.0])
    np.testing.assert_array_equal(together[1].frames, alone.frames)


def test_prints_are_on_the_chest_or_everywhere_or_nowhere() -> None:
    """By their seed: even, odd or 0."""
    who = puppets.sample_portrait(3).identity
    assert who.detail is not None
    covers = {}
    for seed in (0, 100, 101):
        painted = paint_print(replace(who, detail=replace(who.detail, print_seed=seed)), "cpu")
        assert painted.shape == (4, PRINT, PRINT)
        assert painted.min() >= 0 and painted.max() <= 1
        covers[seed] = float(painted[3].mean())
    assert covers[0] == 0 < covers[100] < 0.6 < covers[101]


def test_a_print_is_upright_and_is_the_one_of_its_frame() -> None:
    prints = torch.zeros(2, 4, PRINT, PRINT)
    prints[1, 0, : PRINT // 2] = 1.0  # red and opaque in the upper half of the second frame
    prints[1, 3, : PRINT // 2] = 1.0
    frame, v = torch.tensor([0, 1, 1]), torch.tensor([0.3, 0.3, 0.0])
    colors, cover = print_at(prints, frame, torch.zeros(3), v)
    assert cover.tolist() == [False, True, False]
    assert colors[1].tolist() == [1, 0, 0]
