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
from torch.nn import functional as F

from animateanywhere.batch import Subject
from animateanywhere.console import progress
from animateanywhere.data.skeleton import draw
from animateanywhere.data.video import contact_sheet
from animateanywhere.extraction import caption
from animateanywhere.learning.rows import Elsewhere, moved, token_regions
from animateanywhere.methods import animate_anywhere as method
from animateanywhere.models.base import Base, decode_latents, encode_frames, encode_poses
from animateanywhere.recipe import Loss, Personal
from animateanywhere.render import render_images

SHEET = "elsewhere.png"
SHOWN = 32  # pictures in it
STEPS = 8  # of denoising: scenes are there early


def put_elsewhere(
    model: Base, subject: Subject, token: str, personal: Personal, seed: int, out: Path
) -> Elsewhere:
    """Pictures of the person in other places, as filmed or moved about in the frame, and a sheet of
    some in `out` to look at.

    The base's own person stands where ours does; what sticks out from behind lies in the
    background, which hardly counts.
    """
    word, looks = subject.class_word, personal.looks
    who = f"{word} {looks}".strip()
    choices = caption.elsewhere(token, who)
    rng = np.random.default_rng(seed)
    captions = [choices[i] for i in rng.integers(len(choices), size=personal.elsewhere_images)]
    frames = rng.integers(len(subject.frames), size=len(captions))
    parts = [
        moved(part, view) if view else part
        for view, some in enumerate(np.array_split(frames, personal.views))
        for part in [subject.take(some.tolist())]
    ]
    filmed, masks, keypoints = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("frames", "masks", "keypoints")
    )
    poses = encode_poses(model, draw(keypoints, *filmed.shape[1:3]))  # (P, C, h, w)
    prompts = [text.replace(f"{token} ", "") for text in captions]
    unet, steps = method.build(model, Loss(guide=False), video=False).eval(), STEPS
    with progress("the person elsewhere", total=len(captions) * steps) as bar:
        made = render_images(model, unet, prompts, poses, seed, steps, bar.advance)
    mask = masks[..., None]
    shown = mask * filmed + (1 - mask) * decode_latents(model.vae, made)
    shown = shown.round().astype(np.uint8)
    starts = range(0, min(len(shown), SHOWN), 8)
    contact_sheet(out / SHEET, [(captions[at], shown[at : at + 8]) for at in starts])
    fine = torch.from_numpy(masks)[:, None].to(made)  # (P, 1, H, W)
    small = F.interpolate(fine, made.shape[-2:], mode="area")
    person = [token, word, *([looks] if looks else [])]
    regions = token_regions(model, captions, person, list(caption.PLACES))
    return Elsewhere(encode_frames(model.vae, shown), poses, small, captions, regions)
