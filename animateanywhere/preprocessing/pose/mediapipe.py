"""Pose estimation by MediaPipe's BlazePose (Bazarevsky et al. 2020, arXiv 2006.10204)."""

from __future__ import annotations

import numpy as np

from animateanywhere.pose.keypoints import VISIBLE, in_frame
from animateanywhere.preprocessing.frame_cache import FrameResult
from animateanywhere.preprocessing.pose.blazepose.frames import all_persons
from animateanywhere.preprocessing.pose.people import persons_of
from animateanywhere.preprocessing.tracking import (
    Persons,
    box_sizes,
    keypoint_boxes,
    similarity,
)

# MediaPipe's landmark for each OpenPose keypoint; -1: the neck, between the shoulders
FROM_MEDIAPIPE = (0, -1, 12, 14, 16, 11, 13, 15, 24, 26, 28, 23, 25, 27, 5, 2, 8, 7)
LEFT_SHOULDER, RIGHT_SHOULDER = 11, 12
SAME_POSE = 0.4  # similarity of a pose to a smoothed one of the same person
NOSE, EYES, EARS = 0, (14, 15), (16, 17)  # of OpenPose-18


def extract(frames: np.ndarray) -> list[Persons]:
    """The persons of comparable size in each frame, by BlazePose (GHUM, full; about 50 ms
    a person on one core).

    The confidence is 0 for keypoints out of the frame and for the face in a back view.

    Args:
        frames: uint8 (F, H, W, 3).

    Raises:
        UsageError: LiteRT or the model files are missing.
    """
    size = frames.shape[1:3]
    return [persons_of(_poses(result, *size), result["scores"], smaller=int(result["smaller"]))
            for result in all_persons(frames)]  # fmt: skip


def masks(frames: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """Masks uint8 (F, H, W), 255: the person with these keypoints, (F, 18, 3); 0 in frames in which
    MediaPipe finds nobody in that pose."""
    out = np.zeros(frames.shape[:3], np.uint8)
    for index, (result, pose) in enumerate(zip(all_persons(frames), keypoints, strict=True)):
        found = _poses(result, *frames.shape[1:3])
        size = float(np.nan_to_num(box_sizes(keypoint_boxes(pose[None], VISIBLE)))[0])
        alike = [similarity(pose, other, size) for other in found]
        if max(alike, default=0.0) > SAME_POSE:
            out[index] = result["masks"][int(np.argmax(alike))]
    return out


def _poses(result: FrameResult, height: int, width: int) -> np.ndarray:
    """Keypoints (N, 18, 3) of the persons in a frame."""
    poses = [_openpose(points, height, width) for points in result["points"]]
    return np.array(poses, np.float32).reshape(-1, 18, 3)


def _openpose(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """(18, 3) from MediaPipe's (33, 4): x, y, z in frame widths, visibility."""
    shoulders = points[[LEFT_SHOULDER, RIGHT_SHOULDER]]
    neck = np.append(shoulders[:, :3].mean(0), shoulders[:, 3].min())
    chosen = np.vstack([points, neck])[list(FROM_MEDIAPIPE)]
    out = np.stack([chosen[:, 0] * width, chosen[:, 1] * height, chosen[:, 3]], axis=1)
    # MediaPipe marks the face visible in back views too; OpenPose, and so the base, does not
    back = chosen[NOSE, 2] > chosen[list(EARS), 2].mean()
    if back:
        out[[NOSE, *EYES], 2] = 0
    across = abs(chosen[EARS[0], 0] - chosen[EARS[1], 0])
    deep = chosen[EARS[0], 2] - chosen[EARS[1], 2]
    if abs(deep) > 2 * across:  # profile: the far ear is behind the head
        out[EARS[0] if deep > 0 else EARS[1], 2] = 0
    return in_frame(out, height, width)
