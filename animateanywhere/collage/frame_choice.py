"""Which frames of a clip have the limbs that a collage is made of."""

from __future__ import annotations

import numpy as np

from animateanywhere.collage.limbs import (
    BONES,
    HEAD,
    TORSO,
    Bone,
    ends_of,
    is_seen,
    length_of,
    torso_of,
)
from animateanywhere.collage.views import FACE, completed, turned_of
from animateanywhere.pose.keypoints import VISIBLE
from animateanywhere.pose.outline import body_outlines, trunk_length, unknown_limbs
from animateanywhere.pose.visibility import sideways

SIDE = 0.35  # of `turned`: less to either side, and a person is seen from the side
ELBOWS_AND_WRISTS = (3, 4, 6, 7)
APART = 0.5  # of the torso's length: arms that are farther from its middle hide nothing of it
ALONG = np.linspace(0.2, 0.8, 5)  # places on a bone, of which a mask that holds it has
HELD = 0.5  # at least so many, as a share
# Of a mask, at most, off a generous outline of the body (`pose.outline`): people on film and
# rendered ones have up to 0.07, with bags and skirts; with more, it holds the background
BESIDE = 0.25


def held(poses: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Poses (F, 18, 3), in pixels of masks (F, H, W) in 0..1, in which limbs are not seen that the
    mask does not hold; nor is anything where it holds much beside the body, and not where a limb
    may be of which the pose says nothing."""
    height, width = masks.shape[1:]
    out, bodies = poses.copy(), body_outlines(poses, height, width)
    trunk = trunk_length(poses, height, width)
    for pose, mask, body in zip(out, masks > 0.5, bodies, strict=True):
        beside = mask & ~body & ~unknown_limbs(pose, height, width, trunk)
        if beside.sum() > BESIDE * ((mask & body) | beside).sum():
            pose[:, 2] = 0
        points = completed(pose)
        for bone in BONES:
            if is_seen(points, bone) and not _holds(mask, points, bone):
                pose[list(FACE if bone in HEAD else bone[1]), 2] = 0
    return out


def _holds(mask: np.ndarray, points: np.ndarray, bone: Bone) -> bool:
    """Whether a mask, bool (H, W), holds a bone of a pose (18, 3)."""
    start, end = ends_of(points, bone)
    x, y = np.floor(start + ALONG[:, None] * (end - start)).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < mask.shape[1]) & (y < mask.shape[0])
    return bool(mask[y[inside], x[inside]].sum() >= HELD * len(ALONG))


def best_frames(poses: np.ndarray) -> list[int]:
    """The best frame from the front, from the side and from behind, as far as there are any: one
    that shows all limbs, at their full length, with the arms off the trunk. poses: (F, 18, 3) in
    pixels; frames without a trunk are left out."""
    points = [completed(one) for one in poses]
    lengths = np.array([
        [length_of(ends_of(one, bone)) if is_seen(one, bone) else 0.0 for bone in BONES]
        for one in points
    ]).reshape(len(points), len(BONES))  # fmt: skip
    longest = np.maximum(lengths.max(0, initial=0), 1e-6)
    scores = (lengths / longest).sum(1) + [_apart(one) for one in points]
    views = np.array([turned_of(one) for one in points])
    best = []
    for low, high in ((SIDE, np.inf), (-SIDE, SIDE), (-np.inf, -SIDE)):
        some = [n for n, view in enumerate(views) if low < view <= high]
        if some:
            best.append(max(some, key=lambda n: (scores[n], -n)))
    return best


def _apart(points: np.ndarray) -> float:
    """How far the arms are off the middle of the trunk, in 0..1; unseen ones hide nothing."""
    if not is_seen(points, *TORSO):
        return 0.0
    neck, size, across = points[1, :2], max(torso_of(points), 1e-6), sideways(points)
    seen = [joint for joint in ELBOWS_AND_WRISTS if points[joint, 2] >= VISIBLE]
    off = [abs(float((points[joint, :2] - neck) @ across)) / size for joint in seen]
    return min([*off, APART]) / APART
