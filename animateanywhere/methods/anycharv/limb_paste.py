"""The limbs of a picture, cut out, turned and scaled onto other bones, without a network.

Each pixel of the person belongs to the nearest bone. A limb keeps its width relative to the body
and is stretched along its bone; hidden limbs are laid first. `collage` lays them on a plain ground,
as a hint for the network; `paste_limbs` over the scene, from which the old person is erased: a
classical baseline. There the old person is filled in with the median of the frames that show the
place, and with the nearest pixel where none does.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from PIL import Image
from scipy.ndimage import binary_dilation, distance_transform_edt

from animateanywhere.core.frame_size import Size
from animateanywhere.methods.anycharv.reference_picture import GRAY, Cutout
from animateanywhere.pose.keypoints import VISIBLE

ERASED = 2  # pixels around the old person that are filled in too
ROUND = 0.5  # pixels by which a limb reaches over its own, so that no gap opens at a joint
# Ends of bones (two keypoints each, whose mean is the end), in the order in which they are laid
LEGS = (((8, 8), (9, 9)), ((11, 11), (12, 12)), ((9, 9), (10, 10)), ((12, 12), (13, 13)))
TORSO = (((1, 1), (8, 11)),)
HEAD = (((1, 1), (0, 0)),)
ARMS = (((2, 2), (3, 3)), ((5, 5), (6, 6)), ((3, 3), (4, 4)), ((6, 6), (7, 7)))
BONES = (*LEGS, *TORSO, *HEAD, *ARMS)
OTHER_SIDE = (1, 0, 3, 2, 4, 5, 7, 6, 9, 8)  # the bone of the other side, for each
OVERLAP = 0.12  # of a bone's length, by which a limb reaches beyond both joints
FACE = (0, 14, 15, 16, 17)  # keypoints that stand for each other
SHOULDERS, HIPS = (2, 5), (8, 11)  # right, left
NARROWER = 0.6  # hips than shoulders, about
FLAT = 1e-3  # pixels, and times: less than that is no length

Ends = tuple[np.ndarray, np.ndarray]  # of a bone, (2,) each


def collage(cutouts: Sequence[Cutout], poses: np.ndarray, size: Size) -> np.ndarray:
    """The limbs of a person in each of some poses, on gray, uint8 (F, H, W, 3).

    cutouts: of one person; each frame has the limbs of that which is turned most alike, those that
    it does not show of others, or else that of the other side. poses: (F, 18, 3) in pixels of
    frames of `size`. Limbs of which an end is not seen (confidence below `VISIBLE`) are left out,
    and all of them without a torso, which tells the scale; a head that looks away is laid by the
    ears.
    """
    bodies = [_completed(one.pose) for one in cutouts]
    limbs = [_limbs(one.mask, body) for one, body in zip(cutouts, bodies, strict=True)]
    frames = np.full((len(poses), size.height, size.width, 3), GRAY, np.uint8)
    for frame, points in zip(frames, map(_completed, poses), strict=True):
        first = facing_alike(bodies, points)
        which = [first, *(n for n in range(len(cutouts)) if n != first)]
        which = [n for n in which if _seen(bodies[n], *TORSO) and _seen(points, *TORSO)]
        for number, bone in enumerate(BONES):
            if not _seen(points, bone):
                continue
            for other, source in product((number, OTHER_SIDE[number]), which):
                if _seen(bodies[source], BONES[other]):
                    _lay(frame, cutouts[source].picture, bodies[source], limbs[source][other],
                         points, (other, number))  # fmt: skip
                    break
    return frames


def facing_alike(bodies: Sequence[np.ndarray], points: np.ndarray) -> int:
    """The number of that of some poses (18, 3) which is turned most like another one, by how far
    apart the shoulders are, from right to left; the first, where that is not seen."""
    turned = _turned(points)
    distances = [abs(_turned(body) - turned) for body in bodies]
    return int(np.argmin(np.nan_to_num(distances, nan=np.inf)))


def _turned(points: np.ndarray) -> float:
    """From right to left shoulder as a share of the torso: positive from the front, negative from
    behind; NaN if they are not seen."""
    right, left = points[list(SHOULDERS)]
    seen = min(right[2], left[2]) >= VISIBLE and _seen(points, *TORSO)
    if not seen or (size := _size(points)) < FLAT:
        return float("nan")
    return float((left[0] - right[0]) / size)


def _completed(points: np.ndarray) -> np.ndarray:
    """A pose (18, 3) with a nose where ears and eyes are, and with a hip by the other one, if these
    are not seen."""
    out = points.astype(np.float32, copy=True)
    face = [row for row in FACE if points[row, 2] >= VISIBLE]
    if face and 0 not in face:
        out[0] = points[face].mean(0)
    shoulders = points[list(SHOULDERS)]
    for own, other, side in ((0, 1, 1), (1, 0, -1)):
        hip, known = HIPS[own], points[HIPS[other]]
        if points[hip, 2] < VISIBLE <= min(known[2], *shoulders[:, 2]):
            out[hip, :2] = known[:2] + side * NARROWER * (shoulders[0] - shoulders[1])[:2]
            out[hip, 2] = VISIBLE
    return out


def _seen(points: np.ndarray, bone: tuple[tuple[int, int], tuple[int, int]]) -> bool:
    return all(points[list(joints), 2].min() >= VISIBLE for joints in bone)


def paste_limbs(
    picture: np.ndarray, mask: np.ndarray, pose: np.ndarray, scene: np.ndarray, old: np.ndarray,
    poses: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """A picture's person in place of a scene's.

    picture: uint8 (h, w, 3), with mask (h, w) uint8 and pose (18, 3) in its pixels. scene: uint8
    (F, H, W, 3), with masks `old` (F, H, W) uint8 and poses (F, 18, 3) of the same bones. Returns
    frames uint8 (F, H, W, 3) and what was laid or filled in, bool (F, H, W).
    """
    limbs = _limbs(mask.astype(np.float32) / 255, pose)
    erased = np.stack([binary_dilation(one > 0, iterations=ERASED) for one in old])
    out = fill_in(scene, erased)
    touched = erased.copy()
    for index, points in enumerate(poses):
        seen = [_seen(points, bone) for bone in BONES]
        for number in sorted(range(len(BONES)), key=lambda n: seen[n]):  # stable: hidden ones first
            touched[index] |= _lay(
                out[index], picture, pose, limbs[number], points, (number, number)
            )
    return out, touched


def _lay(
    frame: np.ndarray, picture: np.ndarray, pose: np.ndarray, limb: np.ndarray, points: np.ndarray,
    bones: tuple[int, int],
) -> np.ndarray:  # fmt: skip
    """Lay a limb of a picture over a frame (H, W, 3), in place; returns where, bool (H, W). bones:
    numbers of that of the picture, and of that which it is laid on."""
    scale = _size(points) / max(_size(pose), 1e-6)
    there, here = _ends(pose, BONES[bones[0]]), _ends(points, BONES[bones[1]])
    if min(np.hypot(*np.subtract(*ends)) for ends in (here, there)) < FLAT or scale < FLAT:
        return np.zeros(frame.shape[:2], bool)  # a bone that points at the camera
    cover, color = _moved(picture, limb, there, here, scale, frame.shape[:2])
    frame[:] = np.round(frame * (1 - cover) + color).clip(0, 255)
    laid: np.ndarray = cover[..., 0] > 0
    return laid


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
    """The pixels of each bone's limb, float32 (h, w) in 0..1: those of a mask in 0..1 it is nearest
    to, and a little beyond the joints."""
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
    soft = mask.astype(np.float32)
    return [
        soft * (own <= nearest + ROUND + OVERLAP * np.hypot(*np.subtract(*_ends(pose, bone))))
        if bone not in (*TORSO, *HEAD) else soft * (own <= nearest + ROUND)
        for bone, own in zip(BONES, apart, strict=True)
    ]  # fmt: skip


def _moved(
    picture: np.ndarray, limb: np.ndarray, there: Ends, here: Ends, scale: float,
    size: tuple[int, int],
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


def _ends(points: np.ndarray, bone: tuple[tuple[int, int], tuple[int, int]]) -> Ends:
    start, end = (points[list(joints), :2].mean(0) for joints in bone)
    return start, end


def _size(points: np.ndarray) -> float:
    """Height of the torso, in pixels, whose perspective foreshortening is the least."""
    start, end = _ends(points, TORSO[0])
    return float(np.hypot(*(end - start)))
