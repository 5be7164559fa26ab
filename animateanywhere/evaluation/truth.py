"""Metrics of a generated video against the true render of the same person, motion and scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from animateanywhere import metrics
from animateanywhere.core.files import write_aside
from animateanywhere.datasets.subject import save_picture
from animateanywhere.evaluation.face_detector import FaceDetector, faces_visible, frontal_frames
from animateanywhere.evaluation.perception import Perception, perceive
from animateanywhere.evaluation.retrieval import retrieval
from animateanywhere.media import video
from animateanywhere.pose import skeleton
from animateanywhere.puppets import PARTS, Clip, render


def compare(net: Perception, frames: np.ndarray, truth: Clip) -> dict[str, float]:
    """Pose, silhouette, scene and motion of frames, uint8 (F, H, W, 3), compared with the truth.

    Estimated by the perception network. `dynamic_degree` is relative to the truth's: 1 moves as
    far, 0 is frozen.
    """
    return _compare(net, frames, perceive(net, frames), truth)


def _compare(
    net: Perception, frames: np.ndarray, estimated: dict[str, Any], truth: Clip
) -> dict[str, float]:
    """`compare`, with the network's estimates for the frames."""
    true = perceive(net, truth.frames)
    height = metrics.person_height(truth.masks)
    requested = net.scenes.index(truth.spec.scene.name)
    moves = [metrics.dynamic_degree(one["keypoints"], height) for one in (estimated, true)]
    return {
        "pck": metrics.pck(estimated["keypoints"], truth.keypoints, height),
        "pck_either_side": metrics.pck_either_side(estimated["keypoints"], truth.keypoints, height),
        "silhouette_iou": metrics.silhouette_iou(estimated["masks"], truth.masks),
        "scene_accuracy": metrics.scene_accuracy(estimated["scene_probabilities"], requested),
        "dynamic_degree": moves[0] / moves[1],
        "flicker": metrics.flicker(frames, np.maximum(estimated["masks"], truth.masks / 255)),
    }


def measure(
    net: Perception, generated: np.ndarray, truth: Clip, reference: Clip,
    face_detector: FaceDetector | None = None, candidates: Sequence[Clip] = (),
) -> dict[str, Any]:  # fmt: skip
    """Every metric of a generated video against the true render.

    `leak` only if the scene differs from the reference's, `object_present` only with an object,
    `faces_visible` only if the truth shows a face from the front and there is a detector, and the
    measures of `retrieval` only with candidates.

    generated: uint8 (F, H, W, 3), of the truth's shape. candidates: from `line_up`.
    """
    estimated = perceive(net, generated)
    masks, spec, size = estimated["masks"], truth.spec, generated.shape[1]
    scores = _measure_person(net, generated, estimated, truth)
    if face_detector is not None and frontal_frames(truth).any():
        scores["faces_visible"] = faces_visible(face_detector, generated, truth)
    if candidates:
        scores |= retrieval(generated, candidates)
    others = [replace(spec, scene=replace(spec.scene, seed=100 + i)) for i in range(6)]
    clips = [render(other, frames=1, size=size) for other in others]
    requested = np.concatenate([clip.frames for clip in clips])
    requested_masks = np.concatenate([clip.masks for clip in clips])
    scores["scene_delta_e"] = metrics.scene_delta_e(generated, masks, requested, requested_masks)
    if spec.scene.name != reference.spec.scene.name:
        known = (reference.frames, reference.masks)
        scores["leak"] = metrics.leak(generated, masks, *known, requested, requested_masks)
    return scores


def measure_person(net: Perception, generated: np.ndarray, truth: Clip) -> dict[str, Any]:
    """Those of `measure` that need nothing but the true render: `compare`, the person's colors, and
    the object."""
    return _measure_person(net, generated, perceive(net, generated), truth)


def _measure_person(
    net: Perception, generated: np.ndarray, estimated: dict[str, Any], truth: Clip
) -> dict[str, Any]:
    """`measure_person`, with the network's estimates for the frames."""
    colors = metrics.person_delta_e(generated, truth.frames, truth.parts, PARTS, estimated["masks"])
    scores: dict[str, Any] = {
        **_compare(net, generated, estimated, truth),
        "person_psnr": metrics.person_psnr(generated, truth.frames, truth.masks),
        "person_ssim": metrics.person_ssim(generated, truth.frames, truth.masks),
        "person_delta_e": colors.pop("mean"),
        "delta_e_parts": colors,
    }
    spec = truth.spec
    if spec.object.name != "none":
        bare = replace(spec, object=replace(spec.object, name="none"))
        empty = render(bare, len(generated), generated.shape[1], truth.fps, truth.start)
        scores["object_present"] = metrics.object_present(generated, truth.frames, empty.frames)
    return scores


def mean(cases: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Mean of each number over the cases that have it, by name."""
    names = {name for case in cases for name, value in case.items() if isinstance(value, float)}
    return {n: float(np.mean([c[n] for c in cases if n in c])) for n in sorted(names)}


def write_reference(reference: Clip, folder: Path) -> Path:
    """`write_exact` of the clip to learn from; returns its path."""
    return write_exact(reference, folder / "reference.mp4")


def write_exact(clip: Clip, path: Path) -> Path:
    """Write a clip as `path`, an mp4, with exact masks and poses beside it; returns `path`."""
    height, width = clip.frames.shape[1:3]
    video.write(path, clip.frames, clip.fps)
    video.write(path.with_suffix(".masks.mp4"), clip.masks[..., None].repeat(3, -1), clip.fps)
    poses = skeleton.Poses(clip.keypoints, width, height, clip.fps)
    skeleton.write_poses(path.with_suffix(".poses.json"), poses)
    return path


def write_picture(shown: Clip, path: Path) -> Path:
    """Write the first frame of a clip, with its exact mask and pose beside it; returns `path`."""
    height, width = shown.frames.shape[1:3]
    for place, pixels in ((path, shown.frames[0]), (path.with_suffix(".mask.png"), shown.masks[0])):
        with write_aside(place) as aside:
            save_picture(aside, pixels)
    poses = skeleton.Poses(shown.keypoints[:1], width, height, shown.fps)
    skeleton.write_poses(path.with_suffix(".poses.json"), poses)
    return path
