"""Samples during training: held-out people with captions and scenes of their own, beside the
truth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from animateanywhere.backbones.base import Base
from animateanywhere.backbones.vae import decode_latents
from animateanywhere.media.video import contact_sheet
from animateanywhere.methods.context_anyone.generation import (
    Options,
    cast_latents,
    encode_motion,
    read_reference,
)
from animateanywhere.methods.context_anyone.pairs import Person, people
from animateanywhere.methods.context_anyone.settings import Recipe, Stage

STILLS, CLIPS = 6, 2


def sampler(base: Base, settings: Recipe, stage: Stage, folder: Path) -> Callable[[int], None]:
    """A function of the step that writes `folder`/samples/<step>.png: of people whom no stage is
    trained on, the reference, a video of it by the pose of the truth, one without, and the
    truth."""
    size, fps = int(base.config["size"]), float(base.config["fps"])
    count = CLIPS if stage.frames > 2 else STILLS

    def show(step: int) -> None:
        found = people(settings.corpus, range(count), stage.frames, size, fps, 0, "held-out")
        sheet = []
        for seed, one in enumerate(found):
            picture = np.repeat(one.pictures[:1], stage.frames, 0)
            sheet += [
                ("reference", picture),
                (f"step {step}", _cast(base, one, True, seed)),
                ("without pose", _cast(base, one, False, seed)),
                ("truth", one.frames),
            ]
        contact_sheet(folder / "samples" / f"{step:06d}.png", sheet)

    return show


def _cast(base: Base, one: Person, posed: bool, seed: int) -> np.ndarray:
    """Frames (F, H, W, 3) of a person by the first caption without the appearance."""
    frames, prompt = len(one.frames), one.captions[len(one.captions) // 2]
    poses = encode_motion(base, one.keypoints) if posed else None
    reference = read_reference(base, [one.pictures[0]])
    latents = cast_latents(base, prompt, reference, frames, poses, Options(seed))
    return decode_latents(base.vae, latents, clip=True)[:frames]
