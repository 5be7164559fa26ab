"""`aa pose`: the motion of a video as skeleton pictures or keypoints, for other tools."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from rich.markup import escape

from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import folder_aside
from animateanywhere.core.messages import say
from animateanywhere.media import video
from animateanywhere.media.source import WHOLE, Part
from animateanywhere.pose import openpose_drawing, skeleton
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.driving import read_driving


def pose(
    source: Path, out: Path, backends: Backends | None = None, person: int | None = None,
    part: Part = WHOLE, overwrite: bool = False,
) -> Path:  # fmt: skip
    """Write the keypoints of a motion as `aa generate` reads it, unfitted; returns `out`.

    source: a video of a person, a skeleton video or a poses.json. out: .mp4 or a folder of PNG
    pictures, drawn as OpenPose's (`openpose_drawing`), of the size of the source; or .json, a
    poses.json. The frame rate stays. person: the number of one of several. part: of the source.
    overwrite: replace what is there. Raises UsageError as `read_driving` does, and for a folder
    with other files.
    """
    if out.suffix.lower() not in (".mp4", ".json", ""):
        raise UsageError(f"--out {out}: give a .mp4 file, a folder, or a .json file of poses")
    if out.resolve() == source.resolve():
        raise UsageError(f"--out {out} would overwrite the motion: give another name")
    if out.is_dir() and any(not _is_ours(file) for file in out.iterdir()):
        raise UsageError(f"--out {out} contains other files: give a new folder")
    if out.exists() and not (overwrite or (out.is_dir() and not any(out.iterdir()))):
        raise UsageError(f"--out {out} exists: give another name, or add --overwrite")
    rate = part.fps or _rate(source)
    motion = read_driving(source, rate, part.frames, backends, person, part)
    size = f"{motion.width} x {motion.height}"
    if out.suffix.lower() == ".json":
        if motion.pictures is not None:
            raise UsageError(f"{source}: its keypoints cannot be identified: give a video as --out")
        poses = skeleton.Poses(motion.keypoints, motion.width, motion.height, rate)
        skeleton.write_poses(out, poses)
    else:
        pictures = motion.pictures
        if pictures is None:
            pictures = openpose_drawing.draw(motion.keypoints, motion.height, motion.width)
        _write(out, pictures, rate)
    say(escape(f"wrote {out}: {len(motion.keypoints)} frames of {size} at {rate:g} a second"))
    return out


def _write(out: Path, pictures: np.ndarray, fps: float) -> None:
    if out.suffix:
        video.write(out, pictures, fps)
        return
    with folder_aside(out) as aside:
        for number, picture in enumerate(pictures):
            Image.fromarray(picture).save(aside / f"{number:05}.png")


def _is_ours(file: Path) -> bool:
    return file.suffix == ".png" and file.stem.isdecimal() and len(file.stem) == 5


def _rate(source: Path) -> float:
    if source.suffix.lower() == ".json":
        return skeleton.read_all_poses(source).fps
    return video.read_first(source).source_fps
