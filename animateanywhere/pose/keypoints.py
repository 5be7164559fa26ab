"""The OpenPose-18 keypoints: names, limbs and palette. Right and left are the person's own."""

import numpy as np

KEYPOINTS = (
    "nose", "neck",
    "right shoulder", "right elbow", "right wrist",
    "left shoulder", "left elbow", "left wrist",
    "right hip", "right knee", "right ankle",
    "left hip", "left knee", "left ankle",
    "right eye", "left eye", "right ear", "left ear",
)  # fmt: skip

LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10),
    (1, 11), (11, 12), (12, 13), (1, 0), (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip

# One color for each keypoint; limb i has color i
COLORS = np.array([
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0),
    (0, 255, 0), (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255),
    (0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85),
], dtype=np.uint8)  # fmt: skip

VISIBLE = 0.3  # minimum confidence of a keypoint that is drawn and used


def in_frame(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Keypoints (18, 3) in pixels as float32, with confidence 0 for those out of the frame."""
    out = points.astype(np.float32)
    outside = (points[:, :2] < 0).any(1) | (points[:, 0] > width) | (points[:, 1] > height)
    out[outside, 2] = 0
    return out
