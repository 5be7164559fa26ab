"""Reading a driving motion from a poses.json, a skeleton video or a video of a person."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from rich.markup import escape

from animateanywhere.core.errors import UsageError
from animateanywhere.core.frame_size import Size
from animateanywhere.core.messages import say, warn
from animateanywhere.media import video
from animateanywhere.pose import skeleton, skeleton_video, smoothing
from animateanywhere.pose.visibility import has_person
from animateanywhere.preprocessing.backends import Backends, choose_backend
from animateanywhere.preprocessing.pose import detect

MIN_PERSON_SHARE = 0.25  # share of frames that must show a person
MAX_FRAMES = 512  # frames; a minute at 8 a second


class Driving(NamedTuple):
    """A driving motion: keypoints float32 (F, 18, 3) in pixels of width x height; its source."""

    keypoints: np.ndarray
    width: int
    height: int
    kind: Literal["poses.json", "openpose18", "dwpose", "foreign", "person"]
    pictures: np.ndarray | None = None  # (F, H, W, 3) uint8, of "foreign": used unchanged

    @property
    def size(self) -> Size:
        return Size(self.width, self.height)


def read_driving(
    path: str | Path, fps: float, frames: int | None = None, backends: Backends | None = None
) -> Driving:
    """Keypoints of a poses.json, a skeleton video (OpenPose or DWPose colors) or a person's video.

    Short gaps are interpolated and jitter is smoothed. A message says what was recognized.

    Args:
        fps: frame rate of the result; the motion keeps its speed.
        frames: maximum number of frames [default: MAX_FRAMES].
        backends: its pose backend is used for a video of a person.

    Raises:
        UsageError: the file cannot be read, is a DensePose rendering, or shows no person.
    """
    path = Path(path)
    limit = frames or MAX_FRAMES
    if path.suffix.lower() == ".json":
        poses = skeleton.read_poses(path)
        keypoints = _resample(poses.keypoints, poses.fps, fps)[:limit]
        if not (keypoints[..., 2] >= skeleton.VISIBLE).any():
            raise UsageError(
                f"{path}: no keypoint in it has a confidence of at least {skeleton.VISIBLE}"
            )
        say(escape(f"{path.name}: poses.json, {len(keypoints)} frames"))
        return Driving(keypoints, poses.width, poses.height, "poses.json")
    clip = video.read(path, max_frames=limit, fps=fps)
    height, width = clip.frames.shape[1:3]
    kind = skeleton_video.recognize(clip.frames)
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
            f"(detected in {found.sum()} of {len(found)} frames); give a video of one moving person"
        )
    words = {"openpose18": "an OpenPose skeleton", "dwpose": "a DWPose skeleton"}
    what = words.get(kind or "", "a person")
    say(escape(f"{path.name}: {what}, detected in {found.sum()} of {len(found)} frames"))
    if not found.all():
        warn(escape(f"{path.name}: frames without {what} repeat the pose of the nearest frame"))
        keypoints = _fill_with_nearest(keypoints, found)
    steady, _ = smoothing.smooth(keypoints, fps)
    return Driving(steady, width, height, kind or "person")


def _estimate_poses(frames: np.ndarray, path: Path, backends: Backends) -> np.ndarray:
    backend = choose_backend("pose", backends, path)
    keypoints, persons = detect.estimate_poses(frames, backend, backends.location)
    if persons > 1:
        warn(
            escape(
                f"{path.name}: {persons} persons detected; the motion of the most prominent is used"
            )
        )
    return keypoints


def _resample(keypoints: np.ndarray, fps: float, target_fps: float) -> np.ndarray:
    """Resample to `target_fps` by nearest frame: keypoints may appear or vanish between two."""
    count = max(round(len(keypoints) * target_fps / fps), 1)
    index = np.round(np.arange(count) * fps / target_fps).astype(int)
    return keypoints[index.clip(0, len(keypoints) - 1)]


def _fill_with_nearest(keypoints: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Replace frames without a person by the nearest frame with one."""
    good = np.flatnonzero(found)
    nearest = good[np.abs(np.arange(len(found))[:, None] - good[None]).argmin(1)]
    return keypoints[nearest]
