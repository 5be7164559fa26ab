"""The part of `aa demo` in which `aa cast` makes a video of its person from one picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from animateanywhere.backbones.base import base_config, find_base
from animateanywhere.commands.cast import cast
from animateanywhere.commands.cast_job import CastOptions
from animateanywhere.commands.demo_parts import Stage, scores, standing_picture
from animateanywhere.evaluation.perception import Perception
from animateanywhere.media import video
from animateanywhere.pose import skeleton
from animateanywhere.puppets import Spec, caption, render


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
    path = folder / "picture.png"
    picture = standing_picture(person, path)
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
    return rows, scores(net, made, truth)
