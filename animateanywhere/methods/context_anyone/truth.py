"""Metrics of a video of a picture's person against the renderer's truth, and the aims of the
benchmark.

With a pose, the true video is known. Without one, the truth is the person rendered in the pose,
place and size that each compared frame of the video shows (`evaluation.pose_fit`), in the scene
that was asked for and so in its light.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from animateanywhere import metrics
from animateanywhere.evaluation.attributes import read_attributes, render_variants
from animateanywhere.evaluation.instruments import Instruments
from animateanywhere.evaluation.motion_classifier import STEPS, motion_network, motion_of
from animateanywhere.evaluation.perception import perceive
from animateanywhere.evaluation.pose_fit import (
    DRAWS,
    SECONDS,
    VISIBLE,
    Fit,
    fit_poses,
    render_posed,
    repertoire,
)
from animateanywhere.evaluation.report import Aim, Means, Ratios, aim
from animateanywhere.evaluation.retrieval import retrieval, sizes
from animateanywhere.evaluation.truth import measure
from animateanywhere.methods.context_anyone.held_out import FREE, Case, Person, cut_out
from animateanywhere.metrics.copying import flash, person_counts, pose_leak
from animateanywhere.puppets import PARTS, Clip

COLUMNS = {
    "person_delta_e": "person ΔE ↓", "person_psnr": "person PSNR, dB ↑",
    "person_ssim": "person SSIM ↑", "retrieval_12": "recognized among 12 ↑",
    "retrieval_100": "among 100 ↑", "attributes": "attributes ↑", "pattern": "pattern ↑",
    "faces_visible": "faces visible ↑", "silhouette_iou": "silhouette IoU ↑", "pck": "PCK ↑",
    "scene_accuracy": "scene ↑", "scene_delta_e": "scene ΔE ↓", "object_present": "object ↑",
    "leak": "leak ↓", "flicker": "flicker ↓", "dynamic_degree": "motion of the truth's",
    "motion_accuracy": "motion ↑", "one_person": "one person ↑", "whole": "a whole body ↑",
    "pose_leak": "pose leak ↓", "flash": "flash ↓",
}  # fmt: skip
JOINTS = 12  # visible ones of a whole person
PRESENT = 0.95  # of the frames without a pose: less is not a video of a person
ODD = 0.08  # root mean square error of joints, in heights, from which on a pose is nobody's


def measure_posed(tools: Instruments, made: np.ndarray, one: Person, case: Case) -> dict[str, Any]:
    """Every metric of a video uint8 (F, H, W, 3) that was to follow the truth's pose: those of
    `--bench puppets`, and the attributes. Those with nothing to look at are left out."""
    scores = measure(
        tools.net, made, case.truth, one.clip, tools.face_detector, case.candidates
    )  # fmt: skip
    return _known(scores | _attributes(made[list(case.moments[::2])], case.variants))


def measure_free(tools: Instruments, made: np.ndarray, one: Person, case: Case) -> dict[str, float]:
    """Every metric of a video uint8 (F, H, W, 3) whose motion was asked for in words, by names that
    end in "@free". Frames without a whole body show nobody; a video of such frames is recognized as
    nobody."""
    truth, spec = case.truth, case.spec
    known = repertoire(case.fps, DRAWS)
    seen, true = perceive(tools.net, made), perceive(tools.net, truth.frames)
    points, height = seen["keypoints"], metrics.person_height(seen["masks"])
    fits = [
        fit if fit and _is_whole(pose, fit) else None
        for pose, fit in zip(points, fit_poses(known, points), strict=True)
    ]
    shows = [n for n, fit in enumerate(fits) if fit is not None]
    short = slice(int(SECONDS * case.fps))
    network = motion_network(known, len(points[short]), STEPS)
    shown = perceive(tools.net, one.shot.frames)["keypoints"][0]
    moves = [
        metrics.dynamic_degree(points, height),
        metrics.dynamic_degree(true["keypoints"], metrics.person_height(true["masks"])),
    ]
    scores = _appearance(made, seen["masks"], fits, case) | {
        "scene_accuracy": metrics.scene_accuracy(
            seen["scene_probabilities"], tools.net.scenes.index(spec.scene.name)
        ),
        "flicker": metrics.flicker(made, seen["masks"]),
        "dynamic_degree": moves[0] / moves[1],
        "motion_accuracy": float(motion_of(network, points[short]) == spec.motion.name),
        "one_person": float((person_counts(seen["masks"]) == 1).mean()),
        "whole": len(shows) / len(fits),
        "pose_leak": pose_leak(points[shows], shown, true["keypoints"]),
        "flash": flash(made, cut_out(one.shot)),
    }
    return {f"{name}@{FREE}": value for name, value in _known(scores).items()}


def _appearance(
    made: np.ndarray, masks: np.ndarray, fits: list[Fit | None], case: Case
) -> dict[str, Any]:
    """Colors, attributes, and who it is, in those of a video's `moments` that show a body."""
    chosen = [n for n in case.moments if fits[n] is not None]
    poses = [fit for n in chosen if (fit := fits[n]) is not None]
    people = [case.spec.identity, *case.others]
    if not poses:
        return {f"retrieval_{n}": 0.0 for n in sizes(len(people))} | {"attributes": 0.0}
    some = made[chosen]
    candidates = render_posed(poses, case.spec, people, case.size)
    true, half = candidates[0], poses[::2]  # attributes need less
    colors = metrics.person_delta_e(some, true.frames, true.parts, PARTS, masks[chosen])
    scores = {"person_delta_e": colors.pop("mean"), **retrieval(some, candidates)}
    scores |= {f"delta_e_{part}": value for part, value in colors.items()}
    clips = render_variants(
        people[0], lambda them: render_posed(half, case.spec, them, case.size)
    )  # fmt: skip
    return scores | _attributes(some[::2], clips)


def _attributes(made: np.ndarray, clips: dict[str, list[Clip]]) -> dict[str, float]:
    """The share of the attributes that look as they should, and that of the pattern."""
    found = read_attributes(made, clips)
    mean = {"attributes": float(np.mean([*found.values()]))} if found else {}
    return mean | {name: found[name] for name in ("pattern",) if name in found}


def _is_whole(pose: np.ndarray, fit: Fit) -> bool:
    """Whether joints (18, 3) are most of a body, in a pose that somebody can have."""
    return bool((pose[:, 2] > VISIBLE).sum() >= JOINTS) and fit.error < ODD


def _known(scores: dict[str, Any]) -> dict[str, Any]:
    """Without the metrics that found nothing to look at."""
    return {
        name: value for name, value in scores.items()
        if not (isinstance(value, float) and np.isnan(value))
    }  # fmt: skip


def check_aims(methods: Means, ratio: Ratios) -> list[Aim]:
    """The aims of `aa cast`, see `report.aim`.

    A video of nothing copies nothing, flashes nothing and can have the right scene: aims of videos
    without a pose are reached only where these show a whole body in `PRESENT` of the frames.
    """
    mine, least, most = methods.get("ours", {}), -float("inf"), float("inf")

    def against(name: str, metric: str) -> dict[str, float] | None:
        return ratio.get(name, {}).get(metric)

    whole = mine.get(f"whole@{FREE}")
    present = whole is not None and whole["mean"] >= PRESENT

    def free(text: str, metric: str, low: float, high: float) -> Aim:
        return aim(text, mine.get(f"{metric}@{FREE}"), low, high, present)

    colors, found = "person_delta_e", f"retrieval_100@{FREE}"
    best = methods.get("vae", {}).get(found, {}).get("mean")
    return [
        aim("person ΔE with the pose at most 0.9 of words", against("words", colors), least, 0.9),
        aim("person ΔE with the pose not worse than learning from a clip",
            against("personalized", colors), least, 1),
        aim("PCK with the pose at least 0.95 of the VAE's", against("vae", "pck"), 0.95, most),
        free(f"a whole body in at least {PRESENT} of the frames without a pose; the aims below "
             "need it", "whole", PRESENT, 1),
        aim("recognized among 100 without a pose at least half as often as the VAE's truth",
            None if best is None else mine.get(found), (best or 0) / 2, 1, present),
        free("scene accuracy without a pose at least 0.95", "scene_accuracy", 0.95, 1),
        free("one person in at least 0.98 of the frames", "one_person", 0.98, 1),
        free("pose leak at most 0.05", "pose_leak", least, 0.05),
        free("flash at most 0.05", "flash", least, 0.05),
        aim("motion without a pose within 10 % of words",
            against("words", f"dynamic_degree@{FREE}"), 0.9, 1.1, present),
    ]  # fmt: skip
