"""Metrics of `benchmarks/real.py` on real clips, whose only ground truth is the clip itself."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import structural_similarity

from animateanywhere import metrics
from animateanywhere.core.frame_size import Size
from animateanywhere.evaluation.observe import Observed
from animateanywhere.evaluation.report import format_cell, interval
from animateanywhere.pose import retarget
from animateanywhere.pose.visibility import has_person
from animateanywhere.preprocessing.driving import Driving

SCENES = ("on a beach", "in a forest", "on a street")
# Columns of the tables in order: title and decimal digits
RECONSTRUCTION_COLUMNS = {
    "ssim": ("SSIM ↑", 2), "person_ssim": ("SSIM of the person ↑", 2),
    "delta_e": ("masked ΔE ↓", 1), "mean_delta_e": ("mean color ΔE ↓", 1),
    "psnr": ("PSNR, dB ↑", 1), "pck": ("PCK ↑", 2), "pck_network": ("PCK by the network ↑", 2),
    "pck_still": ("PCK of standing still", 2), "seen": ("person detected", 0),
}  # fmt: skip
NEW_SCENE_COLUMNS = {
    "leak": ("leak ↓", 2), "pck": ("PCK ↑", 2), "pck_network": ("PCK by the network ↑", 2),
    "pck_still": ("PCK of standing still", 2), "oks": ("OKS ↑", 2),
    "reference_delta_e": ("ΔE to the reference ↓", 1), "flicker": ("flicker ↓", 1),
    "dynamic_degree": ("dynamic degree", 3), "dynamic_degree_network": ("by the network", 3),
    "dynamic_degree_asked": ("requested", 3),
    "seen": ("person detected", 0),
}  # fmt: skip
Scores = dict[str, float]
Draw = Callable[[np.ndarray, int, int], np.ndarray]  # as `Family.draw`


class Motion(NamedTuple):
    """A motion as `aa generate` uses it: keypoints float32 (F, 18, 3) in pixels of the base, fitted
    to a person (None for skeletons in unknown colors), and the digest of the skeleton pictures
    that the sidecar records."""

    keypoints: np.ndarray | None
    skeletons: np.ndarray  # (F, H, W, 3) uint8
    sha256: str


def motion_of(
    driving: Driving, frame: Size, fit: retarget.Fit, draw: Draw, build: np.ndarray | None = None
) -> Motion:
    """Fit a driving motion to frames of a base.

    draw: the base's drawing of skeletons, `Family.draw`. build: keypoints of a person learned in
    frames of this size, from `learned_keypoints`, or None.
    """
    keypoints = None
    if driving.pictures is not None:
        skeletons = retarget.pad(driving.pictures, frame)
    else:
        keypoints = retarget.fit(driving.keypoints, driving.size, frame, fit, build)
        skeletons = draw(keypoints, frame.height, frame.width)
    return Motion(keypoints, skeletons, hashlib.sha256(skeletons.tobytes()).hexdigest())


def sidecar_matches(sidecar: Any, expected: Mapping[str, Any]) -> bool:
    """Whether a sidecar has all expected values, recursively; further keys are ignored.

    Then the video beside it need not be generated again. sidecar: None if there is none.
    """
    if not isinstance(sidecar, Mapping):
        return False
    return all(
        sidecar_matches(sidecar.get(key), value)
        if isinstance(value, Mapping)
        else sidecar.get(key) == value
        for key, value in expected.items()
    )


def other_scenes(scene: str | None) -> tuple[str, str]:
    """The first two of SCENES that differ from a clip's scene."""
    first, second, *_ = (one for one in SCENES if one.split()[-1] not in (scene or ""))
    return first, second


def without_partial_bodies(observed: Observed) -> Observed:
    """Remove the keypoints of frames without a person, whose requested joints then count as missed.

    A few joints detected without a body are no person.
    """
    keypoints = observed.keypoints.copy()
    keypoints[~has_person(keypoints), :, 2] = 0
    return observed._replace(keypoints=keypoints)


def with_missed_persons(observed: Observed, other: Observed) -> Observed:
    """Fill frames without a detected person from another detector's result of the same frames.

    So a missed person is not measured as part of the scene. Not for measuring poses.
    """
    masks, keypoints = observed.masks.copy(), observed.keypoints.copy()
    missed = ~observed.has_person
    masks[missed], keypoints[missed] = other.masks[missed], other.keypoints[missed]
    return observed._replace(masks=masks, keypoints=keypoints)


def motion_scores(observed: Observed, requested: np.ndarray) -> Scores:
    """PCK and OKS against a motion (F, 18, 3) in pixels of the frames, and the number of frames
    with a detected person; in frames without one all joints count as missed.

    "pck_still" is the PCK of standing still in the motion's mean pose: a PCK near it means that
    the person is at the right position, not that they move.
    """
    found, height = without_partial_bodies(observed).keypoints, metrics.extent(requested)
    return {
        "pck": metrics.pck(found, requested, height),
        "pck_still": metrics.pck(mean_pose(requested), requested, height),
        "oks": metrics.oks(found, requested),
        "dynamic_degree": metrics.dynamic_degree(found, metrics.person_height(observed.masks)),
        **person_counts(observed),
    }


def network_scores(observed: Observed, requested: np.ndarray) -> Scores:
    """The same by a second detector, the base's perception network: better than MediaPipe on
    blurred and faceless people, worse on real footage."""
    found, height = without_partial_bodies(observed), metrics.extent(requested)
    return {
        "pck_network": metrics.pck(found.keypoints, requested, height),
        "seen_network": person_counts(observed)["seen"],
        "dynamic_degree_network": metrics.dynamic_degree(
            found.keypoints, metrics.person_height(found.masks)
        ),
    }


def mean_pose(motion: np.ndarray) -> np.ndarray:
    """Each joint's mean position over the frames that show it, in all frames: (F, 18, 3)."""
    shown = (motion[..., 2:] > 0.5).astype(np.float32)  # (F, 18, 1)
    mean = (motion[..., :2] * shown).sum(0) / np.maximum(shown.sum(0), 1)
    return np.tile(np.concatenate([mean, shown.max(0)], -1), (len(motion), 1, 1))


def person_counts(observed: Observed) -> Scores:
    """The number of frames with a detected person, "seen", and of all frames, "frames"."""
    return {"seen": int(has_person(observed.keypoints).sum()), "frames": len(observed.frames)}


def reconstruction_scores(generated: np.ndarray, filmed: np.ndarray, masks: np.ndarray) -> Scores:
    """Compare generated with filmed frames, (F, H, W, 3) uint8; masks (F, H, W) in [0, 1].

    "delta_e" is CIEDE2000 per pixel inside the mask, "mean_delta_e" that of the person's mean color
    in each frame; "ssim" and "psnr" (dB) are of the whole frame.
    """
    a, b = rgb2lab(generated), rgb2lab(filmed)
    weight = masks / np.maximum(masks.sum((1, 2), keepdims=True), 1e-6)  # (F, H, W)
    means = [(x * weight[..., None]).sum((1, 2)) for x in (a, b)]  # (F, 3)
    maps = np.stack(
        [
            structural_similarity(x, y, channel_axis=-1, full=True)[1].mean(-1)
            for x, y in zip(generated, filmed, strict=True)
        ]
    )  # (F, H, W)
    return {
        "ssim": float(maps.mean()),
        "person_ssim": float((maps * weight).sum((1, 2)).mean()),
        "delta_e": float((deltaE_ciede2000(a, b) * weight).sum((1, 2)).mean()),
        "mean_delta_e": float(deltaE_ciede2000(*means).mean()),
        "psnr": metrics.psnr(generated, filmed),
    }


def markdown(
    heads: Sequence[str],
    rows: Sequence[tuple[Sequence[str], Scores | str]],
    columns: Mapping[str, tuple[str, int]],
) -> str:
    """A Markdown table.

    rows: the cells under `heads`, and the numbers by column or the reason why there are none. A
    number that is missing or not finite becomes a dash.
    """
    lines = [
        "| " + " | ".join([*heads, *(title for title, _ in columns.values())]) + " |",
        "|---" * len(heads) + "|---:" * len(columns) + "|",
    ]
    for names, row in rows:
        if isinstance(row, str):
            cells = [row.replace("|", "/"), *[""] * (len(columns) - 1)]
        else:
            cells = [_cell(row, name, digits) for name, (_, digits) in columns.items()]
        names = [name.replace("|", "/") for name in names]
        lines.append("| " + " | ".join([*names, *cells]) + " |")
    return "\n".join(lines) + "\n"


def means_markdown(
    clips: Sequence[Mapping[str, Scores]], columns: Mapping[str, tuple[str, int]]
) -> str:
    """A Markdown table of means over clips with their bootstrap intervals (95 %), a row for each
    way of making the videos that all clips have.

    clips: of each clip, numbers by column, by way of making. Numbers that are missing or not finite
    are left out.
    """
    names = [name for name in clips[0] if all(name in rows for rows in clips)] if clips else []
    shown = {name: title for name, (title, _) in columns.items() if name != "seen"}
    lines = [
        f"| mean of {len(clips)} clips | " + " | ".join(shown.values()) + " |",
        "|---" + "|---:" * len(shown) + "|",
    ]
    for name in names:
        values = {c: [rows[name].get(c, float("nan")) for rows in clips] for c in shown}
        cells = [format_cell(interval([v for v in values[c] if np.isfinite(v)])) for c in shown]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(row: Scores, name: str, digits: int) -> str:
    value = row.get(name, float("nan"))
    if not np.isfinite(value):
        return "–"
    if name == "seen":
        return f"{value}/{row['frames']}"
    return f"{value:.{digits}f}"
