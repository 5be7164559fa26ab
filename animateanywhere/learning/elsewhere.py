"""The person in other places: cut out of the clip and put before scenes that the base makes.

Eq. 1 leaves out of account what lies behind the person, but the network still sees it: one who was
learned before a single scene looks less like himself before others. So the base makes pictures of
somebody of the class in the same poses in other places, and the filmed person is laid over that
somebody; captions then say what is to be seen. Ours.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from animateanywhere.batch import Subject
from animateanywhere.console import progress
from animateanywhere.data.skeleton import draw
from animateanywhere.data.video import contact_sheet
from animateanywhere.extraction import caption
from animateanywhere.learning.rows import Elsewhere, latent_masks, moved, token_regions
from animateanywhere.methods import animate_anywhere as method
from animateanywhere.models.base import Base, decode_latents, encode_frames, encode_poses
from animateanywhere.recipe import Loss, Personal
from animateanywhere.render import render_images, render_latents

SHEET = "elsewhere.png"
SHOWN = 32  # pictures in it
STEPS = 8  # of denoising: scenes are there early


def put_elsewhere(
    model: Base, subject: Subject, token: str, personal: Personal, seed: int, video: bool, out: Path
) -> Elsewhere:
    """Pictures, or clips, of the person in other places, as filmed or moved about in the frame. Of
    some pictures there is a sheet in `out` to look at.

    The base's own person stands where ours does; what sticks out from behind is background.
    """
    word, looks = subject.class_word, personal.looks
    who = f"{word} {looks}".strip()
    choices = caption.elsewhere(token, who)
    rng = np.random.default_rng([seed, video])
    count = personal.elsewhere_clips if video else personal.elsewhere_images
    length = min(int(model.config["frames"]), len(subject.frames)) if video else 1
    captions = [choices[i] for i in rng.integers(len(choices), size=count)]
    starts = rng.integers(len(subject.frames) - length + 1, size=count)
    parts = [
        moved(part, view) if view else part
        for view, some in enumerate(np.array_split(starts, min(personal.views, count)))
        for part in [subject.take([at + i for at in some for i in range(length)])]
    ]
    filmed, masks, keypoints = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("frames", "masks", "keypoints")
    )
    poses = encode_poses(model, draw(keypoints, *filmed.shape[1:3]))  # (P·F, C, h, w)
    made = _scenes(model, [text.replace(f"{token} ", "") for text in captions], poses, seed, video)
    mask = masks[..., None]
    shown = mask * filmed + (1 - mask) * decode_latents(model.vae, made)
    shown = shown.round().astype(np.uint8)
    if not video:
        rows = range(0, min(count, SHOWN), 8)
        contact_sheet(out / SHEET, [(captions[at], shown[at : at + 8]) for at in rows])
    latents = encode_frames(model.vae, shown)
    latents, poses, small = (
        x.unflatten(0, (count, length)) for x in (latents, poses, latent_masks(masks, latents))
    )
    regions = token_regions(model, captions, [token, word, looks], list(caption.PLACES))
    return Elsewhere(latents, poses, small, captions, regions)


def _scenes(model: Base, prompts: list[str], poses: Tensor, seed: int, video: bool) -> Tensor:
    """What the base makes of prompts: latents like the pose latents (P·F, C, h, w)."""
    unet = method.build(model, Loss(guide=False), video).eval()
    what = "clips of the person elsewhere" if video else "the person elsewhere"
    with progress(what, total=len(prompts) * STEPS) as bar:
        if not video:
            return render_images(model, unet, prompts, poses, seed, STEPS, bar.advance)
        parts = enumerate(zip(prompts, poses.chunk(len(prompts)), strict=True))
        return torch.cat([
            render_latents(
                model, unet, prompt, pose, seed * 1000 + number, steps=STEPS,
                on_step=lambda: bar.advance(1),
            )
            for number, (prompt, pose) in parts
        ])  # fmt: skip
