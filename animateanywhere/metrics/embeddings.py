"""Metrics on embeddings `(N, D)` of images, faces, videos or texts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from animateanywhere.metrics.arrays import Array


def similarity(a: NDArray, b: NDArray) -> float:
    """Mean cosine of all pairs of rows of `a` `(N, D)` and `b` `(M, D)`, in -1..1; `nan` without
    rows.

    With CLIP embeddings of persons it is CLIP-I, with DINO embeddings DINO-I, with those of frames
    and the prompt CLIP-T: DreamBooth (Ruiz et al. 2023, section 4.1), the average pairwise cosine
    similarity of generated and real images. The inputs differ: frames instead of images, and the
    person cut out on plain gray, so that the scene does not count (see `evaluation.embed`).
    """
    if not len(a) or not len(b):
        return float("nan")
    return float((_unit(a) @ _unit(b).T).mean())


def distance(a: NDArray, b: NDArray) -> float:
    """Mean Euclidean distance of all pairs of rows of `a` `(N, D)` and `b` `(M, D)`; `nan` without
    rows.

    With dlib's embeddings of faces it is the identity: two pictures of a person are less than 0.6
    apart, by its authors. On frames of four clips and seven photographs, 95 % of the pairs of one
    person (0.13 to 0.65, median 0.43) and 2 % of those of two persons (0.41 to 1.02, median 0.75).
    """
    if not len(a) or not len(b):
        return float("nan")
    apart = a[:, None].astype(np.float64) - b[None]  # (N, M, D)
    return float(np.sqrt((apart**2).sum(-1)).mean())


def consistency(features: NDArray) -> float:
    """Similarity of the frames of one video, `(F, D)` in order, 0..1; `nan` for a single frame.

    VBench (Huang et al. 2024): mean over the frames from the second on of the average of the
    cosine to the first frame and the cosine to the frame before, negative cosines as 0. With DINO
    it is the subject's consistency, with CLIP the background's. A frozen video has 1: compare it
    with `dynamic_degree`. The inputs differ: VBench uses whole frames for both; here the subject is
    cut out, and for the background replaced by a plain color.
    """
    if len(features) < 2:
        return float("nan")
    unit = _unit(features)
    first, before = unit[1:] @ unit[0], (unit[1:] * unit[:-1]).sum(-1)  # (F-1,)
    return float((first.clip(0) + before.clip(0)).mean() / 2)


def frechet(a: NDArray, b: NDArray) -> float:
    """Frechet distance of Gaussians fitted to `a` `(N, D)` and `b` `(M, D)`; `nan` below 2 rows.

    With VideoMAE features of videos it is FVD (Unterthiner et al. 2018) with the features of Ge et
    al. 2024, which depend less on content and more on motion than I3D's. It is biased by the number
    of videos: compare only equal numbers. The trace of the covariances' root is computed from the
    singular values of a small (N, M) matrix, without the root of a (D, D) matrix.
    """
    if len(a) < 2 or len(b) < 2:
        return float("nan")
    a, b = a.astype(np.float64), b.astype(np.float64)
    apart = ((a.mean(0) - b.mean(0)) ** 2).sum()
    x, y = ((rows - rows.mean(0)) / np.sqrt(len(rows) - 1) for rows in (a, b))
    return float(apart + (x**2).sum() + (y**2).sum() - 2 * np.linalg.norm(x @ y.T, "nuc"))


def _unit(rows: NDArray) -> Array:
    rows = rows.astype(np.float64)
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)
