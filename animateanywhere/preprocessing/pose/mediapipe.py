"""Pose estimation by MediaPipe's BlazePose (Bazarevsky et al. 2020, arXiv 2006.10204)."""

from __future__ import annotations

import numpy as np

from animateanywhere.pose.keypoints import in_frame
from animateanywhere.preprocessing.pose.blazepose.frames import pose_and_mask

# MediaPipe's landmark for each OpenPose keypoint; -1: the neck, between the shoulders
FROM_MEDIAPIPE = (0, -1, 12, 14, 16, 11, 13, 15, 24, 26, 28, 23, 25, 27, 5, 2, 8, 7)
LEFT_SHOULDER, RIGHT_SHOULDER = 11, 12
NOSE, EYES, EARS = 0, (14, 15), (16, 17)  # of OpenPose-18


def extract(frames: np.ndarray) -> np.ndarray:
    """Keypoints of the most prominent person by MediaPipe (BlazePose GHUM, full; about 35 ms a
    frame on one core).

    Args:
        frames: uint8 (F, H, W, 3).

    Returns:
        float32 (F, 18, 3): x, y in pixels and confidence; 0 for keypoints out of the frame, for
        the face in a back view, and for frames without a detected person.

    Raises:
        UsageError: LiteRT or the model files are missing.
    """
    height, width = frames.shape[1:3]
    keypoints = np.zeros((len(frames), 18, 3), dtype=np.float32)
    for index, result in enumerate(pose_and_mask(frames)):
        if len(result["points"]):
            keypoints[index] = _openpose(result["points"], height, width)
    return keypoints


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
