"""Analysis of a finished clip: whole frames with the mask and keypoints of the person."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from rich.markup import escape

from animateanywhere.core.frame_size import Size
from animateanywhere.core.messages import warn
from animateanywhere.datasets.subject import read_subject
from animateanywhere.evaluation.perception import Perception, perceive
from animateanywhere.media import video
from animateanywhere.pose.visibility import has_person
from animateanywhere.preprocessing import exact
from animateanywhere.preprocessing.backends import Backends, choose_backend
from animateanywhere.preprocessing.masks import segment as mask_of
from animateanywhere.preprocessing.pose import detect as pose_of

SIDE = 512  # pixels of the longer side of analyzed frames
REFERENCE_FPS = 8.0
MIN_AREA = 0.001  # share of a frame that a person covers


class Observed(NamedTuple):
    """A clip with its person: frames uint8 (F, H, W, 3), masks float32 (F, H, W) in 0..1, keypoints
    float32 (F, 18, 3) in pixels of these frames, and the frame rate."""

    frames: np.ndarray
    masks: np.ndarray
    keypoints: np.ndarray
    fps: float

    @property
    def has_person(self) -> np.ndarray:
        """bool (F,): whether a frame shows a person with keypoints and a mask."""
        return has_person(self.keypoints) & (self.masks.mean((1, 2)) > MIN_AREA)

    def person_frames(self) -> Observed:
        """The frames that show a person."""
        shows = self.has_person
        return Observed(self.frames[shows], self.masks[shows], self.keypoints[shows], self.fps)


def observe(path: Path, most: int, backends: Backends, net: Perception | None) -> Observed:
    """Read a video's first `most` frames and detect the person, by `net` or else by the backends.

    Raises UsageError for a file that is not a video, and if a package or weights are missing.
    """
    clip = video.read(path, max_frames=most, size=SIDE)
    keypoints, masks = _estimate(clip.frames, path, backends, net)
    return Observed(clip.frames, masks, keypoints, clip.fps)


def observe_frames(
    frames: np.ndarray, fps: float, path: Path, backends: Backends, side: int = 0
) -> Observed:
    """Detect the person in frames, uint8 (F, H, W, 3), by the backends.

    path: of their file, for messages. side: smaller frames are enlarged to this many pixels of the
    longer side for the backends; keypoints and masks are returned at the size of the frames.
    Raises UsageError if a package or weights are missing.
    """
    height, width = frames.shape[1:3]
    scale = max(side / max(height, width), 1.0)
    larger = round(width * scale), round(height * scale)
    keypoints, masks = _estimate(_resized(frames, larger), path, backends, None)
    keypoints[..., :2] *= np.float32(width / larger[0]), np.float32(height / larger[1])
    return Observed(frames, _resized(masks, (width, height)), keypoints, fps)


def _resized(pictures: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pictures uint8 (F, H, W, 3) or masks float32 (F, H, W) resized to width, height `size`."""
    if pictures.shape[1:3] == size[::-1]:
        return pictures
    how = Image.Resampling.BICUBIC if pictures.dtype == np.uint8 else Image.Resampling.BOX
    return np.stack([np.asarray(Image.fromarray(one).resize(size, how)) for one in pictures])


def observe_reference(
    path: Path, most: int, backends: Backends, net: Perception | None
) -> Observed:
    """Read a reference: a subject folder, or a clip or picture at 8 frames a second.

    Files of exact poses and masks beside a clip are used as in `aa prepare`. Raises UsageError as
    `observe` and `read_subject`.
    """
    if path.is_dir():
        subject = read_subject(path)
        first = slice(most)
        return Observed(
            subject.frames[first], subject.masks[first], subject.keypoints[first], subject.fps
        )
    poses_file, masks_file = exact.poses_file(path), exact.masks_file(path)
    size = SIDE if masks_file is None else video.LONG_SIDE  # mask files have the clip's size
    clip = video.read(path, max_frames=most, fps=REFERENCE_FPS, size=size)
    frames = clip.frames
    if poses_file is None or masks_file is None:
        keypoints, masks = _estimate(frames, path, backends, net)
    if poses_file is not None:
        keypoints = exact.poses(poses_file, clip)
    if masks_file is not None:
        masks = exact.masks(masks_file, clip) / np.float32(255)
    return Observed(frames, masks, keypoints, clip.fps)


def _estimate(
    frames: np.ndarray, path: Path, backends: Backends, net: Perception | None
) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (F, 18, 3) and masks (F, H, W) of the most prominent person."""
    if net is not None:
        estimated = perceive(net, frames)
        keypoints = estimated["keypoints"]
        keypoints[~has_person(keypoints), :, 2] = 0  # a few joints without a body are no person
        return keypoints, estimated["masks"]
    pose, mask = (choose_backend(kind, backends, path) for kind in ("pose", "mask"))
    keypoints, persons = pose_of.estimate_poses(frames, pose, backends.location)
    if persons > 1:
        warn(escape(f"{path.name}: {persons} persons detected; the most prominent is measured"))
    whole = Size(frames.shape[2], frames.shape[1])
    boxes = np.tile([whole.width / 2, whole.height / 2, whole.height], (len(frames), 1))
    return keypoints, mask_of.extract(frames, keypoints, boxes, whole, mask, backends.location)
