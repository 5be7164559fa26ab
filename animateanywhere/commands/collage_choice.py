"""Whether the limbs of pictures are laid over what a network draws."""

from __future__ import annotations

from collections.abc import Sequence

from animateanywhere.backbones.base import Base
from animateanywhere.collage.limb_collage import Collage, Cutout
from animateanywhere.core.messages import say, warn
from animateanywhere.preprocessing.character import Character


def collage_of(base: Base, known: Sequence[Character], asked: bool | None) -> Collage | None:
    """The limbs of the pictures, if they are laid: as asked for, or by the base's default. Says
    whether they are."""
    if not (bool(base.config.get("collage", False)) if asked is None else asked):
        return None
    found = Collage([Cutout(one.pixels, one.mask, one.keypoints) for one in known])
    if not found:
        warn(
            "no limbs are laid over what the network draws, as no picture has a pose with a torso: "
            "give one that shows shoulders and hips, or correct its pose (--whole reads none)"
        )
        return None
    if asked is None:
        say(
            "the picture's own limbs are laid over what the network draws "
            "(--no-collage leaves them out)"
        )
    return found
