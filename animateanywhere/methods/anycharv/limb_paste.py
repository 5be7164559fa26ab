"""A classical baseline without a network: the limbs of a picture, cut out, turned and scaled onto
the scene's bones, and laid over the scene, from which the old person is erased.

Each pixel of the person belongs to the nearest bone. A limb keeps its width relative to the body
and is stretched along its bone; hidden limbs are laid first. The old person is filled in with the
median of the frames that show the place, and with the nearest pixel where none does.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy.ndimage import binary_dilation, distance_transform_edt

from animateanywhere.pose.keypoints import VISIBLE

ERASED = 2  # pixels around the old person that are filled in too
ROUND = 0.5  # pixels by which a limb reaches over its own, so that no gap opens at a joint
# Ends of bones (two keypoints each, whose mean is the end), in the order in which they are laid
LEGS = (((8, 8), (9, 9)), ((11, 11), (12, 12)), ((9, 9), (10, 10)), ((12, 12), (13, 13)))
TORSO = (((1, 1), (8, 11)),)
HEAD = (((1, 1), (0, 0)),)
ARMS = (((2, 2), (3, 3)), ((5, 5), (6, 6)), ((3, 3), (4, 4)), ((6, 6), (7, 7)))
BONES = (*LEGS, *TORSO, *HEAD, *ARMS)
OVERLAP = 0.12  # of a bone's length, by which a limb reaches beyond both joints


def paste_limbs(
    picture: np.ndarray, mask: np.ndarray, pose: np.ndarray, scene: np.ndarray, old: np.ndarray,
    poses: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """A picture's person in place of a scene's.

    picture: uint8 (h, w, 3), with mask (h, w) uint8 and pose (18, 3) in its pixels. scene: uint8
    (F, H, W, 3), with masks `old` (F, H, W) uint8 and poses (F, 18, 3) of the same bones. Returns
    frames uint8 (F, H, W, 3) and what was laid or filled in, bool (F, H, W).
    """
    limbs = _limbs(mask, pose)
    erased = np.stack([binary_dilation(one > 0, iterations=ERASED) for one in old])
    out = fill_in(scene, erased)
    touched = erased.copy()
    for index, points in enumerate(poses):
        scale = _size(points) / max(_size(pose), 1e-6)
        seen = [all(points[list(joints), 2].min() > VISIBLE for joints in bone) for bone in BONES]
        for number in sorted(range(len(BONES)), key=lambda n: seen[n]):  # stable: hidden ones first
            start, end = _ends(points, BONES[number])
            if np.hypot(*(end - start)) < 1e-3:
                continue  # a bone that points at the camera
            cover, color = _moved(picture, limbs[number], _ends(pose, BONES[number]),
                                  (start, end), scale, scene.shape[1:3])  # fmt: skip
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


def _limbs(mask: np.ndarray, pose: np.ndarray) -> list[np.ndarray]:
    """The pixels of each bone's limb, float32 (h, w) in 0..1: those it is nearest to, and a little
    beyond the joints."""
    rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]]
    grid = np.stack([columns, rows], -1) + 0.5  # (h, w, 2), x and y
    distances = []
    for bone in BONES:
        start, end = _ends(pose, bone)
        along = end - start
        length = max(float(along @ along), 1e-6)
        share = ((grid - start) @ along / length).clip(0, 1.6 if bone in HEAD else 1)
        distances.append(np.linalg.norm(grid - start - share[..., None] * along, axis=-1))
    apart = np.stack(distances)
    nearest = apart.min(0)
    soft = mask.astype(np.float32) / 255
    return [
        soft * (own <= nearest + ROUND + OVERLAP * np.hypot(*np.subtract(*_ends(pose, bone))))
        if bone not in (*TORSO, *HEAD) else soft * (own <= nearest + ROUND)
        for bone, own in zip(BONES, apart, strict=True)
    ]  # fmt: skip


def _moved(
    picture: np.ndarray, limb: np.ndarray, there: tuple[np.ndarray, np.ndarray],
    here: tuple[np.ndarray, np.ndarray], scale: float, size: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Coverage (H, W, 1) and color times coverage (H, W, 3) of a limb moved from one bone to
    another. scale: of its width."""
    from_frame, to_frame = _frame(*there, 1.0), _frame(*here, scale)
    back = from_frame @ np.linalg.inv(to_frame)  # (2, 2): pixels of the scene to the picture's
    offset = there[0] - back @ here[0]
    data = (*back[0], offset[0], *back[1], offset[1])
    layers = [
        np.asarray(
            Image.fromarray(layer).transform(
                size[::-1], Image.Transform.AFFINE, data, Image.Resampling.BILINEAR
            )
        )
        for layer in (limb, *np.moveaxis(picture * limb[..., None], -1, 0).astype(np.float32))
    ]
    return layers[0][..., None], np.stack(layers[1:], -1)


def _frame(start: np.ndarray, end: np.ndarray, scale: float) -> np.ndarray:
    """The axes (2, 2) of a limb, as columns: along the bone, by its length, and across."""
    along = end - start
    across = np.array([-along[1], along[0]]) / max(np.hypot(*along), 1e-6)
    return np.stack([along, across * scale], 1)


def _ends(points: np.ndarray, bone: tuple[tuple[int, int], tuple[int, int]]) -> tuple:
    start, end = (points[list(joints), :2].mean(0) for joints in bone)
    return start, end


def _size(points: np.ndarray) -> float:
    """Height of the torso, in pixels, whose perspective foreshortening is the least."""
    start, end = _ends(points, TORSO[0])
    return float(np.hypot(*(end - start)))
