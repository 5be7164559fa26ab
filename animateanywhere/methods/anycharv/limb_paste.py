"""A classical baseline without a network: the limbs of a picture on the scene's bones, laid over
the scene, from which the old person is erased; hidden limbs first.

The old person is filled in with the median of the frames that show the place, and with the nearest
pixel where none does.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_dilation, distance_transform_edt

from animateanywhere.collage.limbs import (
    BONES,
    ends_of,
    is_seen,
    length_of,
    limbs_of,
    moved,
    torso_of,
)

ERASED = 2  # pixels around the old person that are filled in too


def paste_limbs(
    picture: np.ndarray, mask: np.ndarray, pose: np.ndarray, scene: np.ndarray, old: np.ndarray,
    poses: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """A picture's person in place of a scene's.

    picture: uint8 (h, w, 3), with mask (h, w) uint8 and pose (18, 3) in its pixels. scene: uint8
    (F, H, W, 3), with masks `old` (F, H, W) uint8 and poses (F, 18, 3) of the same bones. Returns
    frames uint8 (F, H, W, 3) and what was laid or filled in, bool (F, H, W).
    """
    limbs = limbs_of(picture, mask.astype(np.float32) / 255, pose)
    erased = np.stack([binary_dilation(one > 0, iterations=ERASED) for one in old])
    out = fill_in(scene, erased)
    touched = erased.copy()
    for index, points in enumerate(poses):
        scale = torso_of(points) / max(torso_of(pose), 1e-6)
        seen = [is_seen(points, bone) for bone in BONES]
        for number in sorted(range(len(BONES)), key=lambda n: seen[n]):  # stable: hidden ones first
            limb, here = limbs[number], ends_of(points, BONES[number])
            if limb is None or length_of(here) < 1e-3:
                continue  # a bone that points at the camera
            there = ends_of(pose, BONES[number])
            cover, color = moved(limb, there, here, scale, scene.shape[1:3])
            out[index] = np.round(out[index] * (1 - cover) + color).clip(0, 255)
            touched[index] |= cover[..., 0] > 0
    return out, touched


def fill_in(scene: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """Frames uint8 (F, H, W, 3) with what stands behind `holes`, bool (F, H, W): the median of the
    frames that show the place, or else the nearest pixel of the frame."""
    shown = np.ma.masked_array(scene, np.broadcast_to(holes[..., None], scene.shape))
    median = np.ma.median(shown, axis=0)  # (H, W, 3), masked where no frame shows the place
    never = holes.all(0)
    behind = np.ma.filled(median, 0).astype(np.uint8)
    if never.any() and not never.all():
        nearest = distance_transform_edt(never, return_distances=False, return_indices=True)
        behind = behind[tuple(nearest)]
    return np.where(holes[..., None], behind, scene)
