"""Motion metrics: temporal flicker of the background and motion of the person."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from animateanywhere.metrics.arrays import soft


def flicker(frames: NDArray, masks: NDArray) -> float:
    """Mean absolute difference of consecutive frames where neither shows the person, in gray
    levels (0..255); 0 is a still background.

    After VBench's temporal flickering (Huang et al. 2024), which takes whole static frames; here
    the person, dilated by two pixels, is left out. Compare it with the truth's: motion in the scene
    and a moving camera count too.
    """
    person = np.stack([binary_dilation(mask > 0.5, iterations=2) for mask in soft(masks)])
    still = ~(person[1:] | person[:-1])  # (F - 1, H, W)
    if not still.any():
        return float("nan")
    change = np.abs(np.diff(frames.astype(np.float32), axis=0)).mean(-1)  # (F - 1, H, W)
    return float(change[still].mean())


def dynamic_degree(keypoints: NDArray, height: float) -> float:
    """Deviation of joints from their mean position, as a share of the person's height; 0 is frozen.

    keypoints: `(F, 18, 3)` pixels and confidence; height: pixels. Root mean square over frames,
    mean over the joints that are visible in at least half of the frames. VBench (Huang et al. 2024)
    uses the largest optical flow; with a given pose, what matters is that the body moves as far as
    in the truth, and jitter adds little to this metric.
    """
    visible = keypoints[..., 2] > 0.5  # (F, 18)
    often = visible.mean(0) >= 0.5  # (18,)
    if not often.any():
        return float("nan")
    spreads = []
    for joint in np.flatnonzero(often):
        places = keypoints[visible[:, joint], joint, :2]
        spreads.append(np.sqrt(((places - places.mean(0)) ** 2).sum(-1).mean()))
    return float(np.mean(spreads) / height)
