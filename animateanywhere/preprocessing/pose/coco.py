"""Conversion of COCO's 17 keypoints to OpenPose's 18."""

import numpy as np

from animateanywhere.pose.keypoints import in_frame

# Index into COCO's keypoints for each of OpenPose's; -1: the neck, between the shoulders
FROM_COCO = (0, -1, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
SHOULDERS = (5, 6)


def coco_to_openpose(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """COCO keypoints (17, 3), x, y in pixels and score, as float32 (18, 3).

    The score is 0 out of the frame.
    """
    shoulders = points[list(SHOULDERS)]
    neck = np.append(shoulders[:, :2].mean(0), shoulders[:, 2].min())
    return in_frame(np.vstack([points, neck])[list(FROM_COCO)], height, width)
