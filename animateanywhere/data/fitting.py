"""A driving skeleton brought to another body and another frame."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps

from animateanywhere.data.openpose import LIMBS, VISIBLE

HEIGHT = 0.85  # of the frame, for a person about whom nothing is known
STANDING = 1.3  # crown to sole, of neck to hip to knee to ankle
ROOM = 0.96  # of the frame that the whole motion may take
SMALLEST = 0.75  # a wide motion shrinks the person no further than this; then it leaves the frame
RATIOS = (0.6, 1.6)  # limits of a bone's change against the body's: beyond, it is a bad reading
# Bones that make one side's share of standing height: neck to hip, thigh, shin
TRUNK = (6, 7, 8, 9, 10, 11)
# Left and right limb of a pair get one length; the face's four are a unit with the neck
PAIRS = ((0, 1), (2, 4), (3, 5), (6, 9), (7, 10), (8, 11), (12,), (13, 15), (14, 16))
LEGS = (10, 13)  # ankles


def squared(frames: np.ndarray, size: int) -> np.ndarray:
    """Pictures uint8 (F, H, W, 3), whole, in a black square of size pixels."""
    boxes = [ImageOps.pad(Image.fromarray(frame), (size, size)) for frame in frames]
    return np.stack([np.asarray(box) for box in boxes])


def fit(
    keypoints: np.ndarray, height: int, width: int, reference: np.ndarray | None = None
) -> np.ndarray:
    """Move, scale and re-proportion a motion.

    With a reference, the person gets its size, bone lengths, ground and place; without, a height
    of `HEIGHT` of the frame and its middle, own proportions kept. One scale and one shift for the
    whole clip, so steps and jumps stay what they are; a motion wider than the frame shrinks.

    Args:
        keypoints: float (F, 18, 3), the motion, in pixels of any frame.
        height, width: of the frame to fit into.
        reference: float (N, 18, 3), the person's own keypoints in pixels of that frame.

    Returns:
        float32 (F, 18, 3); keypoints outside of the frame get confidence 0.
    """
    out = np.array(keypoints, dtype=np.float32)
    shown = out[..., 2] >= VISIBLE
    if not shown.any():
        return out
    own = _bones(out)
    theirs = None if reference is None else _bones(np.asarray(reference, dtype=np.float32))
    scale = None if theirs is None else _common(theirs, own)
    if theirs is None or scale is None:
        low, high = _extent(out, 1)
        body = np.nansum(own[list(TRUNK[:3])]) * STANDING
        whole = max(1.12 * (high - low), body if np.isfinite(own[list(TRUNK)]).all() else 0.0, 1e-3)
        out[..., :2] *= HEIGHT * height / whole
    else:
        ratios = np.clip(theirs / (own * scale), *RATIOS)
        out = _stretch(out, np.where(np.isfinite(ratios), ratios, 1.0) * scale)

    where = None if scale is None else reference
    _shrink(out, height, width)
    _place(out, height, width, where)
    gone = (out[..., 0] < 0) | (out[..., 0] > width) | (out[..., 1] < 0) | (out[..., 1] > height)
    out[..., 2] = np.where(gone | ~shown, 0, out[..., 2])
    return out


def _bones(keypoints: np.ndarray) -> np.ndarray:
    """(17,) length of each limb, NaN where never seen. A high quantile over the clip, since bones
    that point at the camera look short; left and right together."""
    a, b = keypoints[:, [p for p, _ in LIMBS]], keypoints[:, [q for _, q in LIMBS]]
    length = np.hypot(a[..., 0] - b[..., 0], a[..., 1] - b[..., 1])
    length[(a[..., 2] < VISIBLE) | (b[..., 2] < VISIBLE)] = np.nan
    out = np.full(len(LIMBS), np.nan)
    for pair in PAIRS:
        seen = length[:, pair][np.isfinite(length[:, pair])]
        if len(seen) and np.quantile(seen, 0.85) > 0.5:
            out[list(pair)] = np.quantile(seen, 0.85)
    return out


def _common(theirs: np.ndarray, own: np.ndarray) -> float | None:
    """Scale of the body: over trunk and legs where both show them, else over all shared bones."""
    both = np.isfinite(theirs) & np.isfinite(own)
    trunk = both & np.isin(np.arange(len(LIMBS)), TRUNK)
    use = trunk if trunk.any() else both
    return float(theirs[use].sum() / own[use].sum()) if use.any() else None


def _stretch(keypoints: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Scale each limb from the neck outwards; the hips travel with the body's own scale."""
    out = keypoints.copy()
    body = float(factors[[6, 9]].mean())
    shown = keypoints[..., 2] >= VISIBLE
    out[:, 1, :2] = keypoints[:, 1, :2] * body
    for limb, (a, b) in enumerate(LIMBS):
        from_neck = ~shown[:, a]  # a hidden parent: the child keeps its place by the neck
        bone = keypoints[:, b, :2] - keypoints[:, a, :2]
        direct = out[:, a, :2] + bone * factors[limb]
        loose = out[:, 1, :2] + (keypoints[:, b, :2] - keypoints[:, 1, :2]) * body
        out[:, b, :2] = np.where(from_neck[:, None], loose, direct)
    return out


def _extent(keypoints: np.ndarray, axis: int) -> tuple[float, float]:
    values = keypoints[..., axis][keypoints[..., 2] >= VISIBLE]
    return float(np.quantile(values, 0.01)), float(np.quantile(values, 0.99))


def _shrink(keypoints: np.ndarray, height: int, width: int) -> None:
    spans = [high - low for low, high in (_extent(keypoints, 0), _extent(keypoints, 1))]
    factor = min(1.0, ROOM * width / max(spans[0], 1e-3), ROOM * height / max(spans[1], 1e-3))
    keypoints[..., :2] *= max(factor, SMALLEST)


def _place(keypoints: np.ndarray, height: int, width: int, reference: np.ndarray | None) -> None:
    (left, right), (top, bottom) = _extent(keypoints, 0), _extent(keypoints, 1)
    ground, feet = _ground(keypoints)
    if reference is None:
        target_x = width / 2
        # The middle of the frame, or the ground a little above its lower edge
        dy = 0.93 * height - ground if feet else 0.52 * height - (top + bottom) / 2
    else:
        target_x = sum(_extent(reference, 0)) / 2
        their_ground, their_feet = _ground(reference)
        if feet and their_feet:
            dy = their_ground - ground
        else:  # by the necks, where feet are out of the picture
            dy = _middle(reference, 1) - _middle(keypoints, 1)
    dx = target_x - (left + right) / 2
    # Nothing leaves the frame that fits into it
    for axis, (shift, low, high, size) in enumerate(
        ((dx, left, right, width), (dy, top, bottom, height))
    ):
        margin = (1 - ROOM) / 2 * size
        room_low, room_high = margin - low, size - margin - high
        # Feet that are already out of the driving frame may stay below this one
        if room_low <= room_high and (axis == 0 or feet):
            shift = min(max(shift, room_low), room_high)
        keypoints[..., axis] += shift


def _ground(keypoints: np.ndarray) -> tuple[float, bool]:
    """Height on which the feet stand, and whether feet are seen in most frames."""
    ankles = keypoints[:, list(LEGS)]
    seen = ankles[..., 2] >= VISIBLE
    if seen.any(1).mean() < 0.5:
        return 0.0, False
    return float(np.quantile(np.where(seen, ankles[..., 1], -np.inf).max(1), 0.8)), True


def _middle(keypoints: np.ndarray, axis: int) -> float:
    """Median of the neck's coordinate, or of all keypoints where no neck is seen."""
    neck = keypoints[:, 1][keypoints[:, 1, 2] >= VISIBLE]
    seen = neck if len(neck) else keypoints[keypoints[..., 2] >= VISIBLE]
    return float(np.median(seen[..., axis]))
