"""What `aa evaluate` measures of a video of which no true one is known.

FVD (Unterthiner et al. 2018) and DOVER (Wu et al. 2023) are left out. FVD compares Gaussians fitted
to many videos: of a run's few it says nothing; the benchmark has it. DOVER is in no package that is
kept up (pyiqa has none of it).
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

SAMPLED_FRAMES = 16  # frames of a clip that are compared with all of another
# In order of the table: what it asks, and whether more of it is better (None: as asked)
METRICS: dict[str, tuple[str, bool | None]] = {
    "pck": ("joints where the motion wants them, within a tenth of the height", True),
    "oks": ("the same, COCO's similarity", True),
    "reference_delta_e": ("person's colors against the reference's, CIEDE2000", False),
    "clip_i": ("person like the reference's, by CLIP", True),
    "dino_i": ("person like the reference's, by DINO", True),
    "face_identity": ("face like the reference's, by ArcFace", True),
    "clip_t": ("frames like the prompt, by CLIP", True),
    "leak": ("scene of the reference behind the person", False),
    "subject_consistency": ("person alike from frame to frame, by DINO", True),
    "background_consistency": ("scene alike from frame to frame, by CLIP", True),
    "flicker": ("change of the scene from frame to frame, gray levels", False),
    "dynamic_degree": ("motion of the joints, share of the height", None),
    "dynamic_degree_asked": ("the same of the motion that was asked for", None),
}
# What each needs beside the video
NEEDED_INPUTS = {
    "reference": ("reference_delta_e", "clip_i", "dino_i", "face_identity", "leak"),
    "motion": ("pck", "oks", "dynamic_degree_asked"),
    "prompt": ("clip_t",),
    "clip": ("clip_i", "clip_t", "background_consistency"),
    "dino": ("dino_i", "subject_consistency"),
    "faces": ("face_identity",),
}
REASONS = {
    "face_identity": "no face is seen in the video or in the reference",
    "leak": "the person hides the scene",
    "flicker": "fewer than two frames show the scene",
    "subject_consistency": "fewer than two frames show somebody",
    "background_consistency": "fewer than two frames",
    "dynamic_degree_asked": "nobody is seen",
}


@dataclass(frozen=True)
class Networks:
    """What embeds pictures and words, and why one cannot be had ("clip", "dino", "faces")."""

    clip: ImageEmbedder | None = None
    words: TextEmbedder | None = None
    dino: ImageEmbedder | None = None
    faces: ImageEmbedder | None = None
    unavailable: dict[str, str] = field(default_factory=dict)


def networks(location: WeightsLocation, fast: bool = False) -> Networks:
    """Load those whose weights can be had; fast: none."""
    if fast:
        return Networks(unavailable=dict.fromkeys(("clip", "dino", "faces"), "left out by --fast"))
    made = Networks()
    loaders: dict[str, Callable[[], dict[str, ImageEmbedder | TextEmbedder]]] = {
        "clip": lambda: dict(zip(("clip", "words"), embed.clip_embedders(location), strict=True)),
        "dino": lambda: {"dino": embed.dino_embedder(location)},
        "faces": lambda: {"faces": face_embedder(location)},
    }
    for name, loader in loaders.items():
        try:
            made = replace(made, **loader())  # type: ignore[arg-type]
        except UsageError as error:
            made.unavailable[name] = str(error)
    return made


def unrelated_scenes() -> tuple[np.ndarray, np.ndarray]:
    """Scenes that have nothing to do with a clip: one puppet in each kind of scene.

    uint8 (K, 128, 128, 3) and masks. What `leak` compares with where no true video is known. For
    footage they are only stand-ins, plainer and more colorful than what is filmed: of five real
    clips, each the reference of each, another place reads 0 to 0.2, another of the same kind (two
    at sea) 0.35, and its own scene 1.
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
    """Every metric that can be measured; `nan` where there is nothing to measure it on.

    asked: (F, 18, 3), the motion in the video's pixels, of as many of its first frames as it is
    long. prompt: without the learned token. others: unrelated scenes with masks.
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
            scores["face_identity"] = _similarity(embedders.faces, *pictures)
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
    scores: dict[str, float], lacking: dict[str, str]
) -> tuple[dict[str, float], dict[str, str]]:
    """The numbers in the order of `METRICS`, and why each that is no number is none.

    lacking: reasons by what is needed, as in `NEEDS`.
    """
    reasons = {name: why for need, why in lacking.items() for name in NEEDED_INPUTS[need]}
    good = {name: scores[name] for name in METRICS if np.isfinite(scores.get(name, np.nan))}
    missing = {
        name: reasons.get(name) or REASONS.get(name, "nobody is seen")
        for name in METRICS
        if name not in good
    }
    return good, missing


def _sampled(clip: Observed) -> tuple[np.ndarray, np.ndarray]:
    chosen = metrics.evenly_spaced(len(clip.frames), SAMPLED_FRAMES)
    return clip.frames[chosen], clip.masks[chosen]


def _similarity(net: ImageEmbedder, a: np.ndarray, b: np.ndarray) -> float:
    return metrics.similarity(net(a), net(b)) if len(a) and len(b) else float("nan")
