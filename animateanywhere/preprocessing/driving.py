"""Reading a driving motion from a poses.json, a skeleton video or a video of a person."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from rich.markup import escape

from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import cache_place
from animateanywhere.core.frame_size import Size
from animateanywhere.core.messages import say, warn
from animateanywhere.core.paths import RUNS
from animateanywhere.media import video
from animateanywhere.media.source import WHOLE, Part
from animateanywhere.pose import skeleton, skeleton_video, smoothing
from animateanywhere.pose.body import without_impossible_limbs
from animateanywhere.pose.visibility import has_person
from animateanywhere.preprocessing.backends import Backends, choose_backend
from animateanywhere.preprocessing.pose import detect
from animateanywhere.preprocessing.pose.people import (
    People,
    choose,
    follow_apart,
    follow_people,
    is_alone,
    persons_of,
    write_numbered,
)
from animateanywhere.preprocessing.quality.clip import frames_in_words
from animateanywhere.preprocessing.reference import corrected_limbs

MIN_PERSON_SHARE = 0.25  # share of frames that must show a person
MAX_FRAMES = 512  # frames; a minute at 8 a second


class Wanted(NamedTuple):
    """The number of the person to follow, None: 1, and the option that gives it."""

    number: int | None
    option: str


class Driving(NamedTuple):
    """A driving motion: keypoints float32 (F, 18, 3) in pixels of width x height; its source."""

    keypoints: np.ndarray
    width: int
    height: int
    kind: Literal["poses.json", "openpose18", "dwpose", "foreign", "person", "rendered"]
    pictures: np.ndarray | None = None  # (F, H, W, 3) uint8, of "foreign": used unchanged

    @property
    def size(self) -> Size:
        return Size(self.width, self.height)


def read_driving(
    path: str | Path,
    fps: float,
    frames: int | None = None,
    backends: Backends | None = None,
    person: int | None = None,
    part: Part = WHOLE,
    option: str = "--person",
) -> Driving:
    """Keypoints of a poses.json, a skeleton video (OpenPose or DWPose colors) or a person's video.

    Short gaps are interpolated and jitter is smoothed. A message says what was recognized.

    Args:
        fps: frame rate of the result; the motion keeps its speed.
        frames: maximum number of frames [default: MAX_FRAMES].
        backends: its pose backend is used for a video of a person.
        person: number of the person to follow, of several; None: 1, the most prominent.
        part: of the file.
        option: that gives the number, for messages.

    Raises:
        UsageError: the file cannot be read, is a DensePose rendering, or shows no person, or no
            person with this number.
    """
    path = Path(path)
    if path.suffix.lower() == ".json":
        return _read_poses(path, fps, frames, Wanted(person, option), part)
    limit = frames or MAX_FRAMES
    clip = video.read(path, max_frames=limit, fps=fps, part=part)
    if path.is_dir() and part.fps is None:
        say(
            escape(
                f"{path.name}: a folder of pictures, taken as {fps:g} a second; --pose-fps sets "
                "another rate"
            )
        )
    if frames is None and clip.more:
        _say_limit(path, part.start, limit / fps, clip.length)
    height, width = clip.frames.shape[1:3]
    drawing = skeleton_video.inspect(clip.frames)
    kind = drawing.kind
    if kind == "densepose":
        raise UsageError(
            f"{path}: a DensePose part map, which contains no keypoints; "
            "give the original video, an OpenPose or DWPose video, or a poses.json"
        )
    if kind == "foreign":
        warn(
            escape(
                f"{path.name}: a skeleton in colors other than OpenPose's: its keypoints cannot be "
                "identified, so its pictures are used unchanged and the motion is not fitted to "
                "the person; for better results give the original video, an OpenPose or DWPose "
                "video, or a poses.json"
            )
        )
        pictures = clip.frames[_nearest_read(clip)]
        nothing = np.zeros((len(pictures), 18, 3), np.float32)
        return Driving(nothing, width, height, "foreign", pictures)
    if kind is None:
        people = _estimate_poses(clip.frames, path, backends or Backends())
    else:
        people = _recover(clip.frames, drawing)
    wanted = Wanted(person, option)
    keypoints, one = _chosen(people, wanted, path, len(clip.frames), lambda k: clip.frames[k])
    if kind is None:
        keypoints, findings = corrected_limbs(keypoints)
        for finding in findings:
            say(escape(f"{path.name}: {finding.text}"))
    else:
        drawn, keypoints = keypoints, without_impossible_limbs(keypoints)
        cut = np.flatnonzero((drawn[..., 2] > keypoints[..., 2]).any(1))
        if len(cut):
            where = frames_in_words(cut)
            say(escape(f"{path.name}: limbs of impossible length are left out in {where}"))
    keypoints = keypoints[_nearest_read(clip)]
    found = has_person(keypoints)
    if found.mean() < MIN_PERSON_SHARE:
        raise UsageError(
            f"{path}: no skeleton and no person to follow "
            f"(detected in {found.sum()} of {len(found)} frames); give a video of one moving person"
        )
    words = {"openpose18": "an OpenPose skeleton", "dwpose": "a DWPose skeleton"}
    what = words.get(kind or "", "a person")
    order = " with red and blue exchanged" if drawing.exchanged else ""
    counted = f"detected in {found.sum()} of {len(found)} frames"
    say(escape(f"{path.name}: {what}{order}, {counted}{one}"))
    if not found.all():
        where = frames_in_words(np.flatnonzero(~found))
        warn(escape(f"{path.name}: {what} is not found in {where}: the pose of the nearest frame "
                    "is repeated"))  # fmt: skip
        keypoints = _fill_with_nearest(keypoints, found)
    steady, _ = smoothing.smooth(keypoints, fps)
    return Driving(steady, width, height, kind or "person")


def _read_poses(path: Path, fps: float, frames: int | None, person: Wanted, part: Part) -> Driving:
    """As `read_driving`, of a poses.json."""
    limit = frames or MAX_FRAMES
    poses = skeleton.read_all_poses(path)
    rate = part.fps or poses.fps
    length = len(poses.keypoints) / rate
    if not part.start < length:
        raise UsageError(f"{path}: nothing is left after {part.start:g} s; it lasts {length:.1f} s")
    wanted = _nearest_indices(len(poses.keypoints), rate, fps, part.start, limit + 1)
    if frames is None and len(wanted) > limit:
        _say_limit(path, part.start, limit / fps, length)
    everybody = poses.keypoints[wanted[:limit]]  # (F, P, 18, 3)
    keypoints, one = _of_poses(everybody, poses, path, person)
    if not (keypoints[..., 2] >= skeleton.VISIBLE).any():
        raise UsageError(
            f"{path}: no keypoint in it has a confidence of at least {skeleton.VISIBLE}"
        )
    say(escape(f"{path.name}: poses.json, {len(keypoints)} frames{one}"))
    return Driving(keypoints, poses.width, poses.height, "poses.json")


def _nearest_read(clip: video.Video) -> np.ndarray:
    """For each moment of a clip the nearest frame that was read: damaged ones are not there."""
    places = np.round((clip.times - clip.times[0]) * clip.fps).astype(int)
    return np.abs(np.arange(places[-1] + 1)[:, None] - places).argmin(1)


def _say_limit(path: Path, start: float, used: float, length: float | None) -> None:
    whole = f" of {length:.0f} s" if length else ""
    say(
        escape(
            f"{path.name}: {start:.0f} to {start + used:.0f} s{whole} are used, the longest "
            "motion; --pose-start chooses another part"
        )
    )


def _estimate_poses(frames: np.ndarray, path: Path, backends: Backends) -> People:
    backend = choose_backend("pose", backends, path)
    return detect.find_people(frames, backend, backends.location)


def _recover(frames: np.ndarray, drawing: skeleton_video.Drawing) -> People:
    found = [persons_of(one) for one in skeleton_video.recover_people(frames, drawing)]
    return follow_apart(found)


def _of_poses(
    everybody: np.ndarray, poses: skeleton.Poses, path: Path, person: Wanted
) -> tuple[np.ndarray, str]:
    """As of `_chosen`, of the poses (F, P, 18, 3) of a file."""
    found = [persons_of(one) for one in everybody]
    if is_alone(found) or everybody.shape[1] == 1:
        if person.number not in (None, 1):
            raise UsageError(f"{person.option} {person.number}: {path} holds one person's poses")
        most = everybody[..., 2].sum(-1).argmax(1)
        return everybody[np.arange(len(everybody)), most], ""

    def draw(index: int) -> np.ndarray:
        return skeleton.draw(everybody[index], poses.height, poses.width).max(0)

    return _chosen(follow_people(found), person, path, len(everybody), draw)


def _chosen(
    people: People,
    person: Wanted,
    path: Path,
    frames: int,
    frame: Callable[[int], np.ndarray],
) -> tuple[np.ndarray, str]:
    """Keypoints (F, 18, 3) of the person to follow, and who it is in words, "" of the only one.

    frames: their number; frame: gives one of them, to number the persons in it.
    """
    count = len(people.tracks)
    if not count:
        return np.zeros((frames, 18, 3), np.float32), ""
    picture = cache_place(RUNS / "people") / f"{path.stem}.png"
    if count > 1:
        write_numbered(picture, frame, people)
    chosen = choose(people, person.number or 1, path, picture, person.option)
    keypoints = chosen.keypoints.copy()
    if count == 1:
        return keypoints, ""
    if person.number is not None:
        return keypoints, f"; person {person.number} of {count} is followed (numbered in {picture})"
    return keypoints, (
        f"; of {count} persons, person 1, the most prominent, is followed; {person.option} N "
        f"follows another (numbered in {picture})"
    )


def _nearest_indices(count: int, rate: float, fps: float, start: float, limit: int) -> np.ndarray:
    """Indices of `count` frames at `rate` to have them at `fps` from `start` seconds on, at most
    `limit`: the nearest, since keypoints may appear or vanish between two."""
    first = int(start * fps)
    last = min(max(round(count * fps / rate), first + 1), first + limit)
    return np.round(np.arange(first, last) * rate / fps).astype(int).clip(0, count - 1)


def _fill_with_nearest(keypoints: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Replace frames without a person by the nearest frame with one."""
    good = np.flatnonzero(found)
    nearest = good[np.abs(np.arange(len(found))[:, None] - good[None]).argmin(1)]
    return keypoints[nearest]
