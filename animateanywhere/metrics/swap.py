"""Metrics of a swapped person, with the truth: what is left of the old person, and the seam.

`result`, `truth` and `scene` are frames of the same scene and motion: with whatever the method
drew, with the new person, and with the old one. All are uint8 `(F, H, W, 3)`, masks `(F, H, W)`.
The definitions are ours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_erosion
from skimage.color import deltaE_ciede2000, rgb2lab

from animateanywhere.metrics.arrays import Array, soft
from animateanywhere.metrics.likeness import matched_delta_e

CHANGED = 24  # gray levels from which on a pixel differs from the empty scene


def ring(old: NDArray, new: NDArray, free: int = 2) -> NDArray:
    """Where the old person stood and the new one does not, bool `(F, H, W)`.

    old, new: masks of both. The new person is dilated by `free` pixels.
    """
    covered = np.stack([binary_dilation(mask > 0.5, iterations=free) for mask in soft(new)])
    return (soft(old) > 0.5) & ~covered


def ring_error(result: NDArray, truth: NDArray, old: NDArray, new: NDArray) -> float:
    """Mean absolute difference to the truth in the `ring`, in gray levels; `nan` without one."""
    place = ring(old, new)
    if not place.any():
        return float("nan")
    return float(np.abs(result[place].astype(np.float32) - truth[place]).mean())


def shape_leak(
    result: NDArray, truth: NDArray, scene: NDArray, old: NDArray, new: NDArray
) -> float:
    """Share of the old person that still stands beside the new one: 0 none, 1 unchanged.

    In the `ring`, the result's difference to the truth is explained, by least squares, as a share
    of the old person and a share of the ring's mean color; the first is the leak. Without the
    second, a background that is merely soft would read as 0.2 to 0.6 of a person, since whoever
    stands there hides it too. A blend reads its share. `nan` without a ring.
    """
    place = ring(old, new)
    true = truth[place].astype(np.float64)  # (N, 3)
    if len(true) < 2:
        return float("nan")
    error, wrong, blurred = result[place] - true, scene[place] - true, true.mean(0) - true
    causes = np.stack([wrong.ravel(), blurred.ravel()], 1)  # (3 N, 2)
    shares = np.linalg.lstsq(causes, error.ravel(), rcond=None)[0]
    return float(shares[0])


def shape_pull(
    result: NDArray, truth: NDArray, empty: NDArray, old: NDArray, new: NDArray
) -> float:
    """How far the outline of who stands there is bent to the old person's: 0 the truth's, 1 his.

    empty: the scene without a person, (F, H, W, 3), or E versions of it, (E, F, H, W, 3), such as
    through the VAE: the outline is where frames differ from all of them. With e the IoU of
    the outline with the old person less that with the new one: (e(result) − e(truth)) / (e(old) −
    e(truth)). `nan` if both have the same outline.
    """

    def excess(outline: NDArray) -> float:
        return _iou(outline, soft(old) > 0.5) - _iou(outline, soft(new) > 0.5)

    scenes = empty if empty.ndim == 5 else empty[None]
    made, true = (
        (np.abs(x.astype(int) - scenes).max(-1) > CHANGED).all(0) for x in (result, truth)
    )
    span = excess(soft(old) > 0.5) - excess(true)
    return (excess(made) - excess(true)) / span if abs(span) > 1e-6 else float("nan")


def _iou(a: NDArray, b: NDArray) -> float:
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 0.0


def nearer_to_old(
    result: NDArray,
    truth: NDArray,
    parts: NDArray,
    scene: NDArray,
    old_parts: NDArray,
    *,
    least: int = 8,
    most: int = 48,
) -> float:
    """Share of body parts whose colors in the result are nearer to the old person's than to the
    new one's, 0..1.

    parts, old_parts: uint8 `(F, H, W)`, part of each pixel of truth and scene, 0 the background.
    Colors are matched as in `person_delta_e`, over all frames. Parts that either lacks, or whose
    colors are nearly the same in both (CIEDE2000 below 4), are left out; `nan` if none is left.
    """
    votes = []
    rng = np.random.default_rng(0)
    for part in np.unique(parts[parts > 0]):
        new, old = parts == part, old_parts == part
        if min(new.sum(), old.sum()) < least:
            continue
        made, true = (rgb2lab(_some(rng, frames, new, most)) for frames in (result, truth))
        past = rgb2lab(_some(rng, scene, old, most))
        if matched_delta_e(past, true) >= 4:
            votes.append(matched_delta_e(made, past) < matched_delta_e(made, true))
    return float(np.mean(votes)) if votes else float("nan")


def _some(rng: np.random.Generator, frames: NDArray, place: NDArray, most: int) -> NDArray:
    """At most `most` pixels `(N, 3)` of a place, at random."""
    pixels = frames[place]
    return pixels[rng.permutation(len(pixels))[:most]]


def kept_psnr(result: NDArray, scene: NDArray, changeable: NDArray) -> float:
    """PSNR in dB of the pixels that must stay as they are, against the scene; `inf` if they do.

    changeable: bool `(F, H, W)`, where the result may differ. `nan` if that is everywhere.
    """
    kept = ~changeable
    if not kept.any():
        return float("nan")
    squared = (result[kept].astype(np.float32) - scene[kept]) ** 2
    error = float(squared.mean(dtype=np.float64))
    return float(10 * np.log10(255.0**2 / error)) if error else float("inf")


def seam(result: NDArray, truth: NDArray, matte: NDArray, band: int = 2) -> float:
    """Mean absolute difference of the gradients of result and truth along the matte's border, in
    gray levels; 0 no seam.

    matte: `(F, H, W)`, what was laid over the scene. The border is `band` pixels wide on both
    sides. `nan` without a border.
    """
    border = np.stack([_border(mask > 0.5, band) for mask in soft(matte)])
    if not border.any():
        return float("nan")
    difference = result.astype(np.float32) - truth
    steps = [np.abs(np.gradient(difference, axis=axis)).mean(-1)[border] for axis in (1, 2)]
    return float(np.mean(steps))


def _border(mask: NDArray, band: int) -> NDArray:
    inner = binary_erosion(mask, iterations=band, border_value=1)
    return binary_dilation(mask, iterations=band) & ~inner


def tremble(result: NDArray, truth: NDArray, parts: NDArray, least: int = 8) -> float:
    """Mean absolute difference of the changes of each body part's mean color from frame to frame to
    those of the truth, in gray levels: 0 is as steady as the truth, in whatever colors.

    parts: as in `nearer_to_old`; those of fewer pixels than `least` in a frame are left out. `nan`
    if no part is in two frames in a row.
    """
    errors = []
    for part in np.unique(parts[parts > 0]):
        place = parts == part
        seen = place.sum((1, 2)) >= least
        error = np.full((len(parts), 3), np.nan)  # of the mean color
        for frame in np.flatnonzero(seen):
            shown = place[frame]
            error[frame] = result[frame][shown].mean(0) - truth[frame][shown].mean(0)
        change = np.abs(np.diff(error, axis=0))[seen[1:] & seen[:-1]]
        errors += [change.mean()] if len(change) else []
    return float(np.mean(errors)) if errors else float("nan")


def light(result: NDArray, truth: NDArray, parts: NDArray, least: int = 8) -> float:
    """Difference of the mean color of each body part to the truth's, in CIEDE2000: whether the
    scene's light is on the person. parts: as in `nearer_to_old`; `nan` without any."""
    errors = []
    for part in np.unique(parts[parts > 0]):
        place = parts == part
        if place.sum() >= least:
            made, true = (_mean_color(frames[place]) for frames in (result, truth))
            errors.append(float(deltaE_ciede2000(made, true)))
    return float(np.mean(errors)) if errors else float("nan")


def _mean_color(pixels: NDArray) -> Array:
    color: Array = rgb2lab(pixels).mean(0).astype(np.float32)
    return color
