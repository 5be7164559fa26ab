"""Estimation of a body from a clip's keypoints: bone lengths, path of the hips, ground.

A bone in a picture is foreshortened by an unknown amount, and one that never turned across the view
never showed its full length. So each bone's longest views are compared with a body of average
proportions: a slightly shorter bone is taken as measured, a far shorter one as foreshortened. The
method is ours; average proportions are from Drillis and Contini (1966).
"""

from __future__ import annotations

import numpy as np
from scipy.special import log_ndtr, logsumexp

from animateanywhere.pose.keypoints import VISIBLE

# Bones as pairs of keypoints, left and right together
PAIRS = (
    ((1, 8), (1, 11)), ((8, 9), (11, 12)), ((9, 10), (12, 13)), ((2, 3), (5, 6)), ((3, 4), (6, 7)),
    ((1, 16), (1, 17)), ((1, 2), (1, 5)), ((8, 11),),
)  # fmt: skip
BONES = tuple(ends for both in PAIRS for ends in both)
# From each joint of an arm or leg to its end
OUTWARD = {3: (3, 4), 4: (4,), 6: (6, 7), 7: (7,), 9: (9, 10), 10: (10,), 12: (12, 13), 13: (13,)}
TRUNK, THIGH, SHIN, ARM, FOREARM, HEAD, SHOULDERS, WAIST = range(len(PAIRS))
LEGS = (8, 9, 10), (11, 12, 13)  # hip, knee, ankle; shoulders are six before the hips
# Share of standing height, between OpenPose's joints (after Drillis and Contini, 1966)
SHARE = np.array([0.288, 0.245, 0.243, 0.172, 0.146, 0.130, 0.115, 0.105])
SPREAD = 0.1  # standard deviation of people's log proportions
# Probability that even the longest views of a clip are foreshortened: yaw shortens widths
HIDDEN = np.array([0.02, 0.1, 0.05, 0.05, 0.1, 0.5, 0.5, 0.5])
NEAR, FAR = 0.015, 0.4  # mean log foreshortening of the longest views, if weak and if strong
WRONG = 1e-3  # probability density of a wrong detection, for any length
LONGEST = 0.9  # quantile that represents the longest views
STILL = 0.1  # change of log size over a clip due to bending; beyond, it is due to depth
STRETCHED = 1.8
STRAIGHT = 0.93  # height of a standing leg over its length: knees are rarely straight
STANCE = 0.7  # quantile of the lower ankle's y at which it stands; jumps are above


def measure(keypoints: np.ndarray) -> np.ndarray | None:
    """Estimate the bone lengths of a clip's person.

    Args:
        keypoints: float (F, 18, 3).

    Returns:
        float64 (8,) in pixels in the order of `PAIRS`, when the person is nearest to the camera;
        bones never visible get average proportions. None if no bone is visible.
    """
    known, logs = [], []
    keypoints = np.asarray(keypoints, np.float64) / _relative_size(keypoints)
    for bone, pairs in enumerate(PAIRS):
        views = np.concatenate([_lengths(keypoints, a, b) for a, b in pairs])
        if len(views):
            known.append(bone)
            logs.append(np.log(np.quantile(views, LONGEST)))
    if not known:
        return None
    excess = np.array(logs) - np.log(SHARE[known])  # (S,) over a body of height 1
    sizes = np.linspace(excess.min() - 0.3, excess.max() + 0.3, 300)
    score = logsumexp(_explanations(excess - sizes[:, None], known)[0], axis=0).sum(1)
    weight = np.exp(score - score.max())
    size = float((sizes * weight).sum() / weight.sum())
    density, hidden = _explanations(excess - size, known)
    share = np.exp(density - logsumexp(density, axis=0))
    out = size + np.log(SHARE)
    out[known] = np.array(logs) + (share * hidden).sum(0)
    return np.exp(out)


def _lengths(keypoints: np.ndarray, a: int, b: int) -> np.ndarray:
    shown = (keypoints[:, [a, b], 2] >= VISIBLE).all(1)
    length = np.hypot(*(keypoints[shown, a, :2] - keypoints[shown, b, :2]).T)
    return length[length > 0.5]


def _relative_size(keypoints: np.ndarray) -> np.ndarray:
    """Relative size (F, 1, 3) as the person moves to or from the camera, 1 when nearest.

    The trend over the clip of the least foreshortened bone of trunk and legs.
    """
    out = np.ones((len(keypoints), 1, 3))
    ends = [(bone, a, b) for bone in (TRUNK, THIGH, SHIN) for a, b in PAIRS[bone]]
    apart = np.stack(
        [joint_positions(keypoints, a) - joint_positions(keypoints, b) for _, a, b in ends]
    )
    share = SHARE[[bone for bone, _, _ in ends]]
    sizes = np.hypot(apart[..., 0], apart[..., 1]) / share[:, None]  # (bones, F)
    largest = np.where(np.isfinite(sizes), sizes, 0).max(0)
    known = np.flatnonzero(largest > 1)
    if len(known) >= 8:
        time = np.linspace(-0.5, 0.5, len(out))
        slope = np.polyfit(time[known], np.log(largest[known]), 1)[0]
        slope = np.sign(slope) * max(abs(slope) - STILL, 0)
        out[:, 0, :2] = np.exp(slope * time - abs(slope) / 2)[:, None]
    return out


def _explanations(excess: np.ndarray, known: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Three explanations why the longest views of bones `known` (S of them) differ from average
    proportions by `excess` (..., S), in log lengths.

    Individual proportions (normal) minus weak foreshortening (exponential), minus strong
    foreshortening, or a wrong detection. Returns the log density (3, ..., S) of each explanation
    and the expected log foreshortening (3, ..., S) in each.
    """
    density, hidden = [], []
    for depth, often in ((NEAR, 1 - HIDDEN[known]), (FAR, HIDDEN[known])):
        z = -excess / SPREAD - SPREAD / depth
        log_area = log_ndtr(z)
        tail = excess / depth + 0.5 * (SPREAD / depth) ** 2
        density.append(np.log(often / depth) + tail + log_area)
        # The mean of a normal distribution truncated at zero
        hidden.append(SPREAD * (z + np.exp(-0.5 * z**2 - log_area) / np.sqrt(2 * np.pi)))
    density.append(np.full_like(excess, np.log(WRONG)))
    hidden.append(-excess)
    return np.stack(density), np.stack(hidden)


def has_human_limbs(keypoints: np.ndarray) -> np.ndarray:
    """bool (F,): whether the limbs of each pose of (F, 18, 3) are of possible lengths.

    Foreshortening only shortens: at most one of the visible bones may be longer than STRETCHED
    times its length in a body of average proportions.
    """
    known, stretched = _stretched(keypoints)
    return known & (stretched.sum(0) <= 1)


def without_impossible_limbs(keypoints: np.ndarray) -> np.ndarray:
    """Keypoints (F, 18, 3) with human limbs only: in poses with others, the arms and legs with
    bones that are too long have confidence 0 from there on, or where that does not help, all."""
    out, wrong = keypoints.copy(), ~has_human_limbs(keypoints)
    for (_, joint), too_long in zip(BONES, _stretched(keypoints)[1], strict=True):
        for outer in OUTWARD.get(joint, ()):
            out[wrong & too_long, outer, 2] = 0
    out[~has_human_limbs(out), :, 2] = 0
    return out


def _stretched(keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """bool (F,), poses with a visible bone; bool (B, F), which of BONES are too long."""
    apart = np.stack([joint_positions(keypoints, a) - joint_positions(keypoints, b)
                      for a, b in BONES])  # fmt: skip
    shares = np.concatenate([np.repeat(SHARE[bone], len(ends)) for bone, ends in enumerate(PAIRS)])
    heights = np.hypot(apart[..., 0], apart[..., 1]) / shares[:, None]
    known = np.isfinite(heights).any(0)
    out = np.zeros(heights.shape, dtype=bool)
    if known.any():
        tall = np.nanmedian(heights[:, known], axis=0)  # one standing height for each frame
        out[:, known] = heights[:, known] > STRETCHED * np.maximum(tall, np.median(tall))
    return known, out


def stature(body: np.ndarray) -> float:
    """Standing height in pixels of a body, bone lengths (8,) as from `measure`."""
    upright = [TRUNK, THIGH, SHIN]
    return float(body[upright].sum() / SHARE[upright].sum())


def at_one_height(own: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """The ratios (8,) of another body's bone lengths to one's own, if both had the same height."""
    ratios: np.ndarray = theirs / own * stature(own) / stature(theirs)
    return ratios


def path(keypoints: np.ndarray, body: np.ndarray) -> np.ndarray:
    """Position (F, 2) of the hips' center in pixels; if hidden, from a hip, neck or neighbors."""
    neck, right, left = (joint_positions(keypoints, joint) for joint in (1, 8, 11))
    hips = (right + left) / 2
    # One hip is off the center in proportion to its shoulder
    share = body[WAIST] / 2 / body[SHOULDERS]
    for hip, shoulder in ((right, 2), (left, 5)):
        aside = (joint_positions(keypoints, shoulder) - neck) * share
        hips = _first_finite(hips, hip - aside, hip)
    trunk = hips - neck
    trunk = interpolated(trunk) if np.isfinite(trunk).any() else np.array([[0, body[TRUNK]]])
    out = _first_finite(hips, neck + trunk)
    if not np.isfinite(out).any():
        out = np.stack([joint_positions(keypoints, joint) for joint in range(keypoints.shape[1])])
        known = np.isfinite(out)
        total = np.where(known, out, 0).sum(0)
        out = np.where(known.any(0), total / np.maximum(known.sum(0), 1), np.nan)
    return interpolated(out)


def ground(keypoints: np.ndarray, body: np.ndarray, bottom: float) -> float:
    """The y in pixels of the standing ankles when the person is nearest to the camera; of a person
    upside down, that of the lowest joint.

    Ankles below `bottom`, the lower edge of the picture, are estimated from the knees or hips.
    """
    keypoints = keypoints[_relative_size(keypoints)[:, 0, 0] > 0.9]
    hips = path(keypoints, body)[:, 1]
    if _is_upside_down(keypoints, hips):
        joints = np.where(keypoints[..., 2] >= VISIBLE, keypoints[..., 1], -np.inf).max(1)
        return float(np.quantile(joints[np.isfinite(joints)], STANCE))
    leg = STRAIGHT * (body[THIGH] + body[SHIN])
    lower = []
    for hip, knee, ankle in LEGS:
        at_hip, at_knee, at_ankle = (
            joint_positions(keypoints, j)[:, 1] for j in (hip, knee, ankle)
        )
        guess = _first_finite(at_knee + STRAIGHT * body[SHIN], _first_finite(at_hip, hips) + leg)
        lower.append(_first_finite(at_ankle, np.where(guess > 0.98 * bottom, guess, np.nan)))
    low = np.fmax(*lower)
    if np.isfinite(low).any():
        return float(np.nanquantile(low, STANCE))
    return float(np.quantile(hips, 1 - STANCE)) + leg


def _is_upside_down(keypoints: np.ndarray, hips: np.ndarray) -> bool:
    """Whether the neck is below the hips, and the knees are not, in most frames that show both.
    hips: (F,), their y."""
    neck, *knees = (joint_positions(keypoints, joint)[:, 1] for joint in (1, 9, 12))
    knee = np.fmax(*knees)
    known = np.isfinite(neck) & np.isfinite(knee)
    return bool(known.any() and ((neck > hips) & (knee < hips))[known].mean() > 0.5)


def joint_positions(keypoints: np.ndarray, joint: int) -> np.ndarray:
    """Positions (F, 2) of a joint in pixels, NaN where it is not visible."""
    points = keypoints[:, joint].astype(np.float64)
    return np.where(points[:, 2:] >= VISIBLE, points[:, :2], np.nan)


def interpolated(values: np.ndarray) -> np.ndarray:
    """Fill gaps of (F, n) by linear interpolation over time; at least one row must be finite."""
    known = np.flatnonzero(np.isfinite(values).all(1))
    frames = np.arange(len(values))
    return np.stack([np.interp(frames, known, column[known]) for column in values.T], -1)


def _first_finite(*choices: np.ndarray) -> np.ndarray:
    """The first finite one of the choices, element by element."""
    out = choices[0]
    for other in choices[1:]:
        out = np.where(np.isfinite(out), out, other)
    return out
