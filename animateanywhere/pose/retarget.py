"""Retargeting of a driving motion to another body and another frame. The method is ours."""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from animateanywhere.core.frame_size import Size
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


def pad(frames: np.ndarray, size: Size) -> np.ndarray:
    """Pictures uint8 (F, H, W, 3), padded with black and resized to `size`."""
    boxes = [ImageOps.pad(Image.fromarray(frame), size) for frame in frames]
    return np.stack([np.asarray(box) for box in boxes])


def letterbox(keypoints: np.ndarray, source: Size, frame: Size) -> np.ndarray:
    """Keypoints (F, 18, 3) of a picture of size `source`, whole and centered in a frame."""
    scale = min(frame.width / source.width, frame.height / source.height)
    return _centered(keypoints, source, frame, scale)


def _centered(keypoints: np.ndarray, source: Size, frame: Size, scale: float) -> np.ndarray:
    margin = np.array([
        frame.width - source.width * scale, frame.height - source.height * scale
    ]) / 2  # fmt: skip
    placed = keypoints.astype(np.float32, copy=True)
    placed[..., :2] = placed[..., :2] * scale + margin
    return placed


def fit(
    keypoints: np.ndarray,
    source: Size,
    frame: Size,
    mode: Fit = "bones",
    reference: np.ndarray | None = None,
    learned: Size | None = None,
) -> np.ndarray:
    """Fit a motion to the body, the position and the camera framing of a person.

    "none" letterboxes it. "frame" gives it the person's size, ground and position and keeps its own
    proportions; "bones" also gives it the lengths of the person's bones. Scale and shift are
    constant over the clip, and steps are scaled like the legs, so standing feet do not slide and
    jumps remain jumps. A motion that would leave the frame sideways is shifted into it if it fits.
    In a frame of another shape than the person's own, the person has as many pixels as there, or as
    many fewer as the frame's height and the width of the motion demand.
    Without a reference both modes keep the motion's proportions, center it at a height of `HEIGHT`
    of the frame, and shrink a motion that is wider than the frame.

    Args:
        keypoints: float (F, 18, 3), the motion, in pixels of a picture of size `source`.
        frame: size of the frame to fit into.
        reference: float (N, 18, 3), the person's own keypoints in pixels of a frame of size
            `learned` [default: `frame`].

    Returns:
        float32 (F, 18, 3) in pixels of the frame; keypoints outside of it have confidence 0.
    """
    out = letterbox(keypoints, source, frame)
    own = None if mode == "none" else bones.measure(out)
    if own is None:
        return out
    shown = out[..., 2] >= VISIBLE
    theirs = None if reference is None else bones.measure(reference)
    if theirs is None or reference is None:
        _place_without_reference(out, own, frame)
    else:
        shown_height = min(frame.width * source.height / source.width, frame.height)
        bottom = frame.height / 2 + shown_height / 2
        fitted = _fit_to(out, own, bottom, mode, reference, learned or frame, frame)
        ends = _extent(fitted, 0, shown)
        if frame.width < (learned or frame).width:  # to the last finger: there is no room to spare
            narrow = ROOM * frame.width / max(float(np.ptp(fitted[..., 0][shown])), 1e-3)
            if narrow < 1:
                fitted = _fit_to(out, own, bottom, mode, reference, learned or frame, frame, narrow)
            ends = float(fitted[..., 0][shown].min()), float(fitted[..., 0][shown].max())
        out = fitted
        out[..., 0] += _shift_inside(*ends, frame.width)
    outside = ((out[..., :2] < 0) | (out[..., :2] > frame)).any(-1)
    out[..., 2] = np.where(outside | ~shown, 0, out[..., 2])
    return out


def fit_in_place(keypoints: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Give a person in a scene the proportions of another body, at the same height.

    Whoever stands keeps the place of the lower foot, so that the contact with the scene stays.

    Args:
        keypoints: float (F, 18, 3), in pixels.
        reference: float (N, 18, 3), the other body, at any size.

    Returns:
        float32 (F, 18, 3).
    """
    own, theirs = bones.measure(keypoints), bones.measure(reference)
    if own is None or theirs is None:
        return keypoints.astype(np.float32)
    factors = np.clip(bones.at_one_height(own, theirs), *RATIOS)
    out = _retarget_bones(keypoints, own, factors, np.zeros(2), np.zeros(2))
    before, after = (bones.path(one, own) for one in (keypoints, out))
    move = before - after
    feet = np.stack([bones.joint_positions(one, ankle)[:, 1]
                     for one in (keypoints, out) for *_, ankle in bones.LEGS])  # fmt: skip
    low, now = np.fmax(*feet[:2]), np.fmax(*feet[2:])
    if np.isfinite(low).any():
        move[:, 1] = bones.interpolated((low - now)[:, None])[:, 0]
    out[..., :2] += move[:, None]
    out[..., 2] = keypoints[..., 2]
    return out.astype(np.float32)


def _fit_to(
    keypoints: np.ndarray, own: np.ndarray, bottom: float, mode: Fit, reference: np.ndarray,
    learned: Size, frame: Size, narrow: float = 1.0,
) -> np.ndarray:  # fmt: skip
    """Give a motion with bones `own` the body, place and size of a reference. narrow: reduces the
    size, at most until the whole learned frame fits."""
    if learned != frame:
        largest = min(frame.side / learned.side, frame.height / learned.height)
        whole = min(frame.width / learned.width, frame.height / learned.height)
        reference = _centered(reference, learned, frame, max(whole, narrow * largest))
    theirs = bones.measure(reference)
    assert theirs is not None
    here = _ground_point(keypoints, own, frame, bottom)
    there = _ground_point(reference, theirs, frame, frame.height)
    scale = bones.stature(theirs) / bones.stature(own)
    factors = np.full(len(own), scale)
    if mode == "bones":
        factors = scale * np.clip(theirs / own / scale, *RATIOS)
    return _retarget_bones(keypoints, own, factors, here, there)


def _ground_point(
    keypoints: np.ndarray, body: np.ndarray, frame: Size, bottom: float
) -> np.ndarray:
    """The position (2,) on the ground, in pixels, of a clip's person.

    For a person who stays it is their mean position; for one who moves across the frame it is
    nearer to the frame's center, since the camera was aimed at the whole path.
    """
    x = bones.path(keypoints, body)[:, 0]
    half = max(len(x) // 2, 1)
    doubt = (DRIFT * (x[-half:].mean() - x[:half].mean())) ** 2
    aim = (AIM * frame.width) ** 2
    middle = np.quantile(x, (0.05, 0.95)).mean()
    spot = (middle * aim + frame.width / 2 * doubt) / (aim + doubt)
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


def _place_without_reference(keypoints: np.ndarray, body: np.ndarray, frame: Size) -> None:
    """Fit the whole person into the center of the frame, in place, without a reference."""
    shown = keypoints[..., 2] >= VISIBLE
    spans = [np.ptp(_extent(keypoints, axis, shown)) for axis in (0, 1)]
    feet = shown[:, [10, 13]].any(1).mean() >= 0.5
    whole = max(1.12 * spans[1], bones.stature(body) if feet else 0.0, 1e-3)
    scale = HEIGHT * frame.height / whole
    room = min(ROOM * side / max(span, 1e-3) for side, span in zip(frame, spans, strict=True))
    smallest = SMALLEST * min(frame.aspect, 1.0)  # a narrow frame has less room for the same motion
    scale = min(scale, max(room, smallest * scale))
    keypoints[..., :2] *= scale
    (left, right), (top, bottom) = (_extent(keypoints, axis, shown) for axis in (0, 1))
    if feet:  # standing slightly above the lower edge
        down = 0.93 * frame.height - bones.ground(keypoints, body * scale, np.inf)
        down += _shift_inside(top + down, bottom + down, frame.height)
    else:
        down = 0.52 * frame.height - (top + bottom) / 2
    keypoints[..., :2] += (frame.width - left - right) / 2, down


def _shift_inside(low: float, high: float, length: int) -> float:
    """The least shift that brings the range low..high into 0..length; 0 if it does not fit."""
    return max(0.0, -low) - max(0.0, high - length) if high - low <= length else 0.0


def _extent(keypoints: np.ndarray, axis: int, shown: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(keypoints[..., axis][shown], (0.01, 0.99))
    return float(low), float(high)
