"""The clip to learn from: read from where its person comes into view, with poses and outline."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.markup import escape

from animateanywhere.core.errors import UsageError
from animateanywhere.core.messages import quietly, say
from animateanywhere.media import video
from animateanywhere.media.source import Part
from animateanywhere.pose.keypoints import VISIBLE
from animateanywhere.pose.skeleton_video import recognize
from animateanywhere.pose.visibility import has_person
from animateanywhere.preprocessing import exact
from animateanywhere.preprocessing.backends import Backends, select_backend
from animateanywhere.preprocessing.pose import detect
from animateanywhere.preprocessing.reference import SHORTEST, Reference, choose_reference

LONGEST = 64  # frames
SEARCHED, STEP = 60, 2.0  # frames, one every so many seconds, in which a late person is searched
MOST_OPAQUE = 0.95  # share of alpha that still cuts somebody out
JOINTS_INSIDE = 0.75  # share of the keypoints that lie in an alpha channel that is the outline
STILL = 12  # of 255: a smaller change is what video coding makes of one picture
DRAWN = {
    "openpose18": "an OpenPose skeleton", "dwpose": "a DWPose skeleton",
    "foreign": "a skeleton in unknown colors", "densepose": "a DensePose part map",
}  # fmt: skip


class Chosen(NamedTuple):
    """Backends, the files beside the clip that the exact ones read, and what to say of the
    choice, once the clip has been read."""

    pose: str
    mask: str
    poses_file: Path | None
    masks_file: Path | None
    pose_note: str
    mask_note: str


def choose(clip: Path, backends: Backends) -> Chosen:
    """The backends for a clip. Raises UsageError as `select_backend` does."""
    poses, masks = exact.poses_file(clip), exact.masks_file(clip)
    pose, of_pose = select_backend("pose", backends, clip, poses)
    mask, of_mask = select_backend("mask", backends, clip, masks)
    poses, masks = poses if pose == "exact" else None, masks if mask == "exact" else None
    return Chosen(pose, mask, poses, masks, of_pose, of_mask)


def read_person(
    clip: Path, fps: float, part: Part, chosen: Chosen, backends: Backends, number: int | None,
    picture: Path,
) -> tuple[video.Video, Reference, slice]:  # fmt: skip
    """Read a clip from where the person comes into view; returns it, the person, and the frames to
    use.

    number, picture: see `choose_reference`. Raises UsageError for a file that is no video of a
    person, is too short, or shows nobody or several persons.
    """

    def find(read: video.Video) -> tuple[Reference, slice]:
        someone = _find(read, part, chosen, backends, number, picture)
        return someone, stretch_with_person(someone.keypoints, read.times, fps)

    read = video.read(clip, max_frames=LONGEST, fps=fps, part=part)
    _check_clip(read)
    _say(chosen.pose_note)
    if read.alpha is None:
        _say(chosen.mask_note)
    someone, kept = find(read)
    late = None
    if read.more and kept.stop - kept.start < SHORTEST:
        late = _arrival(read, part, chosen, backends)
    elif read.more and kept.stop == len(read.frames) and kept.start >= fps:
        late = float(read.times[kept.start])
    if late is not None:
        read = video.read(clip, max_frames=LONGEST, fps=fps, part=part._replace(start=late))
        someone, kept = find(read)
        begin = read.times[kept.start] if kept.stop else late
        say(escape(f"{clip.name}: the person comes into view at {begin:.1f} s, used from there on"))
    _check_moves(read)
    if kept.stop - kept.start < SHORTEST:
        shown = has_person(someone.keypoints)
        raise UsageError(
            f"{clip}: no person found: seen in {shown.sum()} of {len(shown)} frames, "
            f"{SHORTEST} in a row are needed; give a clip that shows one person whole"
            + ("; --start chooses another part of it" if read.more else "")
        )
    _say_part(read, part)
    return read, someone, kept


def _say(note: str) -> None:
    if note:
        say(note)


def _find(
    read: video.Video, part: Part, chosen: Chosen, backends: Backends, number: int | None,
    picture: Path,
) -> Reference:  # fmt: skip
    if chosen.poses_file is not None:
        if number not in (None, 1):
            raise UsageError(f"--person {number}: {chosen.poses_file} holds one person's poses")
        keypoints = exact.poses(chosen.poses_file, read, part)
        return Reference(keypoints, np.zeros(keypoints.shape[:2], dtype=bool), [], [])
    people = detect.find_people(read.frames, chosen.pose, backends.location)
    return choose_reference(people, number, read.frames, read.fps, read.path, picture)


def _arrival(read: video.Video, part: Part, chosen: Chosen, backends: Backends) -> float | None:
    """Just before somebody is first seen after what was read, in seconds; None for nobody."""
    end = float(read.times[-1]) + 1 / read.fps
    # A folder has no rate of its own: that of `read`, not one picture every STEP seconds
    rest_of = Part(end, fps=read.source_fps if read.path.is_dir() else part.fps)
    with quietly(), suppress(UsageError):  # nothing more that can be read
        rest = video.read(read.path, max_frames=SEARCHED, fps=1 / STEP, part=rest_of)
        if chosen.poses_file is not None:
            keypoints = exact.poses(chosen.poses_file, rest, part)
        else:
            keypoints, _ = detect.estimate_poses(rest.frames, chosen.pose, backends.location)
        found = np.flatnonzero(has_person(keypoints))
        return max(float(rest.times[found[0]]) - STEP, end) if len(found) else None
    return None


def stretch_with_person(keypoints: np.ndarray, times: np.ndarray, fps: float) -> slice:
    """The longest stretch of frames that show somebody, since motion must not jump."""
    shown = has_person(keypoints)
    new = np.diff(times, prepend=times[0]) > 1.5 / fps  # damaged frames were left out before
    run = np.cumsum(new | np.diff(shown, prepend=shown[0]))
    stretches = [np.flatnonzero(shown & (run == number)) for number in range(run[-1] + 1)]
    best = max(stretches, key=len)
    return slice(int(best[0]), int(best[-1]) + 1) if len(best) else slice(0, 0)


def _say_part(read: video.Video, part: Part) -> None:
    """Say what of the clip is used where that is not all of it, and how its frame rate is known."""
    if read.path.is_dir() and part.fps is None:
        say(
            escape(
                f"{read.path.name}: a folder of pictures, taken as {read.fps:g} a second; "
                "--input-fps sets another rate"
            )
        )
    if read.more and part.frames is None:
        whole = f" of {read.length:.0f} s" if read.length else ""
        begin, end = read.times[0], read.times[-1] + 1 / read.fps
        say(
            escape(
                f"{read.path.name}: {begin:.0f} to {end:.0f} s{whole} are used, the most that is "
                "learned from; --start chooses another part"
            )
        )


def _check_clip(read: video.Video) -> None:
    frames, clip = read.frames, read.path
    if len(frames) == 1 and not read.more:
        raise UsageError(f"{clip}: a single picture; give a video of at least 1 s")
    kind = recognize(frames)
    if kind is not None:
        raise UsageError(
            f"{clip}: {DRAWN[kind]}, not a person; give a video of the person (skeletons are for "
            "the --pose of aa generate)"
        )
    if len(frames) < SHORTEST:
        raise _too_short(read, len(frames))
    if not read.more:
        _check_moves(read)


def _check_moves(read: video.Video) -> None:
    """Refuse a picture that was made a video, where nobody can come later."""
    seen = read.frames[:, ::3, ::3, 1].astype(np.int16)  # green is most of the light
    changed = 1 + int((np.abs(np.diff(seen, axis=0)).max((1, 2)) > STILL).sum())
    if changed < SHORTEST:
        raise _too_short(read, changed)


def _too_short(read: video.Video, different: int) -> UsageError:
    return UsageError(
        f"{read.path}: too short: {different} different frames at {read.fps:g} a second, "
        f"{SHORTEST} are needed; give a clip of 1 s or longer, best 2 to 8 s"
    )


def outline_of(
    chosen: Chosen, read: video.Video, kept: slice, keypoints: np.ndarray, part: Part,
    backends: Backends,
) -> tuple[Chosen, np.ndarray | None]:  # fmt: skip
    """Masks (F, H, W) uint8 of the frames to use, from files or the alpha channel, else None; and
    what was chosen. keypoints: of these frames."""
    if chosen.masks_file is None and backends.mask == "auto" and read.alpha is not None:
        alpha = read.alpha[kept]
        if _outlines(alpha, keypoints):
            say("masks: the alpha channel of the clip")
            return chosen._replace(mask="alpha"), alpha
        say("masks: the alpha channel of the clip is not the person's outline, and not used")
    if read.alpha is not None:
        _say(chosen.mask_note)
    if chosen.masks_file is None:
        return chosen, None
    return chosen, exact.masks(chosen.masks_file, read, part)[kept]


def _outlines(alpha: np.ndarray, keypoints: np.ndarray) -> bool:
    """Whether alpha (F, H, W) uint8 cuts out a person with these keypoints (F, 18, 3)."""
    opaque = alpha > 127
    frame, joint = np.nonzero(keypoints[..., 2] >= VISIBLE)
    x, y = np.round(keypoints[frame, joint, :2]).astype(int).T
    inside = opaque[frame, y.clip(0, alpha.shape[1] - 1), x.clip(0, alpha.shape[2] - 1)]
    return bool(opaque.mean() < MOST_OPAQUE and len(inside) and inside.mean() > JOINTS_INSIDE)
