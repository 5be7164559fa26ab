"""The part of `aa demo` in which `aa swap` puts its person into another one's scene."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from animateanywhere.backbones.base import base_config, find_base
from animateanywhere.commands.demo_parts import Stage, scores, standing_picture
from animateanywhere.commands.swap import swap
from animateanywhere.commands.swap_settings import SwapOptions
from animateanywhere.evaluation.perception import Perception
from animateanywhere.evaluation.truth import write_exact
from animateanywhere.media import video
from animateanywhere.methods.anycharv.triplets import on_skeleton
from animateanywhere.metrics import swap as metrics
from animateanywhere.puppets import Spec, render


def swap_demo(
    folder: Path, stage: Stage, net: Perception, person: Spec, old: Spec, base: str
) -> tuple[list[tuple[str, np.ndarray]], dict[str, dict[str, float]]]:
    """Put a person into the scene of another one; returns the rows for the contact sheet, and the
    scores of the swap and of the unchanged scene against the true video.

    Writes picture and scene, each with exact masks and poses, the true video and the swap to
    `folder`. person: in which the picture shows them. old: the scene, with who is in it.
    """
    config = base_config(find_base(base))
    frames, size, fps = int(config["frames"]), int(config["size"]), float(config["fps"])
    new = replace(old, identity=on_skeleton(person.identity, old.identity))
    before, truth = (render(spec, frames, size, fps, start=1.0) for spec in (old, new))
    scene = write_exact(before, folder / "scene.mp4")
    video.write(folder / "truth.mp4", truth.frames, fps)
    character = folder / "character.png"
    picture = standing_picture(person, character)
    sheet = folder / "contact_sheet.png"
    options = SwapOptions(
        base, out=folder / "swap.mp4", overwrite=True, runs=folder / "runs", contact_sheet=sheet
    )
    made = video.read(stage("swap", lambda: swap([character], scene, options))).frames
    rows = [
        ("picture", picture.frames), ("scene", before.frames),
        ("aa swap: that person in the scene", made), ("true render", truth.frames),
    ]  # fmt: skip
    found = {}
    for name, shown in (("swap", made), ("scene", before.frames)):
        nearer = metrics.nearer_to_old(
            shown, truth.frames, truth.parts, before.frames, before.parts
        )
        found[name] = scores(net, shown, truth) | {"nearer_to_old": nearer}
    return rows, found
