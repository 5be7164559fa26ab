"""Exact poses and masks that lie beside a clip: rendered truth, or another tool's or hand's work.

Beside CLIP.mp4: CLIP.poses.json, and CLIP.masks.mp4 (gray video) or CLIP.masks.npz (`masks`).
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from animateanywhere.data import video
from animateanywhere.data.skeleton import read_poses
from animateanywhere.errors import UsageError


def poses_file(clip: Path) -> Path | None:
    """CLIP.poses.json, if it is there."""
    path = clip.with_suffix(".poses.json")
    return path if path.is_file() else None


def masks_file(clip: Path) -> Path | None:
    """CLIP.masks.mp4 or CLIP.masks.npz, if one is there."""
    paths = [clip.with_suffix(suffix) for suffix in (".masks.mp4", ".masks.npz")]
    return next((path for path in paths if path.is_file()), None)


def poses(path: Path, frames: np.ndarray, fps: float) -> np.ndarray:
    """Keypoints (F, 18, 3) in the pixels of frames (F, H, W, 3) that were read at fps.

    Raises:
        UsageError: the file is damaged, or shorter than the clip.
    """
    truth = read_poses(path)
    out = _at(truth.keypoints, truth.fps, len(frames), fps, path).copy()
    height, width = frames.shape[1:3]
    out[..., :2] *= np.array([width / truth.width, height / truth.height], np.float32)
    return out


def masks(path: Path, frames: np.ndarray, fps: float, source_fps: float) -> np.ndarray:
    """uint8 (F, H, W), 255 the person, for frames (F, H, W, 3) that were read at fps.

    source_fps: the clip's own rate, which .npz masks share.

    Raises:
        UsageError: the file is damaged, or of another size or length than the clip.
    """
    if path.suffix == ".npz":
        try:
            found = np.load(path)["masks"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise UsageError(f"{path}: no masks in it ({error})") from None
        found = _at(found, source_fps, len(frames), fps, path)
    else:
        clip = video.read(path, max_frames=len(frames), fps=fps)
        found = _at(clip.frames[..., 1], fps, len(frames), fps, path)
    if found.shape != frames.shape[:3]:
        raise UsageError(f"{path}: its size differs from the clip's; make both the same")
    return found.astype(np.uint8)


def _at(rows: np.ndarray, fps: float, count: int, wanted: float, path: Path) -> np.ndarray:
    index = np.round(np.arange(count) * fps / wanted).astype(int)
    if index[-1] > len(rows):  # one frame of rounding is fine
        raise UsageError(f"{path}: shorter than its clip; both must have the same frames")
    return rows[index.clip(0, len(rows) - 1)]
