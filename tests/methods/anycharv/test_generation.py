"""Characters and swaps on a tiny base, without training."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from animateanywhere.backbones.base import Base, load_base
from animateanywhere.backbones.vae import encode_frames
from animateanywhere.core.errors import UsageError
from animateanywhere.core.frame_size import Size
from animateanywhere.methods.anycharv import generation
from animateanywhere.methods.anycharv.generation import Options, read_character, swap_latents
from animateanywhere.methods.anycharv.reference_picture import GRAY, cut_out
from animateanywhere.methods.anycharv.swap_base import load_swap_base

Pictures = tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]


@pytest.fixture(scope="module")
def base(tiny_swap: Path) -> Base:
    return load_swap_base(tiny_swap)


def pictures(count: int = 1, seed: int = 0) -> Pictures:
    rng = np.random.default_rng(seed)
    found: Pictures = ([], [], [])
    for _ in range(count):
        mask = np.zeros((90, 70), np.float32)
        mask[10:80, 20:50] = 1
        points = rng.uniform((20, 10), (50, 80), (18, 2))
        picture = rng.integers(0, 255, (90, 70, 3), dtype=np.uint8)
        parts = picture, mask, np.concatenate([points, np.ones((18, 1))], 1).astype(np.float32)
        found = tuple([*some, part] for some, part in zip(found, parts, strict=True))  # type: ignore[assignment]
    return found


def scene(frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    region = np.zeros((frames, 64, 64), np.float32)
    region[:, 16:56, 24:48] = 1
    poses = np.tile(np.append(rng.uniform(20, 50, (18, 2)), np.ones((18, 1)), 1), (frames, 1, 1))
    return rng.integers(0, 255, (frames, 64, 64, 3), dtype=np.uint8), region, poses


def test_the_person_is_cut_out_and_keeps_proportions_and_pose() -> None:
    picture, mask, pose = (some[0] for some in pictures())
    picture[:] = 200
    mask[40:60, 30:40] = 0.5  # half transparent
    canvas, moved = cut_out(picture, mask, pose, Size(64, 96), filled=1.0)
    assert canvas.shape == (96, 64, 3)
    assert (canvas[:, :11] == GRAY).all() and (canvas[:, 53:] == GRAY).all()  # 30 x 70 pixels
    assert (canvas[:, 13:51] > 150).all() and abs(int(canvas[55, 32, 0]) - 164) < 3
    scale = 96 / 70
    np.testing.assert_allclose(moved[:, 1], (pose[:, 1] - 10) * scale, atol=1e-3)
    np.testing.assert_allclose(moved[:, 0] - 32, (pose[:, 0] - 35) * 41 / 30, atol=0.6)
    wide = np.zeros((20, 100), np.float32)
    wide[5:15, 10:90] = 1
    canvas, _ = cut_out(np.zeros((20, 100, 3), np.uint8), wide, pose, Size(64, 96), filled=1.0)
    assert set(np.flatnonzero((canvas != GRAY).any((1, 2)))) == set(range(44, 52))
    with pytest.raises(ValueError, match="empty"):
        cut_out(picture, 0 * mask, pose, Size(64, 96))


@pytest.mark.parametrize("frames", [1, 3, 7])  # an image, less than a window, two windows
def test_a_swap_of_any_length_keeps_the_scene(base: Base, frames: int) -> None:
    character = read_character(base, *pictures())
    inputs, steps = scene(frames), []
    found = swap_latents(base, character, *inputs, Options(seed=3), lambda: steps.append(1))
    assert found.shape == (frames, 4, 8, 8) and len(steps) == 2
    again = swap_latents(base, character, *inputs, Options(seed=3))
    assert torch.equal(found, again)
    apart = (found - encode_frames(base.vae, inputs[0])).abs()
    assert apart[:, :, :2].max() < 1e-4 and apart[:, :, 2:7, 3:6].mean() > 0.05
    frames_made = generation.decode(base, found)
    assert frames_made.shape == inputs[0].shape and frames_made.dtype == np.uint8
    own = generation.through_vae(base, inputs[0])
    apart = np.abs(frames_made.astype(int) - own)
    assert apart[:, :8].mean() < 0.5 * apart[:, 16:56, 24:48].mean()
    if frames != 1:
        return
    for other in (
        swap_latents(base, character, *inputs, Options(seed=4)),
        swap_latents(base, read_character(base, *pictures(seed=1)), *inputs, Options(seed=3)),
        swap_latents(base, read_character(base, *pictures(2)), *inputs, Options(seed=3)),
        swap_latents(base, character, *inputs, Options(seed=3, mask="fine")),
        swap_latents(base, character, *inputs, Options(seed=3, guidance=2.0)),
        swap_latents(base, character, *inputs, Options(seed=3, steps=3, sampler="ddim")),
    ):
        assert not torch.allclose(found, other, atol=1e-4)


def test_a_fine_mask_hides_who_stands_there(base: Base) -> None:
    base = replace(base, config=base.config | {"keep_scene": False})
    character = read_character(base, *pictures())
    frames, region, poses = scene(1)
    other = np.where(region[..., None] == 1, 255 - frames, frames)
    hidden, seen = Options(mask="fine"), Options()
    made = [swap_latents(base, character, x, region, poses, hidden) for x in (frames, other)]
    inside = slice(None), slice(None), slice(3, 6), slice(4, 5)
    assert torch.allclose(made[0][inside], made[1][inside], atol=1e-4)
    made = [swap_latents(base, character, x, region, poses, seen) for x in (frames, other)]
    assert not torch.allclose(made[0][inside], made[1][inside], atol=1e-3)


def test_bases_are_for_their_command_and_of_their_version(
    tiny_base: Path, tiny_swap: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="for `aa swap`"):
        load_base(tiny_swap)
    with pytest.raises(UsageError, match="cannot put the person"):
        load_swap_base(tiny_base)
    (tmp_path / "base.toml").write_text(
        (tiny_swap / "base.toml").read_text().replace('parts_hash = "', 'parts_hash = "0')
    )
    with pytest.raises(UsageError, match="another version of the base"):
        load_swap_base(tmp_path)
    swap, base = load_swap_base(tiny_swap), load_base(tiny_base)
    assert swap.hash != base.hash and swap.folder == tiny_swap
    for one, other in zip(swap.vae.parameters(), base.vae.parameters(), strict=True):
        assert torch.equal(one, other)
