"""The part of `aa demo` in which `aa cast` makes a video of its person from one picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from animateanywhere.backbones.base import base_config, find_base
from animateanywhere.commands.cast import cast
from animateanywhere.commands.cast_job import CastOptions
from animateanywhere.evaluation.perception import Perception
from animateanywhere.evaluation.truth import measure_person, write_picture
from animateanywhere.media import video
from animateanywhere.pose import skeleton
from animateanywhere.puppets import Spec, caption, render

PICTURE = 192  # pixels of a side of the picture

Stage = Callable[[str, Callable[[], Path]], Path]  # makes a file once, under a name


def cast_demo(
    folder: Path, stage: Stage, net: Perception, person: Spec, shown: Spec, base: str
) -> tuple[list[tuple[str, np.ndarray]], dict[str, float]]:
    """Make a video of a person from one picture; returns the rows for the contact sheet, and the
    scores against the true video.

    Writes the picture with its exact mask and pose, the motion, the true video and the result to
    `folder`. person: in whose scene the picture is taken. shown: the scene and motion asked for.
    """
    config = base_config(find_base(base))
    frames, size, fps = int(config["frames"]), int(config["size"]), float(config["fps"])
    truth = render(shown, frames, size, fps, start=1.0)
    video.write(folder / "truth.mp4", truth.frames, fps)
    poses = folder / "motion.poses.json"
    skeleton.write_poses(poses, skeleton.Poses(truth.keypoints, size, size, fps))
    standing = replace(person, motion=replace(person.motion, name="idle"))
    picture = render(standing, frames=1, size=PICTURE)
    path = write_picture(picture, folder / "picture.png")
    prompt = caption(shown, seed=1, person=f"the {person.identity.gender}", appearance=False)
    options = CastOptions(
        pose=poses, base=base, out=folder / "cast.mp4", overwrite=True, no_audio=True,
        contact_sheet=folder / "contact_sheet.png",
    )  # fmt: skip
    made = video.read(stage("cast", lambda: cast(path, prompt, options))).frames
    rows = [
        ("picture", picture.frames),
        (f"aa cast: {prompt}", made),
        ("true render", truth.frames),
    ]
    found = measure_person(net, made, truth)
    return rows, {name: value for name, value in found.items() if isinstance(value, float)}
