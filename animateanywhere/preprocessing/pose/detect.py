"""Pose estimation of the person in a clip, as OpenPose-18 keypoints, by any backend."""

from __future__ import annotations

import numpy as np

from animateanywhere.core.errors import UsageError
from animateanywhere.preprocessing.pose import people
from animateanywhere.preprocessing.weights import HUB, WeightsLocation

BACKENDS = ("mediapipe", "vitpose", "dwpose", "openpose")


def estimate_poses(
    frames: np.ndarray, backend: str = "mediapipe", location: WeightsLocation = HUB
) -> tuple[np.ndarray, int]:
    """Estimate the keypoints of the most prominent person.

    Args:
        frames: uint8 (F, H, W, 3).
        backend: one of BACKENDS.
        location: of its weights; "mediapipe" needs none.

    Returns:
        float32 (F, 18, 3): x, y in pixels and confidence in 0..1, 0 in frames without the person;
        and the number of persons of comparable size.

    Raises:
        UsageError: unknown backend, or its package or weights are missing.
    """
    if backend not in BACKENDS:
        raise UsageError(f"--pose-backend {backend!r}: choose one of {', '.join(BACKENDS)}")
    from animateanywhere.preprocessing.pose import dwpose, mediapipe, openpose, vitpose

    match backend:
        case "vitpose":
            return vitpose.extract(frames, location)
        case "dwpose":
            return dwpose.extract(frames, location)
        case "openpose":
            return openpose.extract(frames, location)
    return mediapipe.extract(frames), people.count_persons(frames)
