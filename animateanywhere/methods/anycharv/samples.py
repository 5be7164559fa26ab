"""Samples during training: held-out people in held-out scenes, beside the truth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from animateanywhere.backbones.base import Base
from animateanywhere.core.frame_size import Size
from animateanywhere.media.video import contact_sheet
from animateanywhere.methods.anycharv.generation import (
    Options,
    decode,
    read_cut_outs,
    swap_latents,
)
from animateanywhere.methods.anycharv.masks import regions_of
from animateanywhere.methods.anycharv.reference_picture import GRAY
from animateanywhere.methods.anycharv.settings import Mask, Recipe, Stage
from animateanywhere.methods.anycharv.swap_base import reference_size
from animateanywhere.methods.anycharv.triplets import Triplet, triplets

IMAGES, CLIPS = 8, 2


def held_out(base: Base, settings: Recipe, count: int, frames: int) -> list[Triplet]:
    """People whom no stage is trained on."""
    size, fps = int(base.config["size"]), float(base.config["fps"])
    return list(
        triplets(settings.corpus, range(count), frames, size, fps, reference_size(base), 0,
                 "held-out")
    )  # fmt: skip


def swapped(base: Base, one: Triplet, mask: Mask, hidden: bool, seed: int) -> np.ndarray:
    """The first scene of a held-out person, frames (F, H, W, 3), as the base makes it of the other
    one's frames, by a mask of that one. hidden: as in `Options`."""
    character = read_cut_outs(base, one.pictures, one.picture_keypoints)
    options = Options(seed=seed, mask=mask, hidden=hidden)
    region = regions_of(one.other_masks[0], mask, seed)
    scene, poses = one.other[0], one.keypoints[0]
    return decode(base, swap_latents(base, character, scene, region, poses, options))


def sampler(base: Base, settings: Recipe, stage: Stage, folder: Path) -> Callable[[int], None]:
    """A function of the step that writes `folder`/samples/<step>.png: reference, scene, what the
    base makes of them, and the truth."""

    hidden = stage.kind == "compose"
    mask = settings.swap.compose_mask if hidden else settings.swap.boost_mask

    def show(step: int) -> None:
        video = stage.frames > 1
        people = held_out(base, settings, CLIPS if video else IMAGES, stage.frames)
        made = [swapped(base, one, mask, hidden, seed) for seed, one in enumerate(people)]
        columns = [
            (_shown(one.pictures, one.truth.shape[3], len(frames)), one.other[0], frames,
             one.truth[0])
            for one, frames in zip(people, made, strict=True)
        ]  # fmt: skip
        names = ("reference", "scene", f"step {step}", "truth")
        if video:
            sheet = [(n, x) for column in columns for n, x in zip(names, column, strict=True)]
        else:
            parts = zip(*columns, strict=True)
            sheet = [(n, np.concatenate(x)) for n, x in zip(names, parts, strict=True)]
        contact_sheet(folder / "samples" / f"{step:06d}.png", sheet)

    return show


def _shown(pictures: np.ndarray, side: int, frames: int) -> np.ndarray:
    """Frames (F, side, side, 3) with the reference pictures in turn."""
    size = Size(pictures.shape[2], pictures.shape[1]).scaled(side / max(pictures.shape[1:3]))
    out = np.full((frames, side, side, 3), GRAY, np.uint8)
    x, y = (side - size.width) // 2, (side - size.height) // 2
    for frame, picture in enumerate(pictures[np.arange(frames) % len(pictures)]):
        small = np.asarray(Image.fromarray(picture).resize(size))
        out[frame, y : y + size.height, x : x + size.width] = small
    return out
