"""Poses of the person in a clip, as OpenPose-18 keypoints."""

from __future__ import annotations

import numpy as np

from animateanywhere.errors import UsageError
from animateanywhere.extraction import people
from animateanywhere.extraction.mediapipe_graph import see
from animateanywhere.extraction.weights import HUB, Place

# MediaPipe's landmark for each OpenPose keypoint; the neck, -1, is between the shoulders
FROM_MEDIAPIPE = (0, -1, 12, 14, 16, 11, 13, 15, 24, 26, 28, 23, 25, 27, 5, 2, 8, 7)
LEFT_SHOULDER, RIGHT_SHOULDER = 11, 12
NOSE, EYES, EARS = 0, (14, 15), (16, 17)  # of OpenPose-18
BACKENDS = ("mediapipe", "vitpose", "dwpose", "openpose")


def find(
    frames: np.ndarray, backend: str = "mediapipe", place: Place = HUB
) -> tuple[np.ndarray, int]:
    """Keypoints (F, 18, 3) of the most prominent person, as `extract` gives them, and how many
    persons of comparable size there are.

    Args:
        frames: uint8 (F, H, W, 3).
        backend: one of BACKENDS.
        place: of its weights, unless it is "mediapipe".

    Raises:
        UsageError: unknown backend, or what it needs is not there.
    """
    if backend not in BACKENDS:
        raise UsageError(f"pose backend {backend!r}: choose one of {', '.join(BACKENDS)}")
    from animateanywhere.extraction import dwpose, openpose, vitpose

    match backend:
        case "vitpose":
            return vitpose.extract(frames, place)
        case "dwpose":
            return dwpose.extract(frames, place)
        case "openpose":
            return openpose.extract(frames, place)
    return extract(frames), people.count(frames)


def extract(frames: np.ndarray) -> np.ndarray:
    """Keypoints of the most prominent person by MediaPipe (BlazePose GHUM, full; about 35 ms a
    frame on one core).

    Args:
        frames: uint8 (F, H, W, 3).

    Returns:
        float32 (F, 18, 3): x, y in pixels and confidence. 0 for what is out of the frame, for the
        face of a person seen from behind, and for whole frames in which nobody was found.

    Raises:
        UsageError: mediapipe is not installed.
    """
    height, width = frames.shape[1:3]
    keypoints = np.zeros((len(frames), 18, 3), dtype=np.float32)
    for index, found in enumerate(see(frames)):
        if len(found["points"]):
            keypoints[index] = _openpose(found["points"], height, width)
    return keypoints


def _openpose(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """(18, 3) from MediaPipe's (33, 4): x, y, z in frame widths, visibility."""
    shoulders = points[[LEFT_SHOULDER, RIGHT_SHOULDER]]
    neck = np.append(shoulders[:, :3].mean(0), shoulders[:, 3].min())
    chosen = np.vstack([points, neck])[list(FROM_MEDIAPIPE)]
    out = np.stack([chosen[:, 0] * width, chosen[:, 1] * height, chosen[:, 3]], axis=1)
    # MediaPipe calls a face visible even from behind; OpenPose, and so the base, does not
    back = chosen[NOSE, 2] > chosen[list(EARS), 2].mean()
    if back:
        out[[NOSE, *EYES], 2] = 0
    across = abs(chosen[EARS[0], 0] - chosen[EARS[1], 0])
    deep = chosen[EARS[0], 2] - chosen[EARS[1], 2]
    if abs(deep) > 2 * across:  # profile: the far ear is behind the head
        out[EARS[0] if deep > 0 else EARS[1], 2] = 0
    return in_frame(out, height, width)


def in_frame(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Points (18, 3) as float32, with confidence 0 for those out of the frame."""
    out = points.astype(np.float32)
    outside = (points[:, :2] < 0).any(1) | (points[:, 0] > width) | (points[:, 1] > height)
    out[outside, 2] = 0
    return out
