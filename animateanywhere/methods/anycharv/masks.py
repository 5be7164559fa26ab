"""Where the new person may be drawn (section 3.2 and 3.3 of the paper): fine masks, whose border
is made irregular, and boxes, which do not tell the old person's shape.

The paper does not say how a fine mask is augmented; its public code moves the vertices of an
outline at random and unites the result with the mask. Here the mask is united with moved copies of
itself and dilated, which needs no outline, and is never smaller than the person either. How boxes
grow and are steadied over time is ours.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt, median_filter, shift
from torch import Tensor
from torch.nn import functional as F

from animateanywhere.methods.anycharv.settings import GROW

TRAINED = (0.02, 0.12)  # range of the growth in training
MOVED = 0.06  # standard deviation of the shifts of a fine mask's copies, as a share of its height
COPIES = 3
DILATED = (0.01, 0.05)  # range of a fine mask's dilation, as a share of its height


def boxes(masks: np.ndarray) -> np.ndarray:
    """The tight box of the person in each frame, float (F, 4): left, top, right and bottom in
    pixels, the upper limits exclusive; NaN in frames without a person.

    masks: (F, H, W), bool, 0..1 or 0..255.
    """
    person = masks > (127 if masks.dtype == np.uint8 else 0.5)
    found = np.full((len(person), 4), np.nan)
    for row, mask in enumerate(person):
        across, down = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
        if len(across):
            found[row] = across[0], down[0], across[-1] + 1, down[-1] + 1
    return found


def grown(found: np.ndarray, share: float | np.ndarray = GROW) -> np.ndarray:
    """Boxes (F, 4) grown on all sides by a share of their longer side, a number or (F,)."""
    sides = found[:, 2:] - found[:, :2]
    more = (np.asarray(share) * sides.max(1))[:, None]
    return np.concatenate([found[:, :2] - more, found[:, 2:] + more], axis=1)


def steady(found: np.ndarray) -> np.ndarray:
    """Boxes (F, 4) without flicker: medians of three frames, which then hold their neighbors'.

    A fast limb is so within the box of its frame also where its mask is missed. Frames without a
    person stay so, and do not join those around them.
    """
    out = found.copy()
    known = np.isfinite(found[:, 0])
    edges = np.flatnonzero(np.diff(np.concatenate([[False], known, [False]]).astype(int)))
    for start, stop in edges.reshape(-1, 2):
        run = median_filter(found[start:stop], size=(3, 1), mode="nearest")
        padded = np.pad(run, ((1, 1), (0, 0)), mode="edge")
        around = np.stack([padded[:-2], run, padded[2:]])  # (3, n, 4)
        out[start:stop] = np.concatenate([around[..., :2].min(0), around[..., 2:].max(0)], axis=1)
    return out


def box_masks(found: np.ndarray, height: int, width: int) -> np.ndarray:
    """Boxes (F, 4) as masks float32 (F, H, W), with the share of each pixel that they cover."""
    columns, rows = np.arange(width), np.arange(height)
    left, top, right, bottom = np.nan_to_num(found).T[:, :, None]
    across = (np.minimum(right, columns + 1) - np.maximum(left, columns)).clip(0, 1)  # (F, W)
    down = (np.minimum(bottom, rows + 1) - np.maximum(top, rows)).clip(0, 1)  # (F, H)
    masks: np.ndarray = (down[:, :, None] * across[:, None]).astype(np.float32)
    return masks


def fine_mask(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An augmented fine mask, float32 (H, W) in 0..1, that holds the person's.

    mask: the person, (H, W), bool, 0..1 or 0..255.
    """
    person = (mask / (255 if mask.dtype == np.uint8 else 1)).astype(np.float32)
    rows = np.flatnonzero((person > 0.5).any(1))
    if not len(rows):
        return person
    tall = len(range(rows[0], rows[-1] + 1))
    out = person
    for offset in rng.normal(0, MOVED * tall, (COPIES, 2)):
        out = np.maximum(out, shift(person, offset, order=1))
    reach = rng.uniform(*DILATED) * tall
    dilated = distance_transform_edt(out <= 0.5) <= reach
    return np.maximum(out, dilated.astype(np.float32))


def regions_of(masks: np.ndarray, kind: str, seed: int = 0) -> np.ndarray:
    """Where the new person may be, float32 (F, H, W) in 0..1, of masks (F, H, W) of the old one:
    augmented outlines ("fine"), or boxes as they are grown at use ("box")."""
    if kind == "fine":  # the same in all frames, so that it does not flicker
        return np.stack([fine_mask(mask, np.random.default_rng(seed)) for mask in masks])
    return box_masks(grown(steady(boxes(masks))), *masks.shape[1:])


def to_latents(
    masks: np.ndarray, height: int, width: int, mode: Literal["area", "nearest"] = "area"
) -> Tensor:
    """Masks (F, H, W) in 0..1 at the size of latents, (F, 1, height, width): by "area" the share of
    each latent that is masked, so that a hand does not vanish; by "nearest" one of its pixels."""
    return F.interpolate(torch.from_numpy(masks).float()[:, None], (height, width), mode=mode)
