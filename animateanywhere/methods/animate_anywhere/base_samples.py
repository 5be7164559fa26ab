"""Evaluation of a base during training on held-out people: samples, and the effect of captions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from animateanywhere import puppets
from animateanywhere.backbones.base import Base, encode_poses, encode_text
from animateanywhere.backbones.vae import decode_latents, encode_frames
from animateanywhere.diffusion.losses import add_noise, level, target
from animateanywhere.media.video import contact_sheet
from animateanywhere.methods.animate_anywhere.generation import Sampling, render_latents
from animateanywhere.pose.skeleton import heat

IMAGES, CLIPS, STEPS = 8, 2, 15
TOGETHER = 8  # renders in one pass of the UNet
HELD_OUT = 64  # renders that no stage is trained on


def held_out_puppets(size: int) -> list[puppets.Clip]:
    """One frame each of held-out people, whom no stage is trained on."""
    specs = [puppets.sample_spec(n, split="held-out") for n in range(HELD_OUT)]
    return puppets.render_batch(specs, [0.5] * HELD_OUT, size=size)


def sampler(base: Base, unet: nn.Module, folder: Path, frames: int) -> Callable[[int], None]:
    """A function of the step that writes `folder`/samples/<step>.png: renders, their poses, and
    what the base generates from pose and caption. frames: 1 for images, more for clips."""
    size, fps = base.config["size"], base.config["fps"]
    clips = [
        puppets.render(puppets.sample_spec(n, split="held-out"), frames, size, fps)
        for n in range(IMAGES if frames == 1 else CLIPS)
    ]
    skeletons = [base.family.draw(clip.keypoints, size, size) for clip in clips]

    def show(step: int) -> None:
        samples = []
        for seed, (clip, skeleton) in enumerate(zip(clips, skeletons, strict=True)):
            poses = encode_poses(base, skeleton)  # (F, C, h, w)
            latents = render_latents(base, unet, clip.caption, poses, seed, Sampling(steps=STEPS))
            samples.append(decode_latents(base.vae, latents))
        columns = list(zip([c.frames for c in clips], skeletons, samples, strict=True))
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


def caption_errors(base: Base) -> Callable[[], dict[str, float]]:
    """A function that measures how much captions help the base's image UNet to predict a person.

    It returns the squared error of the clean latents near the person's limbs on held-out renders at
    the last timestep, where almost all information comes from pose and caption: with full captions,
    with captions that do not name the appearance, and with empty captions. If the first two are
    equal, clothes cannot follow a prompt; this is visible here long before it is in samples.
    """
    size = base.config["size"]
    clips = held_out_puppets(size)
    specs = [clip.spec for clip in clips]
    frames = np.concatenate([clip.frames for clip in clips])
    keypoints = np.concatenate([clip.keypoints for clip in clips])
    latents = encode_frames(base.vae, frames)[:, None]  # (N, 1, C, h, w)
    pose_latents = encode_poses(base, base.family.draw(keypoints, size, size))[:, None]
    near = torch.from_numpy(heat(keypoints, size, latents.shape[-1])).to(latents)
    captions = {
        "person_full": [puppets.caption(spec, spec.seed) for spec in specs],
        "person_no_appearance": [puppets.caption(s, s.seed, appearance=False) for s in specs],
        "person_no_caption": [""] * HELD_OUT,
    }
    network = base.family.build(base, False)
    scheduler = base.scheduler_for(network)
    last = torch.full((HELD_OUT,), scheduler.config.num_train_timesteps - 1)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0)).to(latents)
    levels = level(scheduler, last.to(latents.device))
    kind = scheduler.config.prediction_type
    # Factor from the squared error of v or of the noise to that of the clean latents
    share = levels.noise[0] ** 2 / (levels.signal[0] ** 2 if kind == "epsilon" else 1)

    @torch.no_grad()
    def measure() -> dict[str, float]:
        network.eval()
        x = add_noise(latents, noise, levels)
        wanted = target(latents, noise, levels, kind)
        out = {}
        for name, texts in captions.items():
            parts = x, last.to(x.device), pose_latents, encode_text(base, texts)
            y = torch.cat([
                base.family.predict(network, *some)
                for some in zip(*(part.split(TOGETHER) for part in parts), strict=True)
            ])  # fmt: skip
            error = share * (wanted - y).square().mean(2)[:, 0]  # (N, h, w)
            out[name] = float((near * error).sum() / near.sum())
        return out

    return measure
