"""Metrics of `aa evaluate` for a video without ground truth.

FVD (Unterthiner et al. 2018) and DOVER (Wu et al. 2023) are left out. FVD compares Gaussians fitted
to many videos, so it is meaningless for the few of a run; the benchmark reports it. No maintained
package contains DOVER (pyiqa does not).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from animateanywhere import metrics
from animateanywhere.core.errors import UsageError
from animateanywhere.evaluation import embed
from animateanywhere.evaluation.embed import ImageEmbedder, TextEmbedder
from animateanywhere.evaluation.faces import face_embedder
from animateanywhere.evaluation.observe import Observed
from animateanywhere.preprocessing.weights import WeightsLocation
from animateanywhere.puppets import SCENES, render, sample_spec

SAMPLED_FRAMES = 16  # of a clip, compared with as many of another
# In the order of the table: description, and whether higher is better (None: as requested)
METRICS: dict[str, tuple[str, bool | None]] = {
    "pck": ("joints at the requested position, within a tenth of the height", True),
    "oks": ("the same, by COCO's keypoint similarity", True),
    "reference_delta_e": ("person's colors compared with the reference, CIEDE2000", False),
    "clip_i": ("person's similarity to the reference, by CLIP", True),
    "dino_i": ("person's similarity to the reference, by DINO", True),
    "face_distance": ("face's distance to the reference; from 0.6 on another person", False),
    "clip_t": ("frames' similarity to the prompt, by CLIP", True),
    "leak": ("leakage of the reference's background", False),
    "subject_consistency": ("person's consistency between frames, by DINO", True),
    "background_consistency": ("background's consistency between frames, by CLIP", True),
    "flicker": ("change of the background between frames, gray levels", False),
    "dynamic_degree": ("motion of the joints, share of the height", None),
    "dynamic_degree_asked": ("the same of the requested motion", None),
}
# The metrics that need each input beside the video
NEEDED_INPUTS = {
    "reference": ("reference_delta_e", "clip_i", "dino_i", "face_distance", "leak"),
    "motion": ("pck", "oks", "dynamic_degree_asked"),
    "prompt": ("clip_t",),
    "clip": ("clip_i", "clip_t", "background_consistency"),
    "dino": ("dino_i", "subject_consistency"),
    "faces": ("face_distance",),
}
REASONS = {
    "face_distance": "no face is detected in the video or in the reference",
    "leak": "the person covers the background",
    "flicker": "fewer than two frames show the background",
    "subject_consistency": "fewer than two frames show a person",
    "background_consistency": "fewer than two frames",
    "dynamic_degree_asked": "no person is detected",
}


@dataclass(frozen=True)
class Networks:
    """The embedding networks, and why some ("clip", "dino", "faces") are unavailable."""

    clip: ImageEmbedder | None = None
    words: TextEmbedder | None = None
    dino: ImageEmbedder | None = None
    faces: ImageEmbedder | None = None
    unavailable: dict[str, str] = field(default_factory=dict)


def networks(location: WeightsLocation, fast: bool = False) -> Networks:
    """Load the networks whose packages and weights are on this machine. fast: load none."""
    if fast:
        return Networks(unavailable=dict.fromkeys(("clip", "dino", "faces"), "left out by --fast"))
    loaded = Networks()
    loaders: dict[str, Callable[[], dict[str, ImageEmbedder | TextEmbedder]]] = {
        "clip": lambda: dict(zip(("clip", "words"), embed.clip_embedders(location), strict=True)),
        "dino": lambda: {"dino": embed.dino_embedder(location)},
        "faces": lambda: {"faces": face_embedder()},
    }
    for name, loader in loaders.items():
        try:
            loaded = replace(loaded, **loader())  # type: ignore[arg-type]
        except UsageError as error:
            loaded.unavailable[name] = str(error)
    return loaded


def unrelated_scenes() -> tuple[np.ndarray, np.ndarray]:
    """Scenes unrelated to a clip, for `leak` without ground truth: a puppet in each kind of scene.

    Returns pictures uint8 (K, 128, 128, 3) and masks uint8 (K, 128, 128). For footage they are only
    approximate, simpler and more colorful than filmed scenes: with five real clips as each other's
    references, another place reads 0 to 0.2, another of the same kind (two at sea) 0.35, and the
    reference's own scene 1.
    """
    base = sample_spec(0, "held-out")
    specs = [replace(base, scene=replace(base.scene, name=name, seed=300)) for name in SCENES]
    clips = [render(spec, frames=1, size=128) for spec in specs]
    return np.concatenate([c.frames for c in clips]), np.concatenate([c.masks for c in clips])


def score(
    observed: Observed,
    reference: Observed | None,
    requested: np.ndarray | None,
    prompt: str | None,
    embedders: Networks,
    others: tuple[np.ndarray, np.ndarray],
) -> dict[str, float]:
    """Every metric whose inputs are given; `nan` if there is nothing to measure it on.

    Args:
        requested: (F, 18, 3), the motion in the video's pixels, for its first F frames.
        prompt: without the learned token.
        others: pictures of unrelated scenes and their masks, see `unrelated_scenes`.
    """
    frames, person = observed.frames, observed.person_frames()
    height = metrics.person_height(person.masks)
    scores = {
        "flicker": metrics.flicker(frames, observed.masks),
        "dynamic_degree": metrics.dynamic_degree(observed.keypoints, height),
    }
    if requested is not None:
        found = observed.keypoints[: len(requested)]
        scores["pck"] = metrics.pck(found, requested, metrics.extent(requested))
        scores["oks"] = metrics.oks(found, requested)
        scores["dynamic_degree_asked"] = metrics.dynamic_degree(requested, height)
    some = (
        embed.cutouts(*_sampled(person)) if len(person.frames) else np.zeros((0, 8, 8, 3), np.uint8)
    )
    if reference is not None:
        scores["reference_delta_e"] = metrics.reference_delta_e(*person[:3], *reference[:3])["mean"]
        scores["leak"] = metrics.leak(
            frames, observed.masks, reference.frames, reference.masks, *others
        )
        known = embed.cutouts(*_sampled(reference))
        for name, net in (("clip_i", embedders.clip), ("dino_i", embedders.dino)):
            if net is not None:
                scores[name] = _similarity(net, some, known)
        if embedders.faces is not None:
            pictures = _sampled(person)[0], _sampled(reference)[0]
            scores["face_distance"] = metrics.distance(*map(embedders.faces, pictures))
    if embedders.clip is not None:
        scores["background_consistency"] = metrics.consistency(
            embedders.clip(embed.backgrounds(frames, observed.masks))
        )
        if prompt is not None and embedders.words is not None:
            shown = frames[metrics.evenly_spaced(len(frames), SAMPLED_FRAMES)]
            scores["clip_t"] = metrics.similarity(embedders.clip(shown), embedders.words(prompt))
    if embedders.dino is not None and len(person.frames) > 1:
        scores["subject_consistency"] = metrics.consistency(
            embedders.dino(embed.cutouts(person.frames, person.masks))
        )
    return scores


def measured_and_missing(
    scores: dict[str, float], missing_inputs: dict[str, str]
) -> tuple[dict[str, float], dict[str, str]]:
    """The finite numbers in the order of `METRICS`, and for each other metric the reason.

    missing_inputs: why an input of `NEEDED_INPUTS` is missing, by input.
    """
    reasons = {name: why for need, why in missing_inputs.items() for name in NEEDED_INPUTS[need]}
    measured = {name: scores[name] for name in METRICS if np.isfinite(scores.get(name, np.nan))}
    missing = {
        name: reasons.get(name) or REASONS.get(name, "no person is detected")
        for name in METRICS
        if name not in measured
    }
    return measured, missing


def _sampled(clip: Observed) -> tuple[np.ndarray, np.ndarray]:
    chosen = metrics.evenly_spaced(len(clip.frames), SAMPLED_FRAMES)
    return clip.frames[chosen], clip.masks[chosen]


def _similarity(net: ImageEmbedder, a: np.ndarray, b: np.ndarray) -> float:
    return metrics.similarity(net(a), net(b)) if len(a) and len(b) else float("nan")
