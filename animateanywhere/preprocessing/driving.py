"""The motion that `generate` follows, from whatever file holds it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from rich.markup import escape

from animateanywhere.core.console import say, warn
from animateanywhere.core.errors import UsageError
from animateanywhere.media import video
from animateanywhere.pose import skeleton, skeleton_video, smoothing
from animateanywhere.pose.visibility import has_person
from animateanywhere.preprocessing.backends import Backends, choose_backend
from animateanywhere.preprocessing.pose import detect

MIN_PERSON_SHARE = 0.25  # share of frames that must show a person
MAX_FRAMES = 512  # frames; a minute at 8 a second


class Driving(NamedTuple):
    """A motion: keypoints float32 (F, 18, 3) in pixels of width x height, and what it came from."""

    keypoints: np.ndarray
    width: int
    height: int
    kind: Literal["poses.json", "openpose18", "dwpose", "foreign", "person"]
    pictures: np.ndarray | None = None  # (F, H, W, 3) uint8, to be used as they are


def read_driving(
    path: str | Path, fps: float, frames: int | None = None, backends: Backends | None = None
) -> Driving:
    """Keypoints of a poses.json, a skeleton video (OpenPose or DWPose colors) or a person's video.

    fps: of the result; the motion keeps its speed. frames: at most so many. Short gaps are filled
    and flicker is smoothed. backends: what finds the poses of a person; its masks do not count.
    Says what it recognized.

    Raises:
        UsageError: unreadable, a DensePose rendering, or nobody in it.
    """
    path = Path(path)
    limit = frames or MAX_FRAMES
    if path.suffix.lower() == ".json":
        poses = skeleton.read_poses(path)
        keypoints = _resample(poses.keypoints, poses.fps, fps)[:limit]
        if not (keypoints[..., 2] >= skeleton.VISIBLE).any():
            raise UsageError(f"{path}: no joint in it has a confidence of {skeleton.VISIBLE}")
        say(escape(f"{path.name}: poses.json, {len(keypoints)} frames"))
        return Driving(keypoints, poses.width, poses.height, "poses.json")
    clip = video.read(path, max_frames=limit, fps=fps)
    height, width = clip.frames.shape[1:3]
    kind = skeleton_video.recognize(clip.frames)
    if kind == "densepose":
        raise UsageError(
            f"{path}: a DensePose part map, which names no joints; "
            "give the original video, an OpenPose or DWPose video, or a poses.json"
        )
    if kind == "foreign":
        warn(
            escape(
                f"{path.name}: a skeleton in colors other than OpenPose's: its joints have no "
                "names, so its pictures are used as they are and nothing is fitted; better give "
                "the original video, an OpenPose or DWPose video, or a poses.json"
            )
        )
        nothing = np.zeros((len(clip.frames), 18, 3), np.float32)
        return Driving(nothing, width, height, "foreign", clip.frames)
    if kind is None:
        keypoints = _estimate_poses(clip.frames, path, backends or Backends())
    else:
        keypoints = skeleton_video.recover(clip.frames)
    found = has_person(keypoints)
    if found.mean() < MIN_PERSON_SHARE:
        raise UsageError(
            f"{path}: no skeleton and no person to follow "
            f"(seen in {found.sum()} of {len(found)} frames); give a video of one person moving"
        )
    words = {"openpose18": "an OpenPose skeleton", "dwpose": "a DWPose skeleton"}
    what = words.get(kind or "", "a person")
    say(escape(f"{path.name}: {what}, read in {found.sum()} of {len(found)} frames"))
    if not found.all():
        warn(escape(f"{path.name}: frames without {what} repeat the nearest pose"))
        keypoints = _fill_with_nearest(keypoints, found)
    steady, _ = smoothing.smooth(keypoints, fps)
    return Driving(steady, width, height, kind or "person")


def _estimate_poses(frames: np.ndarray, path: Path, backends: Backends) -> np.ndarray:
    backend = choose_backend("pose", backends, path)
    keypoints, persons = detect.estimate_poses(frames, backend, backends.location)
    if persons > 1:
        warn(escape(f"{path.name}: {persons} persons seen; following the most prominent"))
    return keypoints


def _resample(keypoints: np.ndarray, fps: float, target_fps: float) -> np.ndarray:
    """The nearest frame in time: between two frames a keypoint may appear or go."""
    count = max(round(len(keypoints) * target_fps / fps), 1)
    index = np.round(np.arange(count) * fps / target_fps).astype(int)
    return keypoints[index.clip(0, len(keypoints) - 1)]


def _fill_with_nearest(keypoints: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Replace frames in which nobody was found by the nearest in which somebody was."""
    good = np.flatnonzero(found)
    nearest = good[np.abs(np.arange(len(found))[:, None] - good[None]).argmin(1)]
    return keypoints[nearest]
