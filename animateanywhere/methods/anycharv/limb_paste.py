"""The limbs of a picture, cut out, turned and scaled onto other bones, without a network.

Each pixel of the person belongs to the limb that is nearest, a capsule around a bone. A limb keeps
its width relative to the body and is stretched along its bone. `Collage` lays limbs over what a
small network drew, in the picture's own pixels: prints, faces and firm edges, which that network
does not draw, while it draws joints, hair and backs, which limbs lack. AnyDoor (Chen et al. 2024,
arXiv 2307.09481) shows its network such a collage of the object's details; ours learned nothing
from it (docs/experiments.md).

`paste_limbs` lays them over the scene, from which the old person is erased: a classical baseline,
hidden limbs first. There the old person is filled in with the median of the frames that show the
place, and with the nearest pixel where none does.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.ndimage import binary_dilation, distance_transform_edt, gaussian_filter, grey_erosion

from animateanywhere.core.frame_size import Size
from animateanywhere.pose.keypoints import VISIBLE

ERASED = 2  # pixels around the old person that are filled in too
ROUND = 0.5  # pixels by which a limb reaches over its own, so that no gap opens at a joint
# Ends of bones (two keypoints each, whose mean is the end), in the order in which they are laid
LEGS = (((8, 8), (9, 9)), ((11, 11), (12, 12)), ((9, 9), (10, 10)), ((12, 12), (13, 13)))
TORSO = (((1, 1), (8, 11)),)
HEAD = (((1, 1), (0, 0)),)
ARMS = (((2, 2), (3, 3)), ((5, 5), (6, 6)), ((3, 3), (4, 4)), ((6, 6), (7, 7)))
BONES = (*LEGS, *TORSO, *HEAD, *ARMS)
# Of limbs, about, as shares of the torso's length: pixels are theirs whose surface is the nearest
RADII = (0.17, 0.17, 0.13, 0.13, 0.33, 0.28, 0.11, 0.11, 0.09, 0.09)
OTHER_SIDE = (1, 0, 3, 2, 4, 5, 7, 6, 9, 8)  # the bone of the other side, for each
OVERLAP = 0.12  # of a bone's length, by which a limb reaches beyond both joints
FACE, EARS = (0, 14, 15, 16, 17), (16, 17)  # keypoints of a head
SHOULDERS, HIPS = (2, 5), (8, 11)  # right, left
TO_NOSE = 0.35  # of the way from an ear to the nose, where only one is seen: the head's middle
NARROWER = 0.6  # hips than shoulders, about
FRONT, DEEP = 0.85, 0.6  # of torsos: shoulders from the front, and depth as a share of breadth
ALIKE = (0.4, 0.8)  # apart in how they are turned: a head is laid up to, and from where on not
GAP = 8  # frames
RIM = 0.004  # of a picture's side: an edge of the mask, which may show the picture's background
SMALLEST = 8  # pixels of a torso
FLAT = 1e-3  # pixels, and times: less than that is no length

Ends = tuple[np.ndarray, np.ndarray]  # of a bone, (2,) each


class Cutout(NamedTuple):
    """A person in a picture: uint8 (h, w, 3), the mask (h, w) in 0..1, and the pose (18, 3) in its
    pixels."""

    picture: np.ndarray
    mask: np.ndarray
    pose: np.ndarray

    def halved(self) -> Cutout:
        """At half the size."""
        width, height = (max(side // 2, 1) for side in self.mask.shape[::-1])
        small = Image.fromarray(self.picture).resize((width, height), Image.Resampling.BOX)
        mask = Image.fromarray(self.mask.astype(np.float32))
        scale = np.array([width / self.mask.shape[1], height / self.mask.shape[0], 1], np.float32)
        return Cutout(
            np.asarray(small), np.asarray(mask.resize((width, height), Image.Resampling.BOX)),
            self.pose * scale,
        )  # fmt: skip


class _Body(NamedTuple):
    """A cut-out with the pixels of each bone's limb, (h, w) in 0..1."""

    cutout: Cutout
    limbs: list[np.ndarray]


class Collage:
    """The limbs of one person in any pose.

    Each frame has the limbs of that picture which is turned most alike; those that it does not show
    are of another one, or of the other side. Of a person who is turned away from all pictures, the
    torso is laid mirrored, and the head, which would be a face, is not.
    """

    def __init__(self, cutouts: Sequence[Cutout]) -> None:
        self.sizes: list[list[_Body]] = [[] for _ in cutouts]  # each half the one before
        for sizes, one in zip(self.sizes, cutouts, strict=True):
            width = 2 * int(RIM * len(one.mask)) + 1
            inner = grey_erosion(one.mask, (width, width))
            cut = one._replace(pose=completed(one.pose), mask=inner)
            while _seen(cut.pose, *TORSO) and (not sizes or _size(cut.pose) >= SMALLEST):
                sizes.append(_Body(cut, _limbs(cut.mask, cut.pose)))
                cut = cut.halved()
        self.sizes = [sizes for sizes in self.sizes if sizes]  # of those with a pose

    def __bool__(self) -> bool:
        """Whether any picture has a pose with a torso, so that something can be laid."""
        return bool(self.sizes)

    def layer(self, pose: np.ndarray, size: Size) -> tuple[np.ndarray, np.ndarray]:
        """What is laid over a frame of a size: coverage float32 (H, W, 1) in 0..1, and color times
        coverage (H, W, 3).

        pose: (18, 3) in pixels of the frame, as of `steadied`. Limbs of which an end is not seen
        are left out, and all of them without a torso, which tells the scale.
        """
        cover = np.zeros((size.height, size.width, 1), np.float32)
        color = np.zeros((size.height, size.width, 3), np.float32)
        points = completed(pose)
        if not self.sizes or not _seen(points, *TORSO):
            return cover, color
        first = facing_alike([sizes[0].cutout.pose for sizes in self.sizes], points)
        which = [first, *(n for n in range(len(self.sizes)) if n != first)]
        bodies = [_near(self.sizes[n], _size(points)) for n in which]
        for number, bone in enumerate(BONES):
            if not _seen(points, bone):
                continue
            for other, body in product((number, OTHER_SIDE[number]), bodies):
                if _seen(body.cutout.pose, BONES[other]):
                    self._lay(body, other, points, number, (cover, color))
                    break
        return cover, color

    def _lay(
        self, body: _Body, limb: int, points: np.ndarray, number: int,
        layer: tuple[np.ndarray, np.ndarray],
    ) -> None:  # fmt: skip
        """Lay a limb over a layer, in place."""
        cut, bone = body.cutout, BONES[number]
        turned, shown = _turned(points), _turned(cut.pose)
        apart = abs(turned - shown) if np.isfinite(turned - shown) else 0.0
        share, wide = 1.0, 1.0
        if bone in HEAD:
            share = float(np.interp(apart, ALIKE, (1, 0)))
        elif bone in TORSO and np.isfinite(turned - shown):
            wide = _breadth(turned) / _breadth(shown) * (-1 if turned * shown < 0 else 1)
        elif limb != number:
            wide = -1.0  # the other side's, mirrored
        if share > 0:
            _over(layer, cut, body.limbs[limb], points, (limb, number), share, wide)


def steadied(poses: np.ndarray) -> np.ndarray:
    """Poses (F, 18, 3) of consecutive frames, of which keypoints that are not seen for at most
    `GAP` frames are between those before and after, and at the ends where the rest of the body
    takes them, so that no limb blinks."""
    out = poses.astype(np.float32, copy=True)
    known = poses[..., 2] >= VISIBLE  # (F, 18)
    for joint in range(poses.shape[1]):
        seen = np.flatnonzero(known[:, joint])
        for start, stop in pairwise(seen.tolist()):
            if 1 < stop - start <= GAP + 1:
                between = np.arange(start + 1, stop)
                for axis in (0, 1):
                    out[between, joint, axis] = np.interp(between, seen, poses[seen, joint, axis])
                out[between, joint, 2] = VISIBLE
        if len(seen):
            first, last = int(seen[0]), int(seen[-1])
            ends = [(n, first) for n in range(max(first - GAP, 0), first)]
            ends += [(n, last) for n in range(last + 1, min(last + GAP + 1, len(poses)))]
            for frame, nearest in ends:
                both = known[frame] & known[nearest]
                if both.any():
                    moved = (poses[frame, both, :2] - poses[nearest, both, :2]).mean(0)
                    out[frame, joint] = *(poses[nearest, joint, :2] + moved), VISIBLE
    return out


def facing_alike(bodies: Sequence[np.ndarray], points: np.ndarray) -> int:
    """The number of that of some poses (18, 3) which is turned most like another one, by how far
    apart the shoulders are, from right to left; the first, where that is not seen."""
    turned = _turned(points)
    distances = [abs(_turned(body) - turned) for body in bodies]
    return int(np.argmin(np.nan_to_num(distances, nan=np.inf)))


def completed(points: np.ndarray) -> np.ndarray:
    """A pose (18, 3) whose nose is the middle of the head, as seen by ears, eyes and nose, and with
    a hip beside the other one, if it is not seen."""
    out = points.astype(np.float32, copy=True)
    ears = [row for row in EARS if points[row, 2] >= VISIBLE]
    face = ears if len(ears) == 2 else [row for row in FACE if points[row, 2] >= VISIBLE]
    if face:
        out[0] = points[face].mean(0)
    if len(ears) == 1 and points[0, 2] >= VISIBLE:
        out[0] = points[ears[0]] + TO_NOSE * (points[0] - points[ears[0]])
    shoulders = points[list(SHOULDERS)]
    for own, other, side in ((0, 1, 1), (1, 0, -1)):
        hip, known = HIPS[own], points[HIPS[other]]
        if points[hip, 2] < VISIBLE <= min(known[2], *shoulders[:, 2]):
            out[hip, :2] = known[:2] + side * NARROWER * (shoulders[0] - shoulders[1])[:2]
            out[hip, 2] = VISIBLE
    return out


def _turned(points: np.ndarray) -> float:
    """From right to left shoulder as a share of the torso: positive from the front, negative from
    behind; NaN if they are not seen."""
    right, left = points[list(SHOULDERS)]
    seen = min(right[2], left[2]) >= VISIBLE and _seen(points, *TORSO)
    if not seen or (size := _size(points)) < FLAT:
        return float("nan")
    return float((left[0] - right[0]) / size)


def _breadth(turned: float) -> float:
    """How broad a torso is that is turned so, as a share of its breadth from the front: that of an
    ellipse."""
    across = min(abs(turned) / FRONT, 1.0)
    return float(np.sqrt(across**2 + DEEP**2 * (1 - across**2)))


def _near(sizes: Sequence[_Body], size: float) -> _Body:
    """The smallest version of a cut-out that is not enlarged for a torso of `size` pixels."""
    large = [body for body in sizes if _size(body.cutout.pose) >= size]
    return large[-1] if large else sizes[0]


def _over(
    layer: tuple[np.ndarray, np.ndarray], cut: Cutout, limb: np.ndarray, points: np.ndarray,
    bones: tuple[int, int], share: float, wide: float,
) -> None:  # fmt: skip
    """Lay a limb over a layer of coverage and color, in place. bones: numbers of that of the
    picture, and of that which it is laid on. share: of its coverage. wide: times its own width,
    negative for mirrored."""
    scale = wide * _size(points) / max(_size(cut.pose), 1e-6)
    there, here = _ends(cut.pose, BONES[bones[0]]), _ends(points, BONES[bones[1]])
    place = _place(limb, there, here, scale, layer[0].shape[:2])
    if place is None:
        return
    corner, size = place
    start, end = (point - corner for point in here)
    cover, color = _moved(cut.picture, limb, there, (start, end), scale, size)
    rows, columns = slice(corner[1], corner[1] + size[0]), slice(corner[0], corner[0] + size[1])
    for part, more in zip(layer, (cover, color), strict=True):
        part[rows, columns] = part[rows, columns] * (1 - share * cover) + share * more


def _place(
    limb: np.ndarray, there: Ends, here: Ends, scale: float, size: tuple[int, int]
) -> tuple[np.ndarray, tuple[int, int]] | None:
    """The rectangle of a frame of a size (H, W) that a limb moved from one bone to another may
    cover: its corner int (2,), x and y, and its size; None for none, or a bone of no length."""
    if min(np.hypot(*np.subtract(*ends)) for ends in (here, there)) < FLAT or abs(scale) < FLAT:
        return None
    rows, columns = np.flatnonzero(limb.any(1)), np.flatnonzero(limb.any(0))
    if not len(rows):
        return None
    corners = np.array([*product((columns[0], columns[-1] + 1), (rows[0], rows[-1] + 1))])
    forth = _frame(*here, scale) @ np.linalg.inv(_frame(*there, 1.0))
    moved = (corners - there[0]) @ forth.T + here[0]
    low = np.floor(moved.min(0) - 1).clip(0, size[::-1])
    high = np.ceil(moved.max(0) + 1).clip(0, size[::-1])
    width, height = (high - low).astype(int)
    return (low.astype(int), (int(height), int(width))) if min(width, height) > 0 else None


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
        scale = _size(points) / max(_size(pose), 1e-6)
        seen = [_seen(points, bone) for bone in BONES]
        for number in sorted(range(len(BONES)), key=lambda n: seen[n]):  # stable: hidden ones first
            start, end = _ends(points, BONES[number])
            if np.hypot(*(end - start)) < FLAT:
                continue  # a bone that points at the camera
            cover, color = _moved(picture, limbs[number], _ends(pose, BONES[number]),
                                  (start, end), scale, scene.shape[1:3])  # fmt: skip
            out[index] = np.round(out[index] * (1 - cover) + color).clip(0, 255)
            touched[index] |= cover[..., 0] > 0
    return out, touched


def filled_smoothly(frame: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """A frame uint8 (H, W, 3) with the colors around a hole, bool (H, W), in it: means, of ever
    wider surroundings the farther they are."""
    known = (~hole).astype(np.float32)[..., None]
    out, sums, left = frame.astype(np.float32), frame * known, hole.copy()
    width = 1.5
    while left.any() and width < 2 * len(frame):
        share = gaussian_filter(known, (width, width, 0))
        near = left & (share[..., 0] > 0.05)
        means = gaussian_filter(sums, (width, width, 0)) / np.maximum(share, 1e-6)
        out[near] = means[near]
        left &= ~near
        width *= 2
    return (out + 0.5).clip(0, 255).astype(np.uint8)


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
    """The pixels of each bone's limb, float32 (h, w) in 0..1: those of a mask in 0..1 that it is
    nearest to, as a capsule, and a little beyond the joints."""
    rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]]
    grid = np.stack([columns, rows], -1) + 0.5  # (h, w, 2), x and y
    distances, torso = [], _size(pose)
    for bone, radius in zip(BONES, RADII, strict=True):
        start, end = _ends(pose, bone)
        along = end - start
        length = max(float(along @ along), 1e-6)
        share = ((grid - start) @ along / length).clip(0, 1.6 if bone in HEAD else 1)
        apart = np.linalg.norm(grid - start - share[..., None] * along, axis=-1)
        distances.append(apart - radius * torso)
    nearest = np.stack(distances).min(0)
    soft = mask.astype(np.float32)
    return [
        soft * (own <= nearest + ROUND + OVERLAP * np.hypot(*np.subtract(*_ends(pose, bone))))
        if bone not in (*TORSO, *HEAD) else soft * (own <= nearest + ROUND)
        for bone, own in zip(BONES, distances, strict=True)
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
