"""Where a person is whom masks lack: one unmasked frame of a still camera would show the person as
background in all others; and what stands in for a mask that is missing.

Two signs, each of which is enough: joints that no mask holds, and a mask that is much smaller than
those of the frames before and after.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_opening, distance_transform_edt

from animateanywhere.pose.outline import TRUNK, body_outlines, placed, trunk_length, unknown_limbs
from animateanywhere.pose.visibility import has_person

CORE = 0.3  # of the widths of a generous outline (`pose.outline`): surely the body
AROUND = 0.7  # of the trunk's length: how far a body may reach beyond that
UNUSUAL = 2.0  # times what is usually lacking
SLIVER = np.ones((3, 3), bool)  # what is narrower is the border of a mask
FRAMES = 5  # before and after, that a mask is compared with: as many in a row may be lacking
SMALL = 0.6  # of their usual area: a mask with less is incomplete
MISSING = 0.1  # of their usual area: less is no mask
OUTLINE = 0.6  # of the widths of that outline: holds 0.98 of rendered people
WIDE = 0.8  # of these widths: what masks nearby hold beyond that is somebody who moved
MOVED = 0.03  # of the longer side: how far someone moves from frame to frame


def unmasked(masks: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """Where a person may be beyond the masks, bool (F, H, W).

    Args:
        masks: bool (F, H, W), where the person was found, in consecutive frames.
        poses: (F, 18, 3), keypoints of the person in pixels.
    """
    out: np.ndarray = (_by_joints(masks, poses) | _by_neighbors(masks)) & ~masks
    return out


def stand_ins(masks: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """Where about the person is in frames with a pose and no mask, bool (F, H, W): the outline of
    the pose, and what the nearest masks before and after hold. Arguments as for `unmasked`."""
    height, width = masks.shape[1:]
    anywhere = trunk_length(poses, height, width)
    trunks = [trunk_length(poses[_nearby(n)], height, width) or anywhere for n in range(len(poses))]
    outlines = np.concatenate([
        body_outlines(pose[None], height, width, OUTLINE, trunk)
        for pose, trunk in zip(poses, trunks, strict=True)
    ])  # fmt: skip
    areas, out = masks.sum((1, 2)), np.zeros_like(masks)
    lacking = has_person(poses) & _small(areas, outlines.sum((1, 2)))
    for index in np.flatnonzero(lacking).tolist():
        out[index] = _held_nearby(masks, ~lacking & (areas > 0), index, FRAMES)
        pose, trunk = poses[index], trunks[index]
        if outlines[index].any() and placed(pose, height, width)[list(TRUNK)].all():
            out[index] &= (
                body_outlines(pose[None], height, width, WIDE, trunk)[0]
                | unknown_limbs(pose, height, width, trunk)
            )  # fmt: skip
        out[index] |= outlines[index]
    out &= ~masks
    return out


def _nearby(index: int) -> slice:
    """The frames that a mask is compared with."""
    return slice(max(index - FRAMES, 0), index + FRAMES + 1)


def _small(areas: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Which areas (F,) of masks are those of none, bool (F,): much smaller than nearby, or, where
    many in a row are, than anywhere and than is expected (F,) of the pose, as someone far away is
    small."""
    out, usual = np.zeros(len(areas), bool), _median(areas, 1.0)
    for index, area in enumerate(areas):
        least = max(_median(areas[_nearby(index)], usual), min(usual, expected[index]))
        out[index] = area < MISSING * least
    return out


def _median(areas: np.ndarray, otherwise: float) -> float:
    """That of the masks that there are."""
    return float(np.median(areas[areas > 0])) if areas.any() else otherwise


def _by_joints(masks: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """What is near limbs that no mask holds, in frames in which more of them is lacking than usual:
    poses of another build are never quite inside. Arguments as for `unmasked`."""
    height, width = masks.shape[1:]
    bodies = body_outlines(poses, height, width, CORE, skirt=False)
    limbs = np.stack([binary_opening(one, SLIVER) for one in bodies & ~masks])
    areas = limbs.sum((1, 2))
    reach = AROUND * trunk_length(poses, height, width)
    out = np.zeros_like(masks)
    for index in np.flatnonzero(areas > UNUSUAL * np.median(areas)):
        out[index] = distance_transform_edt(~limbs[index]) <= reach
    return out


def _by_neighbors(masks: np.ndarray) -> np.ndarray:
    """For incomplete masks, what the nearest complete ones before and after hold."""
    areas = masks.sum((1, 2))
    usual = [np.median(areas[_nearby(n)]) for n in range(len(masks))]
    whole = areas >= SMALL * np.array(usual)
    out = np.zeros_like(masks)
    for index in np.flatnonzero(~whole).tolist():
        out[index] = _held_nearby(masks, whole, index, len(masks))
    return out


def _held_nearby(masks: np.ndarray, whole: np.ndarray, index: int, most: int) -> np.ndarray:
    """What the nearest whole masks before and after a frame hold, at most so many frames away, and
    as far around as someone moves till then."""
    before, after = np.flatnonzero(whole[:index]), index + np.flatnonzero(whole[index:])
    near = [n for n in (*before[-1:], *after[:1]) if abs(n - index) <= most]
    if not masks[near].any():
        return np.zeros_like(masks[index])
    reach = MOVED * max(masks.shape[1:]) * max(abs(n - index) for n in near)
    found: np.ndarray = distance_transform_edt(~masks[near].any(0)) <= reach
    return found
