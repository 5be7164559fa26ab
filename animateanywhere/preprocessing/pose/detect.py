"""Pose estimation of the people in a clip, as OpenPose-18 keypoints, by any backend."""

from __future__ import annotations

import numpy as np

from animateanywhere.core.errors import UsageError
from animateanywhere.pose.continuity import exchange_limbs, hide_doubled
from animateanywhere.preprocessing.pose.people import People, follow_people
from animateanywhere.preprocessing.tracking import Persons
from animateanywhere.preprocessing.weights import HUB, WeightsLocation

BACKENDS = ("mediapipe", "vitpose", "dwpose", "openpose")


def find_people(
    frames: np.ndarray, backend: str = "mediapipe", location: WeightsLocation = HUB
) -> People:
    """Estimate the keypoints of everybody in a clip, and track them through all frames.

    Arguments and errors as of `find_persons`.
    """
    return follow_people(find_persons(frames, backend, location), frames)


def find_persons(
    frames: np.ndarray, backend: str = "mediapipe", location: WeightsLocation = HUB
) -> list[Persons]:
    """Estimate the keypoints of everybody in each frame of a clip.

    Args:
        frames: uint8 (F, H, W, 3).
        backend: one of BACKENDS.
        location: of its weights; those of "mediapipe" are in the cache.

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
        case _:
            return mediapipe.extract(frames)


def estimate_poses(
    frames: np.ndarray, backend: str = "mediapipe", location: WeightsLocation = HUB
) -> tuple[np.ndarray, int]:
    """Keypoints of the most prominent person, float32 (F, 18, 3): x, y in pixels and confidence in
    0..1, 0 in frames without the person; and the number of persons of comparable size.

    Arguments and errors as of `find_people`.
    """
    people = find_people(frames, backend, location)
    if not people.tracks:
        return np.zeros((len(frames), 18, 3), np.float32), 0
    keypoints, _ = hide_doubled(exchange_limbs(people.tracks[0].keypoints)[0])
    return keypoints, len(people.tracks)
