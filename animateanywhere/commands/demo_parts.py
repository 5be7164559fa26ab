"""What the parts of `aa demo` that begin with a picture share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from animateanywhere.evaluation.perception import Perception
from animateanywhere.evaluation.truth import measure_person, write_picture
from animateanywhere.puppets import Clip, Spec, render

PICTURE = 192  # pixels of a side of the picture

Stage = Callable[[str, Callable[[], Path]], Path]  # makes a file once, under a name


def standing_picture(person: Spec, path: Path) -> Clip:
    """Write a picture of a person who stands, with its exact mask and pose; returns it as a clip of
    one frame."""
    standing = replace(person, motion=replace(person.motion, name="idle"))
    picture = render(standing, frames=1, size=PICTURE)
    write_picture(picture, path)
    return picture


def scores(net: Perception, shown: np.ndarray, truth: Clip) -> dict[str, float]:
    """The numbers by which a video (F, H, W, 3) uint8 is like the true one."""
    found = measure_person(net, shown, truth)
    return {name: value for name, value in found.items() if isinstance(value, float)}
