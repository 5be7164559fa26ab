"""COCO's 17 keypoints as OpenPose's 18."""

import numpy as np

from animateanywhere.pose.keypoints import in_frame

# COCO's keypoint for each of OpenPose; the neck, -1, is between the shoulders.
FROM_COCO = (0, -1, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
SHOULDERS = (5, 6)


def coco_to_openpose(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """(18, 3) of COCO's (17, 3): x, y in pixels, score; 0 for what is out of the frame."""
    shoulders = points[list(SHOULDERS)]
    neck = np.append(shoulders[:, :2].mean(0), shoulders[:, 2].min())
    return in_frame(np.vstack([points, neck])[list(FROM_COCO)], height, width)
