"""Synthetic backgrounds in which a hat of the base's own person sticks out are left out."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from animateanywhere import puppets
from animateanywhere.backbones.base import BUNDLED
from animateanywhere.methods.animate_anywhere.own_person import least_visible, spare

BODY = ("height", "shoulders", "hips", "head", "legs", "arms")


def test_pictures_with_hats_and_long_hair_are_left_out() -> None:
    base: Any = SimpleNamespace(folder=BUNDLED)
    pictures, masks = [], []
    for seed in range(12):
        spec = puppets.sample_spec(seed)
        spec = replace(spec, object=replace(spec.object, name="none"))
        kept = {name: getattr(spec.identity, name) for name in BODY}
        plain = replace(puppets.sample_spec(40 + seed).identity, hat="none", bag="none", **kept)
        filmed = puppets.render(replace(spec, identity=plain), frames=1)
        wide = replace(
            plain, hat="hat", hair_style="long", bag="backpack", build=1.35, top="jacket"
        )
        own = wide if seed % 3 == 0 else plain  # four of twelve
        pictures.append(puppets.render(replace(spec, identity=own), frames=1).frames[0])
        masks.append(filmed.masks[0] / 255)
    used = least_visible(base, np.stack(pictures), np.stack(masks), 8)
    assert list(used) == sorted(used) and len(used) == 8
    assert sum(number % 3 == 0 for number in used) <= 1
    assert list(least_visible(base, np.stack(pictures), np.stack(masks), 12)) == list(range(12))


def test_bases_whose_people_no_network_knows_generate_no_more() -> None:
    known: Any = SimpleNamespace(folder=BUNDLED)
    other: Any = SimpleNamespace(folder=Path("none"))
    assert spare(known, 96) == 16 and spare(other, 96) == 0
