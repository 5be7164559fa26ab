"""Measures of a result, as pure functions on arrays.

Frames are uint8 `(F, H, W, 3)`; masks `(F, H, W)`, bool, 0..1 or 0..255; keypoints float
`(F, 18, 3)` in pixels with confidence. What a network has to see first (keypoints and masks of a
result) comes in as arrays. A measure with nothing to look at is `nan`, never a perfect score.
"""

from animateanywhere.metrics.likeness import person_delta_e, person_psnr, psnr
from animateanywhere.metrics.pose import pck, person_height, silhouette_iou
from animateanywhere.metrics.scene import leak, scene_accuracy, scene_distance

__all__ = [
    "leak",
    "pck",
    "person_delta_e",
    "person_height",
    "person_psnr",
    "psnr",
    "scene_accuracy",
    "scene_distance",
    "silhouette_iou",
]
