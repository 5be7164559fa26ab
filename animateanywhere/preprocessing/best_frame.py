"""The frame of a clip that is taken as a picture of its person: the sharpest that shows them whole,
from the front if there is one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from animateanywhere.core.errors import UsageError
from animateanywhere.core.findings import Finding
from animateanywhere.core.frame_size import square
from animateanywhere.core.messages import quietly
from animateanywhere.datasets.subject import masks_to_uint8, read_subject
from animateanywhere.media import video
from animateanywhere.media.pictures import PICTURES_FPS, clip_digest
from animateanywhere.media.source import WHOLE, Part
from animateanywhere.pose import skeleton
from animateanywhere.pose.visibility import PARTS, has_person, parts_shown, view_directions
from animateanywhere.preprocessing import character, exact
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.character import (
    Character,
    NobodyFound,
    cut_out,
    own_alpha,
    persons_in,
    require_no_skeleton,
)
from animateanywhere.preprocessing.crop import crop_boxes, crop_frames, crop_keypoints
from animateanywhere.preprocessing.pose.people import follow_apart
from animateanywhere.preprocessing.quality import footage
from animateanywhere.preprocessing.who import Who

LOOKED, RATE = 64, 8.0  # frames that are looked at, and at most so many a second
LONGEST = 120.0  # seconds from the beginning, from which they are taken
VIEW = {"front": 2, "side": 1, "back": 0, "": 0}  # the higher, the better a reference


def is_clip(path: Path) -> bool:
    """Whether a file or folder has more frames than one. Raises UsageError as `video.read`."""
    with quietly():
        read = video.read(path, max_frames=2)
    return len(read.frames) > 1 or read.more


def read_clip(path: Path, who: Who, backends: Backends, least: int) -> Character:
    """The person of a clip in its best frame; arguments and errors as of `read_character`.

    The poses and masks beside the clip are used, or its transparency.
    """
    clip, part = _spread(path)
    require_no_skeleton(clip)
    people = follow_apart(persons_in(clip, part, backends), clip.frames)
    if not any(one.present.any() for one in people.tracks):
        raise NobodyFound(f"{path}: no person found; give a picture or a clip of one person")
    number = who.choose(people, lambda n: clip.frames[n], path)
    chosen = people.tracks[number - 1]
    index, text = best_frame(clip.frames, chosen.keypoints, clip.times)
    one = slice(index, index + 1)
    alpha = None if clip.alpha is None else clip.alpha[one]
    read = clip._replace(frames=clip.frames[one], times=clip.times[one], alpha=alpha)
    others = [other.keypoints[index] for other in people.others(number)]
    mask = _mask(read, part, backends)
    made = cut_out(read, chosen.keypoints[index], others, mask, backends, least)
    found = [Finding("note", "frame", f"{text}; all of it can be learned: aa personalize {path}")]
    return made._replace(digest=clip_digest(path), findings=found + made.findings)


def read_prepared(folder: Path, backends: Backends, least: int) -> Character:
    """The person of a folder of `aa prepare` in its best frame, with the mask and the pose that
    are in it. Raises UsageError as `read_subject`, or if nobody is in it."""
    subject = read_subject(folder)
    times = np.arange(len(subject.frames)) / subject.fps
    if not has_person(subject.keypoints).any():
        raise UsageError(f"{folder}: no pose in it shows a person")
    index, text = best_frame(subject.frames, subject.keypoints, times)
    frame, mask = subject.frames[index : index + 1], masks_to_uint8(subject.masks[index])
    read = video.Video(
        frame, subject.fps, folder, subject.fps, times[index : index + 1], None, None, False, []
    )
    made = cut_out(read, subject.keypoints[index], [], mask, backends, least)
    digest = hashlib.sha256(frame.tobytes() + mask.tobytes()).hexdigest()
    found = [Finding("note", "frame", text)]
    return made._replace(digest=digest, findings=found + made.findings)


def best_frame(frames: np.ndarray, keypoints: np.ndarray, times: np.ndarray) -> tuple[int, str]:
    """The index of the sharpest of the frames that show the most of a person, from the front if
    there are such, and what to say of it.

    Args:
        frames: uint8 (F, H, W, 3).
        keypoints: (F, 18, 3), in some of which is a person.
        times: (F,) in seconds.
    """
    shown = np.array([sum(parts_shown(one[None]).values()) for one in keypoints])
    view = np.array([VIEW[one] for one in view_directions(keypoints)])
    seen = has_person(keypoints)
    most = seen & (shown == shown[seen].max())
    best = most & (view == view[most].max())
    some = np.flatnonzero(best)
    index = int(some[np.argmax([_sharpness(frames[one], keypoints[one]) for one in some])])
    from_front = ", from the front" if view[index] == VIEW["front"] else ""
    count = "the only frame" if len(some) == 1 else f"the sharpest of {len(some)} frames"
    text = f"{count} that shows" if len(some) == 1 else f"{count} that show"
    whole = "whole" if shown[index] == len(PARTS) else "as far as any does"
    return index, f"taken at {times[index]:.1f} s: {text} the person {whole}{from_front}"


def _sharpness(frame: np.ndarray, pose: np.ndarray) -> float:
    """The sharpness of a person in a frame (H, W, 3) along the limbs, at the size of a reference;
    -1 where nothing can be measured."""
    size = square(character.SIDE)
    box = crop_boxes(pose[None], *frame.shape[:2])
    pixels, inside = crop_frames(frame[None], box, size), crop_keypoints(pose[None], box, size)
    limbs = np.asarray(skeleton.draw(inside, size.height, size.width).any(-1))
    return float(np.nan_to_num(footage.sharpness(pixels, limbs)[0], nan=-1.0))


def _spread(path: Path) -> tuple[video.Video, Part]:
    """Frames of all of a clip, or of its beginning if it is long, and the part to read of files
    beside it."""
    # The pictures of a folder have no rate of their own, and some are left out
    part = Part(fps=PICTURES_FPS) if path.is_dir() else WHOLE
    first = video.read_first(path)
    rate = min(RATE, first.source_fps)
    if first.length:
        rate = min(rate, max(LOOKED / first.length, LOOKED / LONGEST))
    return video.read(path, max_frames=LOOKED, fps=rate, part=part), part


def _mask(read: video.Video, part: Part, backends: Backends) -> np.ndarray | None:
    """The mask uint8 (H, W) that comes with the only frame of `read`; None: it is to be found."""
    beside = exact.masks_file(read.path)
    if beside is not None and backends.mask in ("auto", "exact"):
        found: np.ndarray = exact.masks(beside, read, part)[0]
        return found
    return own_alpha(read)
