"""What `aa evaluate` looks at: videos with what is known of how they were made."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from rich.markup import escape

from animateanywhere import metrics
from animateanywhere.backbones.personal_weights import FILE, build_of, read_metadata
from animateanywhere.core.console import warn
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import sha256
from animateanywhere.evaluation.observe import Observed
from animateanywhere.pose import retarget, skeleton
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.driving import Driving, read_driving

SUBJECT = "subject"  # of a run, as `aa personalize` writes it


@dataclass(frozen=True)
class Target:
    """A video to evaluate."""

    name: str
    video: Path
    sidecar: dict[str, Any] | None  # as `aa generate` writes it
    run: Path  # folder in which its subject and its weights may lie

    def prompt(self, given: str | None) -> str | None:
        """The prompt without the learned token, which CLIP does not know."""
        prompt = given or (self.sidecar or {}).get("prompt")
        token = (self.sidecar or {}).get("token")
        if prompt and token:
            prompt = re.sub(rf"(?<!\w){re.escape(token)}(?!\w)\s*", "", prompt, flags=re.IGNORECASE)
        return prompt or None


def find_targets(path: Path) -> list[Target]:
    """A video, or every video that `aa generate` made in a folder.

    Raises UsageError for a folder without any, and for a sidecar that cannot be read.
    """
    if not path.is_dir():
        return [Target(path.stem, path, read_sidecar(path), path.parent)]
    found = []
    for video in sorted(path.rglob("*.mp4")):
        sidecar = read_sidecar(video)
        if sidecar is not None:
            name = video.relative_to(path).with_suffix("").as_posix()
            found.append(Target(name, video, sidecar, path))
    if not found:
        raise UsageError(
            f"{path}: no video in it that `aa generate` made (an .mp4 with its .json beside it); "
            "generate one, or give a video"
        )
    return found


def read_sidecar(video: Path) -> dict[str, Any] | None:
    """What `aa generate` wrote beside a video; None where there is nothing of it.

    Raises UsageError where it is damaged.
    """
    path = video.with_suffix(".json")
    if not path.is_file():
        return None
    try:
        sidecar = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(
            f"{path}: damaged ({reason}); delete it, or make {video.name} again"
        ) from None
    if not isinstance(sidecar, dict) or not {"prompt", "pose", "fit"} <= sidecar.keys():
        return None  # some other tool's
    numbers = [sidecar.get(key) for key in ("frames", "fps", "size")]
    right = (
        isinstance(sidecar["prompt"], str)
        and all(isinstance(sidecar.get(key), dict) for key in ("pose", "base"))
        and all(isinstance(number, int | float) and number > 0 for number in numbers)
        and sidecar["fit"] in get_args(retarget.Fit)
        and isinstance(sidecar.get("token"), str | None)
    )
    if not right:
        raise UsageError(f"{path}: damaged; delete it, or make {video.name} again")
    return sidecar


def find_motion(target: Target, given: Path | None) -> Path:
    """The file that holds the motion of a video: the one given, or of the name in its sidecar, in
    the folder given, beside the video, in its run or here. Raises UsageError where there is none.
    """
    if given is not None and not given.is_dir():
        return given
    if target.sidecar is None:
        raise UsageError("no --pose" if given is None else f"--pose {given}: give a file of it")
    name = str(target.sidecar["pose"].get("file"))
    places = [given, target.video.parent, target.run, Path()]
    for place in places:
        if place is not None and (place / name).is_file():
            return place / name
    raise UsageError(f"its motion {name} is not found: give --pose FILE, or the folder it is in")


def requested_motion(
    target: Target, path: Path, observed: Observed, backends: Backends, trusted: bool
) -> np.ndarray:
    """The motion that a video was to follow, (F, 18, 3) in its pixels, at most as long as it.

    Where the sidecar's digest says so, the joints are those of the very skeletons that drove the
    video. Otherwise, if the file is trusted, the motion is laid upon what is seen by one scale and
    one shift (`metrics.laid_upon`), as other tools put it where they like.

    Raises:
        UsageError: the file holds no joints, or another motion than the sidecar's and is not
            trusted.
    """
    frames, fps = len(observed.frames), observed.fps
    sidecar = target.sidecar
    if sidecar is not None:
        frames, fps = int(sidecar["frames"]), float(sidecar["fps"])
    driving = read_driving(path, fps, frames, backends)
    if driving.pictures is not None:
        raise UsageError(f"{path.name}: its joints have no names, so poses cannot be compared")
    if sidecar is not None:
        fitted = _fit_motion(driving, sidecar, target)
        size = int(sidecar["size"])
        drawn = hashlib.sha256(skeleton.draw(fitted, size, size).tobytes()).hexdigest()
        if drawn == sidecar["pose"].get("sha256"):
            fitted[..., :2] *= max(observed.frames.shape[1:3]) / size
            return fitted[: len(observed.frames)]
        if not trusted:
            raise UsageError(f"{path}: its skeletons are not those of {target.video.name}")
        text = f"{path.name} gives other skeletons than drove {target.video.name}"
        warn(escape(f"{text}: laid upon the person by one scale and shift"))
    count = min(len(driving.keypoints), len(observed.frames))
    if abs(len(driving.keypoints) - len(observed.frames)) > 1:
        warn(escape(f"{path.name}: its first {count} frames are compared, {fps:g} a second"))
    return metrics.align_motion(driving.keypoints[:count], observed.keypoints[:count])


def _fit_motion(driving: Driving, sidecar: dict[str, Any], target: Target) -> np.ndarray:
    """The motion as `aa generate` fitted it to the person of the weights."""
    build = None
    weights = sidecar.get("weights")
    for file in (target.run / FILE, target.video.parent / FILE):
        if weights is not None and file.is_file() and sha256(file) == weights:
            build = build_of(read_metadata(file))
            break
    where = driving.width, driving.height, int(sidecar["size"])
    return retarget.fit(driving.keypoints, *where, sidecar["fit"], build)
