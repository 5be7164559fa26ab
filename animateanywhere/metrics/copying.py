"""Metrics of a video of the person of a picture: whether it copies the picture instead of showing
the person, and how many people it shows. The definitions are ours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from animateanywhere.metrics.arrays import Array, soft

FIRST = 4  # frames at the beginning in which the picture may flash up
SECOND = 0.15  # of the largest region of a mask, from which on another one is a person
SMALLEST = 0.003  # of the frame, below which a region is nobody


def pose_leak(found: NDArray, reference: NDArray, asked: NDArray) -> float:
    """How much nearer a video's poses are to the reference picture's than those of the motion that
    was asked for: 0 no nearer, 1 the picture's pose in all frames, below 0 farther.

    found: `(F, 18, 3)` of the video; reference: `(18, 3)`; asked: `(N, 18, 3)`, poses of the
    motion. 1 - d(found) / d(asked), d the mean distance to the reference: poses are compared by
    the joints that are visible in both, each at its own place and size. Not cut at 0, so that the
    mean over videos of other phases of the motion is 0. `nan` where no pose can be compared, or if
    the motion has the picture's pose.
    """
    own, usual = (_distance(poses, reference) for poses in (found, asked))
    return 1 - own / usual if usual > 1e-3 else float("nan")


def _distance(poses: NDArray, reference: NDArray, fewest: int = 6) -> float:
    """Mean distance of poses `(F, 18, 3)` to one `(18, 3)`, in their own spread."""
    found = []
    for pose in poses:
        both = (pose[:, 2] > 0.5) & (reference[:, 2] > 0.5)
        if both.sum() >= fewest:
            a, b = _standard(pose[both, :2]), _standard(reference[both, :2])
            found.append(np.sqrt(((a - b) ** 2).sum(-1).mean()))
    return float(np.mean(found)) if found else float("nan")


def _standard(points: NDArray) -> Array:
    """Points `(J, 2)` about their mean, in their root mean square distance from it."""
    own = points.astype(np.float32) - points.mean(0, dtype=np.float32)
    out: Array = own / max(float(np.sqrt((own**2).sum(-1).mean())), 1e-9)
    return out


def flash(frames: NDArray, picture: NDArray) -> float:
    """Share of the reference picture in the first frames of a video, the largest: 0 none, 1 a frame
    is the picture.

    frames: uint8 `(F, H, W, 3)`; picture: `(H, W, 3)`, as the network sees it, with its plain
    ground. Each of the first `FIRST` frames is explained, by least squares, as the median of the
    second half of the video and a share of the picture; a blend reads its share. `nan` for fewer
    frames than twice as many.
    """
    if len(frames) < 2 * FIRST:
        return float("nan")
    later = np.median(frames[len(frames) // 2 :], 0)
    way = (picture - later).ravel()
    power = float(way @ way)
    if power == 0:
        return float("nan")
    shares = [(frame - later).ravel() @ way / power for frame in frames[:FIRST]]
    return float(np.max(shares))


def person_counts(masks: NDArray) -> NDArray:
    """The number of people in each frame: regions of a mask `(F, H, W)` of at least `SECOND` of its
    largest. People who cover each other are one."""
    counts = []
    for mask in soft(masks):
        regions, number = label(mask > 0.5)
        areas = np.bincount(regions.ravel(), minlength=number + 1)[1:]
        areas = areas[areas >= SMALLEST * mask.size]
        counts.append(int((areas >= SECOND * areas.max()).sum()) if len(areas) else 0)
    return np.array(counts)
