"""Portraits: puppets with individual faces and prints, close to the camera."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from animateanywhere import puppets
from animateanywhere.puppets.prints import PRINT, paint_print, print_at
from animateanywhere.puppets.spec import OCCLUDERS, Occluder


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


def detailed(**details: object) -> puppets.Spec:
    """A woman in a t-shirt and trousers who faces the camera, with a plain `Detail` but for some of
    its fields."""
    spec = puppets.sample_portrait(3)
    who = replace(spec.identity, gender="woman", top="t-shirt", bottom="trousers", beard=False,
                  hair_style="ponytail", hat="none", bag="none", glasses=True)  # fmt: skip
    assert who.detail is not None
    plain = replace(who.detail, print_seed=0, streak_rgb=None, sleeve_rgb=None, leg_rgb=None,
                    scarf_rgb=None, tattoo_seed=0, hair_side=0.0, lens=0.0)  # fmt: skip
    camera = replace(spec.camera, scale=0.8, ground=0.95, x=0.0)
    motion = replace(spec.motion, name="wave", yaw=0.2)
    who = replace(who, detail=replace(plain, **details))  # type: ignore[arg-type]
    nothing = replace(spec.object, name="none")
    return replace(spec, identity=who, camera=camera, motion=motion, object=nothing)


RED = (0.9, 0.05, 0.05)


@pytest.mark.parametrize(
    ("details", "parts"),
    [
        ({"print_seed": 11}, "top"),
        ({"lens": 0.9}, "face"),
        ({"face_width": 1.15}, "face hair skin"),
        ({"jaw": 1.25}, "face hair skin"),
        ({"hair_side": 0.8}, "hair"),
        ({"streak_rgb": RED}, "hair face"),
        ({"sleeve_rgb": RED}, "top"),
        ({"leg_rgb": RED}, "bottom"),
        ({"scarf_rgb": RED}, "other"),
        ({"tattoo_seed": 5}, "skin"),
    ],
)
def test_each_detail_changes_its_part_only(details: dict[str, object], parts: str) -> None:
    """Apart from edges, every pixel that changes is of the part, before or afterwards."""
    plain, changed = (puppets.render(detailed(**some), frames=1) for some in ({}, details))
    differs = (plain.frames != changed.frames).any(-1)
    differs &= (plain.masks == 255) | (changed.masks == 255)
    assert differs.sum() >= 4
    allowed = [puppets.PARTS.index(name) for name in parts.split()]
    ours = np.isin(plain.parts, allowed) | np.isin(changed.parts, allowed)
    assert ours[differs].mean() > 0.8  # the rest are edges between two parts


def test_who_has_no_details_is_rendered_the_same_beside_one_who_has() -> None:
    spec = puppets.sample_portrait(3)
    plain = replace(spec, identity=replace(spec.identity, detail=None))
    alone = puppets.render(plain, frames=1)
    together = puppets.render_batch([spec, plain], [0.0, 0.0])
    assert (together[0].frames != alone.frames).any()
    np.testing.assert_array_equal(together[1].frames, alone.frames)


def test_detailed_people_are_those_of_the_split_otherwise() -> None:
    for seed in range(8):
        plain, rich = puppets.sample_spec(seed), puppets.sample_spec(seed, detailed=True)
        assert rich.identity.detail is not None
        bare = replace(rich.identity, detail=None)
        assert plain == replace(rich, identity=bare, occluder=None)


@pytest.mark.parametrize("name", OCCLUDERS)
def test_an_occluder_hides_the_person_and_is_not_the_person(name: str) -> None:
    spec = detailed()
    occluder = Occluder(name, RED, 0.0, 1.0)
    free, hidden = (puppets.render(one, frames=1) for one in
                    (spec, replace(spec, occluder=occluder)))  # fmt: skip
    covered = (free.masks == 255) & (hidden.masks == 0)
    assert covered.sum() > 30
    red = hidden.frames[covered].mean(0)
    assert red[0] > 1.5 * red[1:].max()
    assert ((hidden.masks > free.masks) == 0).all()
    assert name in puppets.caption(replace(spec, occluder=occluder), 0) or name == "post"
    seen = [clip.keypoints[0, :, 2].sum() for clip in (free, hidden)]
    assert seen[1] <= seen[0]
    points = hidden.keypoints[0]
    inside = points[:, :2].round().astype(int).clip(0, 127)
    assert not points[covered[0, inside[:, 1], inside[:, 0]], 2].any()


def test_captions_name_prints_coarsely() -> None:
    for seed, word in ((100, "print"), (101, "pattern")):
        text = puppets.caption(detailed(print_seed=seed), 0)
        assert word in text


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
