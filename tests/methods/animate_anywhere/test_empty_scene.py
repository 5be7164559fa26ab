"""Nothing of the base's own person stays in the scenes of background augmentation."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from animateanywhere import puppets
from animateanywhere.backbones.base import BUNDLED
from animateanywhere.methods.animate_anywhere.empty_scene import fill, own_person
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


@pytest.mark.parametrize(("folder", "least"), [(BUNDLED, 0.95), (Path("none"), 0.6)])
def test_hats_and_hair_of_the_other_person_are_gone(folder: Path, least: float) -> None:
    """By the perception network of bases that have one, and by the outline of a body on others."""
    base = SimpleNamespace(folder=folder)
    gone = []
    for seed in range(12):
        spec = puppets.sample_spec(seed)
        spec = replace(spec, object=replace(spec.object, name="none"))
        kept = {name: getattr(spec.identity, name) for name in BODY}
        hat = replace(spec.identity, hat="hat", hair_style="long", bag="backpack")
        slim = replace(puppets.sample_spec(40 + seed).identity, build=0.9, hat="none", bag="none")
        own = puppets.render(replace(spec, identity=hat), frames=1)
        filmed = puppets.render(replace(spec, identity=replace(slim, **kept)), frames=1)
        hole = own_person(base, own.frames, own.keypoints)[0]  # type: ignore[arg-type]
        hole |= filmed.masks[0] > 0
        beyond = (own.masks[0] > 127) & ~binary_dilation(filmed.masks[0] > 127, iterations=2)
        gone.append((hole & beyond).sum() / max(beyond.sum(), 1))
        empty = puppets.render(spec, frames=1, person=False).frames
        scene = fill(own.frames[0], hole)[None]
        left, before = (
            swap.ring_error(some, empty, own.masks, filmed.masks) for some in (scene, own.frames)
        )
        assert left < before
    assert np.mean(gone) > least
