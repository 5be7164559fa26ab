"""Does the video move as it should, and does what should stand still stand still?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from animateanywhere.metrics.arrays import soft


def flicker(frames: NDArray, masks: NDArray) -> float:
    """Mean absolute difference of consecutive frames where neither shows the person, in gray
    levels (0..255); 0 is a still background.

    After VBench's temporal flickering (Huang et al. 2024), which takes whole static frames; here
    the person, dilated by two pixels, is left out. See it beside the truth's: what moves in the
    scene, or a moving camera, counts too.
    """
    person = np.stack([binary_dilation(mask > 0.5, iterations=2) for mask in soft(masks)])
    still = ~(person[1:] | person[:-1])  # (F - 1, H, W)
    if not still.any():
        return float("nan")
    change = np.abs(np.diff(frames.astype(np.float32), axis=0)).mean(-1)  # (F - 1, H, W)
    return float(change[still].mean())


def dynamic_degree(keypoints: NDArray, height: float) -> float:
    """How far joints stray from their mean place, as a share of the person's height; 0 is frozen.

    keypoints: `(F, 18, 3)` pixels and confidence; height: pixels. Root mean square over frames,
    mean over the joints that show in at least half of the frames. VBench (Huang et al. 2024) takes
    the largest optical flow; where the pose is asked for, what matters is that the body moves as
    far as in the truth, and trembling adds little to this.
    """
    seen = keypoints[..., 2] > 0.5  # (F, 18)
    often = seen.mean(0) >= 0.5  # (18,)
    if not often.any():
        return float("nan")
    spreads = []
    for joint in np.flatnonzero(often):
        places = keypoints[seen[:, joint], joint, :2]
        spreads.append(np.sqrt(((places - places.mean(0)) ** 2).sum(-1).mean()))
    return float(np.mean(spreads) / height)
