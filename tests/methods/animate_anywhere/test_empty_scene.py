"""Nothing of the base's own person stays in the scenes of background augmentation."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy.ndimage import binary_dilation

from animateanywhere import puppets
from animateanywhere.backbones.base import BUNDLED
from animateanywhere.methods.animate_anywhere.empty_scene import fill, without_own_person
from animateanywhere.metrics import swap

BODY = ("height", "shoulders", "hips", "head", "legs", "arms")


def test_a_hole_is_filled_by_what_is_around_it() -> None:
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:16], picture[16:] = (200, 100, 0), (0, 50, 150)
    whole = picture.copy()
    hole = np.zeros((32, 32), bool)
    hole[8:24, 12:20] = True
    picture[hole] = 255
    filled = fill(picture, hole)
    np.testing.assert_array_equal(filled[~hole], picture[~hole])
    assert np.abs(filled.astype(int) - whole)[hole].mean() < 12
    for no in (np.zeros_like(hole), np.ones_like(hole)):
        np.testing.assert_array_equal(fill(picture, no), picture)


def test_hats_and_hair_of_the_other_person_are_gone() -> None:
    """And pictures where nothing sticks out far, or that no network can judge, are unchanged."""
    base: Any = SimpleNamespace(folder=BUNDLED)
    gone, changed, same = [], 0, 0
    for seed in range(12):
        spec = puppets.sample_spec(seed)
        spec = replace(spec, object=replace(spec.object, name="none"))
        kept = {name: getattr(spec.identity, name) for name in BODY}
        hat = replace(spec.identity, hat="hat", hair_style="long", bag="backpack")
        slim = replace(puppets.sample_spec(40 + seed).identity, build=0.9, hat="none", bag="none")
        own = puppets.render(replace(spec, identity=hat), frames=1)
        filmed = puppets.render(replace(spec, identity=replace(slim, **kept)), frames=1)
        masks = filmed.masks / 255
        scene = without_own_person(base, own.frames, masks)
        same += bool((without_own_person(base, filmed.frames, masks) == filmed.frames).all())
        beyond = (own.masks[0] > 127) & ~binary_dilation(filmed.masks[0] > 127, iterations=2)
        if beyond.sum() < 0.05 * (masks > 0.5).sum():
            continue
        changed += 1
        gone.append((scene != own.frames).any(-1)[0][beyond].mean())
        empty = puppets.render(spec, frames=1, person=False).frames
        left, before = (
            swap.ring_error(some, empty, own.masks, filmed.masks) for some in (scene, own.frames)
        )
        assert left < before
    assert changed >= 3 and np.mean(gone) > 0.9 and same >= 10
    other: Any = SimpleNamespace(folder=Path("none"))
    assert without_own_person(other, own.frames, masks) is own.frames
