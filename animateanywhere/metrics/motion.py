"""Does it move as a film does: the person, and not the scene from frame to frame?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from animateanywhere.metrics.arrays import soft

RIM = 2  # pixels about the person that are neither person nor scene for sure


def flicker(frames: NDArray, masks: NDArray) -> float:
    """Mean absolute difference of consecutive frames where neither shows the person.

    frames: uint8 `(F, H, W, 3)`; masks: `(F, H, W)`, of the person, dilated here by `RIM` pixels.
    Returns gray levels 0..255, mean over channels, pixels and pairs of frames (each pair counts
    alike); `nan` where no pair shows any scene. VBench (Huang et al. 2024), temporal flickering,
    which is (255 - this) / 255 over whole frames of clips asked to stand still. Here the person
    may move, so only the scene counts; a moving camera counts as flicker.
    """
    disk = np.hypot(*np.mgrid[-RIM : RIM + 1, -RIM : RIM + 1]) <= RIM
    person = np.stack([binary_dilation(mask, disk) for mask in soft(masks) > 0.5])
    scene = ~(person[1:] | person[:-1])  # (F-1, H, W)
    pairs = zip(frames[1:], frames[:-1], scene, strict=True)
    changed = [
        float(np.abs(later[free].astype(np.float32) - earlier[free]).mean())
        for later, earlier, free in pairs
        if free.any()
    ]
    return float(np.mean(changed)) if changed else float("nan")


def dynamic_degree(keypoints: NDArray, height: float, *, sure: float = 0.2) -> float:
    """How much the person moves: root mean square distance of a joint from its mean place.

    keypoints: `(F, 18, 3)` pixels and confidence; height: of the person, pixels. Mean over the
    joints that are seen (confidence of at least `sure`) in at least half of the frames, as a share
    of the height: 0 for a frozen video, about 0.1 for a wave or a dance on the spot; walking
    across the frame counts too. `nan` where no joint is seen often enough. VBench (Huang et al.
    2024) asks of optical flow whether a video moves at all; this asks the person's joints how far,
    so that a moving scene does not count and a result can be held against its driving motion.
    """
    seen = keypoints[..., 2] >= sure  # (F, 18)
    spread = [
        np.sqrt(places[seen[:, joint]].var(axis=0).sum())
        for joint, places in enumerate(keypoints[..., :2].swapaxes(0, 1).astype(np.float64))
        if len(keypoints) and seen[:, joint].mean() >= 0.5
    ]
    return float(np.mean(spread) / height) if spread else float("nan")
