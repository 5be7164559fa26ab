"""Evaluation metrics as pure functions on arrays.

Frames are uint8 `(F, H, W, 3)`; masks `(F, H, W)`, bool, 0..1 or 0..255; keypoints float
`(F, 18, 3)` in pixels with confidence; embeddings `(N, D)`. The keypoints, masks and embeddings of
a result, which need a network, are passed in as arrays. A metric without anything to measure is
`nan`, never a perfect score.
"""

from animateanywhere.metrics.arrays import evenly_spaced
from animateanywhere.metrics.embeddings import consistency, distance, frechet, similarity
from animateanywhere.metrics.identity import appearance_distance
from animateanywhere.metrics.likeness import person_delta_e, person_psnr, person_ssim, psnr
from animateanywhere.metrics.motion import dynamic_degree, flicker
from animateanywhere.metrics.pose import (
    align_motion,
    extent,
    oks,
    pck,
    pck_either_side,
    person_height,
    silhouette_iou,
)
from animateanywhere.metrics.reference import reference_delta_e
from animateanywhere.metrics.scene import (
    leak,
    object_present,
    scene_accuracy,
    scene_delta_e,
    scene_distance,
)

__all__ = [
    "align_motion",
    "appearance_distance",
    "consistency",
    "distance",
    "dynamic_degree",
    "evenly_spaced",
    "extent",
    "flicker",
    "frechet",
    "leak",
    "object_present",
    "oks",
    "pck",
    "pck_either_side",
    "person_delta_e",
    "person_height",
    "person_psnr",
    "person_ssim",
    "psnr",
    "reference_delta_e",
    "scene_accuracy",
    "scene_delta_e",
    "scene_distance",
    "silhouette_iou",
    "similarity",
]
