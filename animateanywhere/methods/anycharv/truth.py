"""Metrics of a swap against the true render, and the aims of the benchmark."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.ndimage import binary_dilation

from animateanywhere.evaluation.perception import Perception
from animateanywhere.evaluation.report import Aim, Means, Ratios, aim
from animateanywhere.evaluation.truth import measure_person
from animateanywhere.methods.anycharv.held_out import Case
from animateanywhere.metrics import swap

COLUMNS = {
    "person_delta_e": "person ΔE ↓", "person_psnr": "person PSNR, dB ↑",
    "person_ssim": "person SSIM ↑", "pck": "PCK ↑", "flicker": "flicker ↓",
    "object_present": "object ↑", "ring": "ring, gray levels ↓", "shape_leak": "shape leak ↓",
    "shape_pull": "shape pull ↓", "nearer_to_old": "nearer to the old ↓",
    "kept_psnr": "kept outside, dB ↑", "kept_psnr_inside": "kept inside, dB ↑",
    "seam": "seam ↓", "tremble": "tremble ↓", "light": "light ΔE ↓",
}  # fmt: skip
BESIDE = 2  # pixels around both persons that are not counted as the scene inside of the box
SURE = 0.2  # less of the old person than that is not distinguished from strangers: no `shape_leak`


def measure_swap(
    net: Perception, made: np.ndarray, case: Case, region: np.ndarray, matte: np.ndarray,
    coded: np.ndarray,
) -> dict[str, Any]:  # fmt: skip
    """Every metric of a swap, uint8 (F, H, W, 3); those with nothing to look at are left out.

    Those of each stratum of the case are repeated as `METRIC@STRATUM`. region: (F, H, W) in 0..1,
    where the result may differ from the scene. matte: (F, H, W) in 0..1, what was laid over it.
    coded: the empty scene through the VAE, uint8 (F, H, W, 3).
    """
    truth, scene = case.truth, case.scene
    frames, old, new = truth.frames, scene.masks, truth.masks
    place = region > 0
    persons = np.stack([
        binary_dilation(mask, iterations=BESIDE) for mask in (old > 0) | (new > 0)
    ])  # fmt: skip
    found = measure_person(net, made, truth)
    scores = {name: found[name] for name in COLUMNS if name in found} | {
        "silhouette_iou": found["silhouette_iou"],
        "ring": swap.ring_error(made, frames, old, new),
        "shape_leak": shape_leak(made, case),
        "shape_pull": swap.shape_pull(made, frames, np.stack([case.empty, coded]), old, new),
        "nearer_to_old": swap.nearer_to_old(made, frames, truth.parts, scene.frames, scene.parts),
        "kept_psnr": swap.kept_psnr(made, scene.frames, place),
        "kept_psnr_inside": swap.kept_psnr(made, scene.frames, ~place | persons),
        "seam": swap.seam(made, frames, matte),
        "tremble": swap.tremble(made, frames, truth.parts),
        "light": swap.light(made, frames, truth.parts),
    }
    scores = {name: float(value) for name, value in scores.items() if not np.isnan(value)}
    each = {f"{name}@{kind}": value for kind in case.strata for name, value in scores.items()}
    return scores | each | {"delta_e_parts": found["delta_e_parts"], "strata": list(case.strata)}


def shape_leak(made: np.ndarray, case: Case) -> float:
    """The `swap.shape_leak` of the old person, less the mean of that of people who never were
    there, on the scale on which the unchanged scene is 1 and the truth 0.

    A background that is merely wrong reads as a share of anybody; only the old person can have left
    more than that. `nan` where strangers cannot be distinguished from the old person.
    """
    truth, old = case.truth, case.scene

    def share(frames: np.ndarray, of: Any) -> float:
        return swap.shape_leak(frames, truth.frames, of.frames, of.masks, truth.masks)

    def more(frames: np.ndarray) -> float:
        others = np.array([share(frames, one) for one in case.strangers])
        others = others[~np.isnan(others)]
        return share(frames, old) - (float(others.mean()) if len(others) else 0.0)

    whole = more(old.frames)
    return more(made) / whole if whole > SURE else float("nan")


def check_aims(methods: Means, ratio: Ratios) -> list[Aim]:
    """The aims of `aa swap`, see `report.aim`."""
    mine, least, most = methods.get("ours", {}), -float("inf"), float("inf")

    def against(name: str, metric: str) -> dict[str, float] | None:
        return ratio.get(name, {}).get(metric)

    colors = "person_delta_e"
    return [
        aim("person ΔE at most 0.7 of words", against("words", colors), least, 0.7),
        aim("person ΔE not worse than personalized", against("personalized", colors), least, 1),
        aim("shape leak at most 0.05", mine.get("shape_leak"), least, 0.05),
        aim("ring at most 1.5 of the VAE's", against("vae", "ring"), least, 1.5),
        aim("shape pull at most a third of stage 1's, unlike bodies",
            against("stage1_fine", "shape_pull@unlike"), least, 1 / 3),
        aim("kept inside of the box at least 30 dB", mine.get("kept_psnr_inside"), 30, most),
        aim("PCK at least 0.95 of the VAE's", against("vae", "pck"), 0.95, most),
        aim("flicker at most 1.2", mine.get("flicker"), least, 1.2),
        aim("tremble at most 1.5 of the VAE's", against("vae", "tremble"), least, 1.5),
    ]  # fmt: skip
