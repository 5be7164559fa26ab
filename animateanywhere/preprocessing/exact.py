"""Exact poses and masks in files beside a clip: rendered ground truth, the output of another tool,
or manual annotations.

Beside CLIP.mp4: CLIP.poses.json, and CLIP.masks.mp4 (gray video), CLIP.masks.npz (`masks`) or
CLIP.masks/ (a PNG for each frame of the clip, in natural order).
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from animateanywhere.core.errors import UsageError
from animateanywhere.datasets.subject import read_picture
from animateanywhere.media import video
from animateanywhere.media.pictures import folder_files
from animateanywhere.media.source import WHOLE, Part
from animateanywhere.pose.skeleton import Poses, read_all_poses, read_poses


def poses_file(clip: Path) -> Path | None:
    """CLIP.poses.json, or None if it does not exist."""
    path = clip.with_suffix(".poses.json")
    return path if path.is_file() else None


def masks_file(clip: Path) -> Path | None:
    """CLIP.masks.mp4, CLIP.masks.npz or the folder CLIP.masks, or None if none of them exists."""
    paths = [clip.with_suffix(suffix) for suffix in (".masks.mp4", ".masks.npz")]
    folder = clip.with_suffix(".masks")
    return next((path for path in paths if path.is_file()), folder if folder.is_dir() else None)


def poses(path: Path, clip: video.Video, part: Part = WHOLE) -> np.ndarray:
    """Keypoints float32 (F, 18, 3) in pixels of the frames of a clip, read from `part` of it.

    Raises:
        UsageError: the file is damaged, or shorter than the clip.
    """
    return _at_times(read_poses(path), path, clip, part)


def all_poses(path: Path, clip: video.Video, part: Part = WHOLE) -> np.ndarray:
    """Keypoints float32 (F, P, 18, 3) of the P persons of a file; else as `poses`."""
    return _at_times(read_all_poses(path), path, clip, part)


def _at_times(truth: Poses, path: Path, clip: video.Video, part: Part) -> np.ndarray:
    """Keypoints of a file at the times and in the pixels of a clip."""
    fps = part.fps or truth.fps  # another rate of the clip is that of its poses, too
    out = truth.keypoints[_at(clip.times, fps, len(truth.keypoints), path)].copy()
    height, width = clip.frames.shape[1:3]
    out[..., :2] *= np.array([width / truth.width, height / truth.height], np.float32)
    return out


def masks(path: Path, clip: video.Video, part: Part = WHOLE) -> np.ndarray:
    """Masks uint8 (F, H, W), 255: the person, for the frames of a clip, read from `part` of it.

    Raises:
        UsageError: the file is damaged, or its size or length differs from the clip's.
    """
    if path.is_dir():
        return _read_png_masks(path, clip, part)
    if path.suffix == ".npz":
        try:
            found = np.load(path)["masks"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise UsageError(f"{path}: contains no array `masks` ({error})") from None
        found = found[_at(clip.times, clip.source_fps, len(found), path)]
    else:
        since = clip.times - clip.times[0]
        begin = Part(clip.times[0], fps=part.fps)
        most = round(since[-1] * clip.fps) + 1
        gray = video.read(path, max_frames=most, fps=clip.fps, part=begin).frames[..., 1]
        found = gray[_at(since, clip.fps, len(gray), path)]
    if found.shape != clip.frames.shape[:3]:
        raise UsageError(f"{path}: the masks and the clip differ in size; make both the same size")
    return found.astype(np.uint8)


def _read_png_masks(folder: Path, clip: video.Video, part: Part) -> np.ndarray:
    """Masks as in `masks`, from a folder with one PNG for each frame of the clip."""
    files = [file for file in folder_files(folder)[0] if file.suffix.lower() == ".png"]
    shown = video.frame_times(clip, part)
    if len(files) != len(shown):
        raise UsageError(
            f"{folder}: {len(files)} PNG files for the {len(shown)} frames of {clip.path.name}; "
            "put one there for each frame"
        )
    # The frame that `video.read` takes is the nearest in time
    index = np.searchsorted((shown[1:] + shown[:-1]) / 2, clip.times)
    height, width = clip.frames.shape[1:3]
    reduced = max(height, width) == video.LONG_SIDE  # larger clips are scaled down when read
    out = []
    for file in (files[number] for number in index):
        mask = Image.fromarray(read_picture(file, "L"))
        same_shape = abs(mask.width * height - mask.height * width) <= max(mask.size)
        if reduced and mask.width >= width and same_shape:
            mask = mask.resize((width, height), Image.Resampling.BOX)
        if mask.size != (width, height):
            raise UsageError(
                f"{file}: the mask has {mask.width} x {mask.height} pixels and the frames of the "
                f"clip have {width} x {height}; make both the same size"
            )
        out.append(np.array(mask))
    found = np.stack(out)
    return found * np.uint8(255) if found.max() == 1 else found  # labels saved as 0 and 1


def _at(times: np.ndarray, fps: float, count: int, path: Path) -> np.ndarray:
    """Indices of the rows, `count` at `fps`, that belong to times in seconds."""
    index = np.round(times * fps).astype(int)
    if index[-1] > count:  # one frame of rounding is fine
        raise UsageError(f"{path}: shorter than its clip; both must have the same number of frames")
    return index.clip(0, count - 1)
