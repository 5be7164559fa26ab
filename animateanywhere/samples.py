"""Pictures that a base makes while it trains, always of the same held-out people and poses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch import nn

from animateanywhere import puppets
from animateanywhere.data.skeleton import draw
from animateanywhere.data.video import contact_sheet
from animateanywhere.models.base import Base, decode_latents, encode_frames
from animateanywhere.render import render_latents

IMAGES, CLIPS, STEPS = 8, 2, 15


def sampler(base: Base, unet: nn.Module, folder: Path, frames: int) -> Callable[[int], None]:
    """A function of the step that writes `folder`/samples/<step>.png: render, pose, and what the
    base makes of its caption. frames: 1 for stills in one row each, else clips."""
    size, fps = base.config["size"], base.config["fps"]
    clips = [
        puppets.render(puppets.sample_spec(n, split="held-out"), frames, size, fps)
        for n in range(IMAGES if frames == 1 else CLIPS)
    ]
    skeletons = [draw(clip.keypoints, size, size) for clip in clips]

    def show(step: int) -> None:
        made = []
        for seed, (clip, skeleton) in enumerate(zip(clips, skeletons, strict=True)):
            poses = encode_frames(base.vae, skeleton)  # (F, C, h, w)
            latents = render_latents(base, unet, clip.caption, poses, seed, steps=STEPS)
            made.append(decode_latents(base.vae, latents))
        columns = list(zip([c.frames for c in clips], skeletons, made, strict=True))
        names = ("render", "pose", f"step {step}")
        if frames == 1:
            rows = [
                (n, np.concatenate(x))
                for n, x in zip(names, zip(*columns, strict=True), strict=True)
            ]
        else:
            rows = [(n, x) for column in columns for n, x in zip(names, column, strict=True)]
        contact_sheet(folder / "samples" / f"{step:06d}.png", rows)

    return show
