"""Continuity of keypoints through time: exchanged left and right limbs, and jumps of the body.

Detectors confuse left and right in side views. An exchange makes both limbs leap, so the labels
that make the motion smoothest are found by dynamic programming (Viterbi). The method is ours.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from animateanywhere.pose.keypoints import VISIBLE

# Keypoints of the right and the left limb
ARMS, LEGS = ((2, 3, 4), (5, 6, 7)), ((8, 9, 10), (11, 12, 13))
LIMBS = {"arms": ARMS, "legs": LEGS}
SPEED = 0.1  # weight of the squared speed beside the squared acceleration
CAPPED = 0.5  # of the body's size: a larger leap is no worse, since it may be a wrong detection
# In squared sizes of the body: cost of a change of labels, and of each exchanged frame
CHANGE, EXCHANGED = 0.1, 0.001
USUAL = 4.0  # usual costs of a frame that are added to that of a change
# In sizes of the body: joints of both sides that coincide, that are apart, and off a limb's path
DOUBLED, APART, LEAP = 0.06, 0.15, 0.2
PATH = 8  # frames to the nearest in which both limbs are apart
GAP = 3  # frames that three poses may span
JUMP = 0.6  # sizes of the body off the line between the neighbors, at 8 frames per second
REFERENCE_FPS = 8.0
HIPS = (8, 11)


def exchange_limbs(keypoints: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Exchange left and right arms, and legs, where the motion is much smoother so.

    Args:
        keypoints: float (F, 18, 3): x, y in pixels, confidence.

    Returns:
        The keypoints (F, 18, 3) with corrected labels, and for "arms" and "legs" in which frames
        they were exchanged, bool (F,).
    """
    out, found = np.array(keypoints), {}
    size = body_size(keypoints)
    for name, pair in LIMBS.items():
        exchanged = _labels(keypoints[:, np.array(pair)], size)
        right, left = (np.array(side) for side in pair)
        where = np.flatnonzero(exchanged)[:, None]
        out[where, right], out[where, left] = keypoints[where, left], keypoints[where, right]
        found[name] = exchanged
    return out, found


def hide_doubled(keypoints: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Hide limbs that were detected on the limb of the other side, away from their own path.

    Args:
        keypoints: float (F, 18, 3): x, y in pixels, confidence.

    Returns:
        The keypoints (F, 18, 3) with confidence 0 at the outer joints of these limbs, and for
        "arms" and "legs" in which frames they are hidden, bool (F,).
    """
    out, found = np.array(keypoints), {}
    size = body_size(keypoints)
    for name, pair in LIMBS.items():
        outer = keypoints[:, [side[1:] for side in pair]]  # (F, 2, 2, 3)
        both = (outer[..., 2] >= VISIBLE).all((1, 2))
        apart = np.linalg.norm(outer[:, 0, :, :2] - outer[:, 1, :, :2], axis=-1) / size  # (F, 2)
        clear = np.flatnonzero(both & (apart.max(1) > APART))
        found[name] = np.zeros(len(keypoints), dtype=bool)
        for f in np.flatnonzero(both & (apart < DOUBLED).all(1)):
            near = clear[np.abs(clear - f) <= PATH]
            near = [*near[near < f][-1:], *near[near > f][:1]]
            if not near:
                continue
            leaps = np.linalg.norm(outer[near, :, 1, :2] - outer[f, :, 1, :2], axis=-1) / size
            own = leaps.min(0)  # (2,)
            strayed = int(own.argmax())
            if own[strayed] > LEAP and own[strayed] > 2 * own[1 - strayed]:
                out[f, list(pair[strayed][1:]), 2] = 0
                found[name][f] = True
    return out, found


def _labels(limbs: np.ndarray, size: float) -> np.ndarray:
    """bool (F,): whether both limbs, (F, 2, 3 joints, 3), are exchanged in the smoothest motion."""
    out = np.zeros(len(limbs), dtype=bool)
    # Only joints of which both sides are visible can tell
    limbs = np.array(limbs)
    limbs[..., 2] = limbs[..., 2].min(1, keepdims=True)
    known = np.flatnonzero((limbs[:, 0, :, 2] >= VISIBLE).sum(1) >= 2)
    if len(known) < 3:
        return out
    limbs = limbs[known]
    poses = np.stack([limbs, limbs[:, ::-1]])  # (2 labels, F, 2, 3, 3)
    # Fast motion between two frames is ambiguous: there only a far smoother one counts
    usual = [_cost(limbs[f - 2 : f + 1], size) for f in range(2, len(limbs))]
    change = CHANGE + USUAL * float(np.median(usual))
    # The state is the label of a frame and of the one before it: cost[before, now]
    cost = np.array([[_cost(poses[[a, b], [0, 1]], size) + EXCHANGED * (a + b) + change * (a != b)
                      for b in (0, 1)] for a in (0, 1)])  # fmt: skip
    back = np.zeros((len(known), 2, 2), dtype=int)
    for f in range(2, len(known)):
        last, cost = cost, np.empty((2, 2))
        for before, now in product((0, 1), repeat=2):
            totals = last[:, before].copy()
            if known[f] - known[f - 2] <= GAP:  # nothing is known of the motion over longer ones
                totals += [_cost(poses[[first, before, now], [f - 2, f - 1, f]], size)
                           for first in (0, 1)]  # fmt: skip
            back[f, before, now] = np.argmin(totals)
            cost[before, now] = totals.min() + change * (before != now) + EXCHANGED * now
    before, now = divmod(int(cost.argmin()), 2)
    for f in range(len(known) - 1, 0, -1):
        out[known[f]] = now
        before, now = int(back[f, before, now]), before
    out[known[0]] = now
    return out


def _cost(poses: np.ndarray, size: float) -> float:
    """Cost of two limbs' motion to the last of two or three frames, (2 or 3, 2, 3 joints, 3)."""
    points, shown = poses[..., :2] / size, poses[..., 2] >= VISIBLE
    moved = ((points[-1] - points[-2]) ** 2).sum(-1).clip(max=CAPPED**2)
    cost = SPEED * float(moved[shown[-2:].all(0)].sum())
    if len(poses) == 3:
        bent = ((points[2] - 2 * points[1] + points[0]) ** 2).sum(-1).clip(max=CAPPED**2)
        cost += float(bent[shown.all(0)].sum())
    return cost


def jumps(keypoints: np.ndarray, fps: float) -> np.ndarray:
    """The frames, int (N,), at which the body leaps away from its path.

    People do not leap so; it is another person, or a wrong detection.

    Args:
        keypoints: float (F, 18, 3).
        fps: frame rate; at a higher one a person moves less between two frames.
    """
    middle = hip_centers(keypoints)
    known = np.flatnonzero(np.isfinite(middle[:, 0]))
    if len(known) < 3:
        return np.empty(0, int)
    size, limit = body_size(keypoints), JUMP * min(REFERENCE_FPS / fps, 1.0)
    moved = np.hypot(*np.diff(middle[known], axis=0).T) / size / np.diff(known)
    # Those who run or ride move evenly: only more than the usual speed counts
    usual = np.array([np.median(np.delete(moved[max(k - 3, 0) : k + 4], min(k, 3)))
                      if len(moved) > 1 else 0.0 for k in range(len(moved))])  # fmt: skip
    return known[1:][moved - usual > limit]


def hip_centers(keypoints: np.ndarray) -> np.ndarray:
    """Centers (F, 2) of the hips of (F, 18, 3) in pixels; of one hip, or else of the neck; NaN
    without them."""
    out = np.full((len(keypoints), 2), np.nan)
    for joints in ((1,), (11,), (8,), HIPS):
        shown = (keypoints[:, joints, 2] >= VISIBLE).all(1)
        out[shown] = keypoints[shown][:, joints, :2].mean(1)
    return out


def body_size(keypoints: np.ndarray) -> float:
    """Median over the frames of the body's longer side in pixels; 1 without a visible body."""
    sides = [np.ptp(pose[pose[:, 2] >= VISIBLE, :2], axis=0).max()
             for pose in keypoints if (pose[:, 2] >= VISIBLE).sum() > 1]  # fmt: skip
    return max(float(np.median(sides)), 1.0) if sides else 1.0
