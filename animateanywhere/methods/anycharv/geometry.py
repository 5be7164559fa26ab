"""Where in a scene the network looks: the box that the new person may fill, and the square around
it, of a stretch of any length."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy.ndimage import binary_dilation

from animateanywhere.methods.anycharv import masks as mask_of
from animateanywhere.pose.keypoints import VISIBLE
from animateanywhere.preprocessing.crop import whole_squares
from animateanywhere.preprocessing.tracking import keypoint_boxes

ROOM = 1.1  # times the box: the scene around it tells the network what stands behind


def person_boxes(masks: np.ndarray, squares: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """The person's box in each frame, float (F, 4) in pixels of the scene.

    masks: (F, L, L) in 0..1, of squares int (F, 3) in the scene. keypoints: (F, 18, 3) in pixels of
    the scene, which the box holds as well, as masks may lack a leg; where the mask is empty the box
    is theirs alone, and some more; NaN without either.
    """
    found = mask_of.boxes(masks)
    scale = squares[:, 2:] / masks.shape[1]
    out = found * scale + np.tile(squares[:, :2], 2)
    seen = np.where(keypoints[..., 2:] >= VISIBLE, keypoints[..., :2], np.nan)  # (F, 18, 2)
    known = np.isfinite(seen[..., 0]).any(1) & np.isfinite(out[:, 0])
    if known.any():
        low, high = np.nanmin(seen[known], 1), np.nanmax(seen[known], 1)
        out[known] = np.concatenate(
            [np.minimum(out[known, :2], low), np.maximum(out[known, 2:], high)], 1
        )
    return np.where(np.isfinite(out), out, keypoint_boxes(keypoints, VISIBLE))


def regions(boxes: np.ndarray, grow: float) -> np.ndarray:
    """Boxes (F, 4) of consecutive frames as the new person may fill them: steadied, grown by a
    share of their longer side, none missing."""
    filled = boxes.copy()
    known = np.flatnonzero(np.isfinite(boxes[:, 0]))
    for side in filled.T:
        side[:] = np.interp(np.arange(len(side)), known, side[known])
    return mask_of.grown(mask_of.steady(filled), grow)


def network_squares(region: np.ndarray, fps: float) -> np.ndarray:
    """The squares int (F, 3) that the network sees of regions (F, 4) of consecutive frames."""
    return whole_squares(region, fps, ROOM)


def box_masks(region: np.ndarray, squares: np.ndarray, side: int) -> np.ndarray:
    """Regions (F, 4) as masks uint8 (F, side, side) of squares (F, 3), 255 inside."""
    scale = side / squares[:, 2:]
    inside = (region - np.tile(squares[:, :2], 2)) * scale
    return (mask_of.box_masks(inside, side, side) * 255 + 0.5).astype(np.uint8)


def fine_masks(masks: np.ndarray, grow: float) -> np.ndarray:
    """Masks uint8 (F, S, S) of a person as a region: dilated by a share of their longer side."""
    sides = mask_of.boxes(masks)
    rounds = np.nan_to_num(grow * (sides[:, 2:] - sides[:, :2]).max(1)).round().astype(int)
    return np.stack([
        255 * (binary_dilation(mask > 127, iterations=n) if n else mask > 127).astype(np.uint8)
        for mask, n in zip(masks, rounds.tolist(), strict=True)
    ])  # fmt: skip


def moved_masks(masks: np.ndarray, there: np.ndarray, here: np.ndarray, side: int) -> np.ndarray:
    """Masks (F, L, L) in 0..1 of squares `there`, int (F, 3), as uint8 (F, side, side) of other
    squares `here`; 0 beyond them."""
    out = np.zeros((len(masks), side, side), np.uint8)
    for index, mask in enumerate(masks):
        if not mask.any():
            continue
        scale = mask.shape[0] / there[index, 2]
        step = here[index, 2] / (2 * side) * scale  # at twice the size, then averaged
        left, top = (here[index, :2] - there[index, :2]) * scale
        picture = Image.fromarray((mask * 255 + 0.5).astype(np.uint8))
        large = picture.transform(
            (2 * side, 2 * side), Image.Transform.AFFINE, (step, 0, left, 0, step, top),
            Image.Resampling.BILINEAR,
        )  # fmt: skip
        out[index] = np.asarray(large.reduce(2))
    return out


def in_squares(keypoints: np.ndarray, squares: np.ndarray, side: int) -> np.ndarray:
    """Keypoints (F, 18, 3) in pixels of the scene in those of squares (F, 3) at size `side`;
    confidence 0 beyond them."""
    out = keypoints.astype(np.float32, copy=True)
    scale = side / squares[:, None, 2:]
    out[..., :2] = (out[..., :2] - squares[:, None, :2]) * scale
    beyond = ((out[..., :2] < 0) | (out[..., :2] > side)).any(-1)
    out[..., 2] = np.where(beyond, 0, out[..., 2])
    return out
