"""How generated frames are played: at which rate, in a loop or not, and with which sound."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.markup import escape

from animateanywhere.backbones.base import Base
from animateanywhere.core.formats import WITH_SOUND
from animateanywhere.core.messages import say
from animateanywhere.media.output import Loop, playback
from animateanywhere.media.sound import Sound, read_sound
from animateanywhere.media.source import WHOLE, Part
from animateanywhere.methods.animate_anywhere.driving_motion import closes
from animateanywhere.preprocessing.driving import Driving


class Playback(NamedTuple):
    """How generated frames are shown."""

    total: int  # of generated frames
    order: np.ndarray  # (M,), their indices in the video
    fps: float
    loop: Loop | None


def playback_of(count: int, base: Base, fps: float | None, loop: Loop | None) -> Playback:
    """The frames of a video at a frame rate [default: the base's]; says how they come about."""
    own = float(base.config["fps"])
    wanted = own if fps is None else fps
    if wanted != own:
        what = "repeated" if wanted > own else "left out"
        say(f"{count} frames are generated at {own:g} a second; for {wanted:g}, frames are {what}, "
            "and none is made in between")  # fmt: skip
    return Playback(count, playback(count, own, wanted, loop), wanted, loop)


def loop_of(driving: Driving, base: Base) -> Loop:
    """How a video loops: in a circle of windows (`diffusion.circular`) where the motion leads to
    its beginning, otherwise by playing forth and back. Says which."""
    if not closes(driving):
        say("the motion does not end where it begins: the video plays forth and back")
        return "forth and back"
    if base.packs_clips:  # the first latent of a clip differs from the others
        say(f"{base.family.name} generates no circle of frames: the video plays forth and back")
        return "forth and back"
    say("the motion ends where it begins: the end is generated to lead to the beginning")
    return "circle"


def sound_of(
    pose: Path, shown: Playback, base: Base, suffix: str, part: Part = WHOLE
) -> Sound | None:
    """The sound of a part of a driving video, as long as the generated one; None without any. Says
    if it has to be left out. suffix: of the file to write."""
    found = read_sound(pose, shown.total / float(base.config["fps"]), part.start)
    if found is None:
        return None
    why = ""
    if part.fps is not None:
        why = "--pose-fps changes the speed of the motion"
    elif suffix not in WITH_SOUND:
        why = f"a file {suffix} has none" if suffix else "a folder of pictures has none"
    elif shown.loop == "forth and back":
        why = "it cannot play backwards"
    if why:
        say(escape(f"the sound of {pose.name} is left out: {why}"))
    return None if why else found
