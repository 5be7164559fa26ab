"""What `aa cast` is asked for, and all that a video is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from animateanywhere.backbones.base import Base
from animateanywhere.collage.limb_collage import Collage
from animateanywhere.media.provenance import CAST, Made
from animateanywhere.media.source import WHOLE, Part
from animateanywhere.methods.animate_anywhere.driving_motion import Motion
from animateanywhere.methods.context_anyone.generation import Options
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.character import Character

DEFAULT = "mini-cast"


@dataclass(frozen=True)
class CastOptions:
    """Options of `cast`. Equal options give equal bytes on one machine."""

    also: Sequence[Path] = ()  # further pictures of the same person
    pose: Path | None = None  # a motion to follow
    # Without one: whether it is that of rendered people which the prompt's verb names, or the
    # network's own; None: the base's default
    prompt_motion: bool | None = None
    # Whether the picture's own limbs are laid over what the network drew; None: the base's default
    collage: bool | None = None
    # Whether what trembles behind the person is steadied; None: with a base that lays limbs
    steady_background: bool | None = None
    base: str = DEFAULT  # name or folder
    # To write (`core.formats`); None: a new .mp4 in runs/cast
    out: Path | None = None
    overwrite: bool = False  # files that are not earlier results of this command, too
    seed: int = 0
    frames: int | None = None  # None: those of the motion, without one those of the base
    # Words for the person's appearance, to add to the prompt; "auto": those that are found, by the
    # caption backend, which finds some in any case if it is a model
    appearance: str | None = None
    likeness: float | None = None  # scale of guidance on the picture; None: the base's default
    guidance: float | None = None  # on the prompt; None: the base's default
    steps: int | None = None  # denoising steps; None: the base's default
    sampler: str | None = None  # None: the base's default
    person: int | None = None  # number of the one in a picture of several
    pose_person: int | None = None  # number of the one to follow in the motion; None: 1
    whole: bool = False  # take the picture as it is: nobody is looked for or cut out
    part: Part = WHOLE  # of the motion
    no_audio: bool = False  # leave out the sound of the motion
    contact_sheet: Path | None = None  # PNG of the pictures, the motion and the video
    backends: Backends | None = None  # of poses, masks and words for the appearance


def by_vace(base: Base) -> bool:
    """Whether a base is Wan VACE, and none of this method."""
    return base.family.encode_reference is not None


class Job(NamedTuple):
    """All that a video is made of."""

    base: Base
    prompt: str  # as the network reads it
    known: list[Character]
    pictures: np.ndarray  # (K, H, W, 3) uint8, as the network sees them
    motion: Motion | None
    drawn: np.ndarray | None  # skeletons of the motion (F, H, W, 3) uint8
    frames: int
    sampling: Options
    collage: Collage | None  # the limbs that are laid over what the network draws
    steady: bool  # whether the background behind these is steadied

    @property
    def made(self) -> Made:
        """What the metadata says of the video's origin."""
        return CAST if self.collage is None else CAST.composite()
