"""One pass over a scene of any length: its cuts, and the people in each frame."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from rich.markup import escape

from animateanywhere.core.errors import UsageError
from animateanywhere.core.frame_size import Size
from animateanywhere.core.messages import progress, quietly, reporting_to, warn
from animateanywhere.core.reporter import Events
from animateanywhere.media import video
from animateanywhere.media.pictures import PICTURES_FPS, frame_times, is_picture
from animateanywhere.media.source import Part
from animateanywhere.pose.skeleton_video import recognize
from animateanywhere.preprocessing import exact
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.pose import detect
from animateanywhere.preprocessing.pose.people import persons_of, with_colors
from animateanywhere.preprocessing.quality import footage
from animateanywhere.preprocessing.quality.clip import cut_frames
from animateanywhere.preprocessing.reference_clip import DRAWN, Chosen
from animateanywhere.preprocessing.scene.flashes import Flashes, brightness, find_flashes
from animateanywhere.preprocessing.tracking import Persons

FULL = 8192  # pixels: no frame that can be read has a longer side
FASTEST = 30.0  # frames per second of a swapped video
LONGEST = 9000  # frames, five minutes at 30 a second: more must be asked for
SLICE_BYTES = 2**26  # of the frames that are in memory at once
MOST_AT_ONCE = 32  # frames
Command = Literal["swap", "check"]


class Facts(NamedTuple):
    """A scene as its file says it is."""

    path: Path
    size: Size  # of its frames
    seen: Size  # of those in which people are looked for
    fps: float  # of the frames taken
    own_fps: float  # of the file, on average, or as `part` says
    expected: int  # number of frames, about
    part: Part
    is_picture: bool
    command: Command = "swap"  # who asks: their options have names of their own

    def slices(self, size: int) -> int:
        """How many frames, with a longer side of at most `size` pixels, are in memory at once."""
        scale = min(1.0, size / max(self.size))
        each = 3 * self.size.width * self.size.height * scale**2
        return int(min(max(SLICE_BYTES // each, 2), MOST_AT_ONCE))


class Scan(NamedTuple):
    """What one pass found: the persons of each frame, in pixels of `Facts.seen`, the frames with
    which a new shot begins, and those that a flash lights, whose colors are unknown."""

    found: list[Persons]
    cuts: list[int]
    flashes: Flashes


def scene_facts(path: Path, fps: float | None, part: Part, command: Command = "swap") -> Facts:
    """Size, rate and length of a scene. fps: of the frames to take; None: the scene's own, at most
    `FASTEST`. command: that asks.

    Raises UsageError for a file that is no video, and for a part longer than `LONGEST` frames
    unless a number of frames was asked for.
    """
    first = video.read_first(path, FULL)
    seen = video.read_first(path)
    size, small = (Size(one.frames.shape[2], one.frames.shape[1]) for one in (first, seen))
    drawn = not path.is_dir() and is_picture(path)  # an animation, unless it is alone
    single = drawn and not first.more
    own = part.fps or (fps if path.is_dir() else None) or first.source_fps  # as it is read
    rate = fps or min(own, FASTEST)
    count = 1 if single else max(_count(path, first, own, rate, part, drawn), 1)
    if part.frames is None and count > LONGEST:
        raise UsageError(
            f"{path}: {count} frames at {rate:g} a second; more than {LONGEST} are swapped only if "
            f"asked for: add --frames {count} for all of it, or choose a part by --start and "
            "--frames"
        )
    if first.alpha is not None:
        warn(escape(f"{path}: parts of it are transparent; in the result they are gray and opaque"))
    taken = min(count, part.frames or count)
    return Facts(path, size, small, rate, own, taken, part, single, command)


def _count(path: Path, first: video.Video, own: float, rate: float, part: Part, drawn: bool) -> int:
    """How many frames a part has at a rate: of an animation exactly, of a video by the length and
    the average rate that its file tells."""
    if drawn:
        last, end = frame_times(path, part.fps)[-2:]
    else:
        end = (first.length or 0) * first.source_fps / own
        last = end - 1 / own
    # The last frame is taken while it is nearer than the end (`video.nearest`)
    return math.ceil(((last + end) / 2 - part.start) * rate - 1e-6)


def options_of(facts: Facts) -> str:
    """The options of `aa swap` that choose the frames of a scene, such as "--frames 16"."""
    part = facts.part
    # The own rate of a folder of pictures is whatever was asked for
    own = part.fps or (PICTURES_FPS if facts.path.is_dir() else facts.own_fps)
    given = {
        "--start": part.start or None, "--frames": part.frames, "--scene-fps": part.fps,
        "--fps": None if facts.fps == min(own, FASTEST) else facts.fps,
    }  # fmt: skip
    texts = [f"{name} {value:.6g}" for name, value in given.items() if value is not None]
    return " ".join(texts) or f"no {', '.join(given)}"


def options_in(options: str, command: Command) -> str:
    """What `options_of` gives, by the names of a command: `aa check` has another one for the
    scene's rate, and none for the result's."""
    if command == "swap":
        return options
    named = options.replace(", --fps", "").replace("--scene-fps", "--input-fps")
    return re.sub(r"(?<!\S)(--fps \S+)", r"\1 of `aa swap`", named)


def scan(facts: Facts, chosen: Chosen, backends: Backends) -> Scan:
    """Look for cuts and people. Raises UsageError for skeletons and part maps."""
    found: list[Persons] = []
    changes, small = [], []
    last, left = None, facts.expected
    with progress("looking for people", total=facts.expected) as bar:
        for some in read_scene(facts, video.LONG_SIDE, again=False):
            if not some.first and (kind := recognize(some.frames)):
                raise UsageError(
                    f"{facts.path}: {DRAWN[kind]}, which is a motion and no scene: give it to "
                    "`aa generate --pose`"
                )
            frames = some.frames if last is None else np.concatenate([last, some.frames])
            changes.append(footage.color_changes(frames))
            small.append(brightness(some.frames))
            last = some.frames[-1:]
            with reporting_to(Events()):  # a bar for each slice would say nothing
                found += with_colors(_persons(facts, some, chosen, backends), some.frames)
            bar.advance(min(len(some.frames), left))  # there may be more than expected
            left -= min(len(some.frames), left)
    flashes = find_flashes(np.concatenate(small), facts.fps)
    cuts = cut_frames(np.concatenate(changes))
    cuts = cuts[~flashes.goes_on[cuts]]
    for frame in np.flatnonzero(flashes.lit).tolist():
        unknown = np.full_like(found[frame].colors, np.nan)
        found[frame] = found[frame]._replace(colors=unknown)
    return Scan(found, cuts.tolist(), flashes)


def read_scene(facts: Facts, size: int, again: bool = True) -> Iterator[video.Slice]:
    """The slices of a scene with a longer side of at most `size` pixels. again: nothing is said
    that was said at the first time."""
    slices = video.read_slices(facts.path, facts.fps, facts.slices(size), size, facts.part)
    while True:
        with quietly() if again else nullcontext():  # not around a yield: it is the caller's too
            some = next(slices, None)
        if some is None:
            return
        yield some


def as_clip(facts: Facts, some: video.Slice) -> video.Video:
    """A slice as what `preprocessing.exact` compares its files with."""
    times = facts.part.start + (some.first + np.arange(len(some.frames))) / facts.fps
    return video.Video(
        some.frames, facts.fps, facts.path, facts.own_fps, times, None, None, True, []
    )  # fmt: skip


def _persons(facts: Facts, some: video.Slice, chosen: Chosen, backends: Backends) -> list[Persons]:
    if chosen.poses_file is None:
        return detect.find_persons(some.frames, chosen.pose, backends.location)
    everybody = exact.all_poses(chosen.poses_file, as_clip(facts, some), facts.part)
    return [persons_of(poses) for poses in everybody]
