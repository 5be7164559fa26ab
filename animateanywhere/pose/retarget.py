"""Retargeting of a driving motion to another body and another frame. The method is ours."""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from animateanywhere.pose import body as bones
from animateanywhere.pose.keypoints import VISIBLE

Fit = Literal["none", "frame", "bones"]

HEIGHT = 0.85  # of the frame, for a person without a reference
ROOM = 0.96  # maximum share of the frame for a motion
SMALLEST = 0.75  # of the usual size: a wide motion without a reference shrinks no further
# Limits of a bone's change relative to the body's; beyond, the detection is wrong
RATIOS = (0.6, 1.6)
AIM = 0.1  # of the frame: standard deviation of people's distance from its center
DRIFT = 2.0  # uncertainty of the position of a moving person, relative to the movement
# Each joint's parent, from the hips' center (-1) outwards, and the bone between the two
TREE = {
    1: (-1, bones.TRUNK), 8: (-1, bones.WAIST), 11: (-1, bones.WAIST),
    2: (1, bones.SHOULDERS), 5: (1, bones.SHOULDERS), 3: (2, bones.ARM), 6: (5, bones.ARM),
    4: (3, bones.FOREARM), 7: (6, bones.FOREARM), 9: (8, bones.THIGH), 12: (11, bones.THIGH),
    10: (9, bones.SHIN), 13: (12, bones.SHIN),
    0: (1, bones.HEAD), 14: (1, bones.HEAD), 15: (1, bones.HEAD), 16: (1, bones.HEAD),
    17: (1, bones.HEAD),
}  # fmt: skip


def pad_to_square(frames: np.ndarray, size: int) -> np.ndarray:
    """Pictures uint8 (F, H, W, 3), padded with black and resized to (F, size, size, 3)."""
    boxes = [ImageOps.pad(Image.fromarray(frame), (size, size)) for frame in frames]
    return np.stack([np.asarray(box) for box in boxes])


def letterbox(keypoints: np.ndarray, width: int, height: int, size: int) -> np.ndarray:
    """Keypoints (F, 18, 3) of a width x height picture, centered in a square of size pixels."""
    scale = size / max(width, height)
    margin = np.array([size - width * scale, size - height * scale]) / 2
    placed = keypoints.astype(np.float32, copy=True)
    placed[..., :2] = placed[..., :2] * scale + margin
    return placed


def fit(
    keypoints: np.ndarray,
    width: int,
    height: int,
    size: int,
    mode: Fit = "bones",
    reference: np.ndarray | None = None,
) -> np.ndarray:
    """Fit a motion to the body, the position and the camera framing of a person.

    "none" letterboxes it. "frame" gives it the person's size, ground and position and keeps its own
    proportions; "bones" also gives it the lengths of the person's bones. Scale and shift are
    constant over the clip, and steps are scaled like the legs, so standing feet do not slide and
    jumps remain jumps. A motion that would leave the frame sideways is shifted into it if it fits.
    Without a reference both modes keep the motion's proportions, center it at a height of `HEIGHT`
    of the frame, and shrink a motion that is wider than the frame.

    Args:
        keypoints: float (F, 18, 3), the motion, in pixels of a width x height picture.
        size: of the square frame to fit into, in pixels.
        reference: float (N, 18, 3), the person's own keypoints in pixels of that frame.

    Returns:
        float32 (F, 18, 3) in pixels of the frame; keypoints outside of it have confidence 0.
    """
    out = letterbox(keypoints, width, height, size)
    own = None if mode == "none" else bones.measure(out)
    if own is None:
        return out
    shown = out[..., 2] >= VISIBLE
    theirs = None if reference is None else bones.measure(reference)
    if theirs is None or reference is None:
        _place_without_reference(out, own, size)
    else:
        bottom = size / 2 + size * height / max(width, height) / 2
        here = _ground_point(out, own, size, bottom)
        there = _ground_point(reference, theirs, size, size)
        scale = bones.stature(theirs) / bones.stature(own)
        factors = np.full(len(own), scale)
        if mode == "bones":
            factors = scale * np.clip(theirs / own / scale, *RATIOS)
        out = _retarget_bones(out, own, factors, here, there)
        out[..., 0] += _shift_inside(*_extent(out, 0, shown), size)
    outside = ((out[..., :2] < 0) | (out[..., :2] > size)).any(-1)
    out[..., 2] = np.where(outside | ~shown, 0, out[..., 2])
    return out


def _ground_point(keypoints: np.ndarray, body: np.ndarray, size: int, bottom: float) -> np.ndarray:
    """The position (2,) on the ground, in pixels, of a clip's person.

    For a person who stays it is their mean position; for one who moves across the frame it is
    nearer to the frame's center, since the camera was aimed at the whole path.
    """
    x = bones.path(keypoints, body)[:, 0]
    half = max(len(x) // 2, 1)
    doubt = (DRIFT * (x[-half:].mean() - x[:half].mean())) ** 2
    aim = (AIM * size) ** 2
    middle = np.quantile(x, (0.05, 0.95)).mean()
    spot = (middle * aim + size / 2 * doubt) / (aim + doubt)
    return np.array([spot, bones.ground(keypoints, body, bottom)])


def _retarget_bones(
    keypoints: np.ndarray,
    body: np.ndarray,
    factors: np.ndarray,
    here: np.ndarray,
    there: np.ndarray,
) -> np.ndarray:
    """Scale each bone by its factor (8,) from the hips outwards, and steps by the legs' factor."""
    leg = float(factors[[bones.THIGH, bones.SHIN]].mean())
    root = bones.path(keypoints, body)
    out = keypoints.copy()
    # Per joint: the nearest visible joint towards the hips, before and after, and the bone length
    # since then, before and after
    none = np.zeros((len(out), 1))
    start = (root, (root - here) * leg + there, none, none)
    anchors: dict[int, tuple[np.ndarray, ...]] = {-1: start}
    for joint, (parent, bone) in TREE.items():
        before, after, passed, became = anchors[parent]
        passed, became = passed + body[bone], became + body[bone] * factors[bone]
        place = keypoints[:, joint, :2]
        moved = after + (place - before) * became / passed
        out[:, joint, :2] = moved
        visible = keypoints[:, joint, 2:] >= VISIBLE
        new, old = (place, moved, none, none), (before, after, passed, became)
        anchors[joint] = tuple(np.where(visible, a, b) for a, b in zip(new, old, strict=True))
    # If thighs and shins are scaled differently, the feet must be put back on the ground
    feet = np.stack([bones.joint_positions(keypoints, ankle)[:, 1] for *_, ankle in bones.LEGS])
    lower = np.where(np.isnan(feet), -np.inf, feet).argmax(0)
    frames = np.arange(len(out))
    now = np.stack([out[:, ankle, 1] for *_, ankle in bones.LEGS])
    lift = (feet[lower, frames] - here[1]) * leg + there[1] - now[lower, frames]
    if np.isfinite(lift).any():
        out[..., 1] += bones.interpolated(lift[:, None])
    return out


def _place_without_reference(keypoints: np.ndarray, body: np.ndarray, size: int) -> None:
    """Fit the whole person into the center of the frame, in place, without a reference."""
    shown = keypoints[..., 2] >= VISIBLE
    spans = [np.ptp(_extent(keypoints, axis, shown)) for axis in (0, 1)]
    feet = shown[:, [10, 13]].any(1).mean() >= 0.5
    whole = max(1.12 * spans[1], bones.stature(body) if feet else 0.0, 1e-3)
    scale = HEIGHT * size / whole
    scale = min(scale, max(ROOM * size / max(*spans, 1e-3), SMALLEST * scale))
    keypoints[..., :2] *= scale
    (left, right), (top, bottom) = (_extent(keypoints, axis, shown) for axis in (0, 1))
    if feet:  # standing slightly above the lower edge
        down = 0.93 * size - bones.ground(keypoints, body * scale, np.inf)
        down += _shift_inside(top + down, bottom + down, size)
    else:
        down = 0.52 * size - (top + bottom) / 2
    keypoints[..., :2] += (size - left - right) / 2, down


def _shift_inside(low: float, high: float, size: int) -> float:
    """The least shift that brings the range low..high into the frame; 0 if it does not fit."""
    return max(0.0, -low) - max(0.0, high - size) if high - low <= size else 0.0


def _extent(keypoints: np.ndarray, axis: int, shown: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(keypoints[..., axis][shown], (0.01, 0.99))
    return float(low), float(high)
