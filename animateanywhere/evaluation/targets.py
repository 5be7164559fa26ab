"""The videos of `aa evaluate`, and what their sidecars say about how they were generated."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape

from animateanywhere import metrics
from animateanywhere.backbones.personal_weights import (
    FILE,
    learned_frame,
    learned_keypoints,
    read_metadata,
)
from animateanywhere.backbones.prompt_weights import plain, without_token
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import sha256
from animateanywhere.core.frame_size import Size
from animateanywhere.core.messages import warn
from animateanywhere.evaluation.observe import Observed
from animateanywhere.evaluation.sidecar import frame_of, read_sidecar
from animateanywhere.media.output import playback
from animateanywhere.media.source import Part
from animateanywhere.pose import openpose_drawing, retarget, skeleton
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.driving import Driving, read_driving

VIDEOS = (".mp4", ".webm", ".gif")  # formats of `aa generate` that can be measured
SUBJECT = "subject"  # folder in a run of `aa personalize`


@dataclass(frozen=True)
class Target:
    """A video to evaluate."""

    name: str
    video: Path
    sidecar: dict[str, Any] | None  # as `aa generate` writes it
    run: Path  # folder that may contain its subject and weights

    def prompt(self, given: str | None) -> str | None:
        """The prompt without the learned token, which CLIP does not know."""
        prompt = given or plain((self.sidecar or {}).get("prompt") or "")
        token = (self.sidecar or {}).get("token")
        if prompt and token:
            prompt = without_token(prompt, token)
        return prompt or None


def find_targets(path: Path) -> list[Target]:
    """A video, or all videos of `aa generate` in a folder.

    Raises UsageError for a folder without any, and for a sidecar that cannot be read.
    """
    if not path.is_dir():
        return [Target(path.stem, path, read_sidecar(path), path.parent)]
    found = []
    for video in sorted(one for one in path.rglob("*") if one.suffix.lower() in VIDEOS):
        sidecar = read_sidecar(video)
        if sidecar is not None:
            name = video.relative_to(path).with_suffix("").as_posix()
            found.append(Target(name, video, sidecar, path))
    if not found:
        raise UsageError(
            f"{path}: contains no video of `aa generate` (.mp4, .webm or .gif with a .json beside "
            "it); generate one, or give a video file"
        )
    return found


def find_motion(target: Target, given: Path | None) -> Path:
    """The file of a video's motion: the given one, or the one named in its sidecar.

    The latter is looked for in the given folder, beside the video, in its run, and in the current
    folder. Raises UsageError if it is not found.
    """
    if given is not None and not given.is_dir():
        return given
    if target.sidecar is None:
        raise UsageError(
            "no --pose" if given is None else f"--pose {given}: give a file, not a folder"
        )
    name = str(target.sidecar["pose"].get("file"))
    places = [given, target.video.parent, target.run, Path()]
    for place in places:
        if place is not None and (place / name).is_file():
            return place / name
    raise UsageError(
        f"its motion {name} was not found: give --pose FILE, or the folder that contains it"
    )


def requested_motion(
    target: Target, path: Path, observed: Observed, backends: Backends, trusted: bool
) -> np.ndarray:
    """The motion that a video was to follow, float32 (F, 18, 3) in its pixels, at most as long.

    If the sidecar's digest confirms it, these are exactly the skeletons that drove the video.
    Otherwise, if the file is trusted, the motion is aligned with the detected keypoints by one
    scale and one shift (`metrics.align_motion`), since other tools place it freely.

    Raises:
        UsageError: the file contains no keypoints, or its motion differs from the sidecar's and it
            is not trusted.
    """
    frames, fps = len(observed.frames), observed.fps
    sidecar = target.sidecar
    if sidecar is not None:
        frames, fps = int(sidecar["frames"]), float(sidecar["fps"])
    asked = {} if sidecar is None else sidecar["pose"]
    part = Part(asked.get("start") or 0.0, None, asked.get("fps"))
    driving = read_driving(path, fps, frames, backends, asked.get("person"), part)
    if driving.pictures is not None:
        raise UsageError(
            f"{path.name}: its keypoints cannot be identified, so poses cannot be compared"
        )
    if sidecar is not None:
        frame = frame_of(sidecar)
        assert frame is not None  # checked by `read_sidecar`
        fitted = _fit_motion(driving, frame, sidecar, target)
        digests = [
            hashlib.sha256(draw(fitted, frame.height, frame.width).tobytes()).hexdigest()
            for draw in (skeleton.draw, openpose_drawing.draw)  # as the base is used to
        ]
        if sidecar["pose"].get("sha256") in digests:
            fitted = fitted[_shown(sidecar, len(fitted), len(observed.frames), observed.fps)]
            fitted[..., :2] *= max(observed.frames.shape[1:3]) / max(frame)
            return fitted
        if not trusted:
            raise UsageError(f"{path}: its skeletons differ from those of {target.video.name}")
        text = f"the skeletons of {path.name} differ from those that drove {target.video.name}"
        warn(escape(f"{text}: aligned with the person by one scale and shift"))
    count = min(len(driving.keypoints), len(observed.frames))
    if abs(len(driving.keypoints) - len(observed.frames)) > 1:
        warn(
            escape(f"{path.name}: only its first {count} frames are compared, at {fps:g} a second")
        )
    return metrics.align_motion(driving.keypoints[:count], observed.keypoints[:count])


def _shown(sidecar: dict[str, Any], count: int, seen: int, seen_fps: float) -> np.ndarray:
    """Which of `count` generated frames each of `seen` frames of the video shows, at most (seen,).
    Their rate may be lower than the video's: in a GIF, equal frames are one."""
    written, fps = sidecar["output"], float(sidecar["fps"])
    rate = float(written["fps"] or fps)
    order = playback(count, fps, rate, written["loop"])
    places = np.round(np.arange(seen) * rate / seen_fps).astype(int)
    return order[places[places < len(order)]]


def _fit_motion(
    driving: Driving, frame: Size, sidecar: dict[str, Any], target: Target
) -> np.ndarray:
    """The motion as `aa generate` fitted it to the person of the weights, (F, 18, 3)."""
    build, learned = None, None
    weights = sidecar.get("weights")
    for file in (target.run / FILE, target.video.parent / FILE):
        if weights is not None and file.is_file() and sha256(file) == weights:
            metadata = read_metadata(file)
            build, learned = learned_keypoints(metadata), learned_frame(metadata)
            break
    return retarget.fit(driving.keypoints, driving.size, frame, sidecar["fit"], build, learned)
