"""Background augmentation: the person cut out of the clip, before scenes that the base makes.

Eq. 1 leaves out of account what lies behind the person, but the network still sees it: one who was
learned before a single scene looks less like himself before others. So the base makes pictures of
somebody of the class in the same poses in other places, and the filmed person is laid over that
somebody; captions then say what is to be seen. Ours.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from animateanywhere.backbones.base import Base, encode_poses, encode_text
from animateanywhere.backbones.low_memory import room_for_vae
from animateanywhere.backbones.vae import decode_latents, each_clip, encode_frames, whole_clip
from animateanywhere.core.messages import progress
from animateanywhere.datasets.subject import Subject
from animateanywhere.media.video import contact_sheet
from animateanywhere.methods.animate_anywhere import method
from animateanywhere.methods.animate_anywhere.encoded_clip import latent_masks
from animateanywhere.methods.animate_anywhere.generation import render_images, render_latents
from animateanywhere.methods.animate_anywhere.settings import Loss, Recipe
from animateanywhere.methods.animate_anywhere.subject_data import Clips, placed, token_regions
from animateanywhere.pose.skeleton import draw
from animateanywhere.preprocessing.captions import template

SHEET = "background_augmentation.png"
SHOWN = 32  # pictures in it
STEPS = 8  # of denoising: scenes are there early


def augment_backgrounds(
    model: Base, subject: Subject, token: str, settings: Recipe, seed: int, length: int, out: Path
) -> Clips:
    """Pictures, or clips of at most `length` frames if that is more than one, of the subject before
    synthetic backgrounds, in all placements. Of some pictures there is a sheet in `out`.

    The base's own person stands where ours does; what sticks out from behind is background.
    """
    extras, word = settings.extras, subject.class_word
    who = f"{word} {extras.appearance}".strip()
    choices = template.background_captions(token, who)
    video = length > 1
    rng = np.random.default_rng([seed, video])
    count = extras.background_clips if video else extras.background_images
    length = whole_clip(min(length, len(subject.frames)), model.packed)
    captions = [choices[i] for i in rng.integers(len(choices), size=count)]
    starts = rng.integers(len(subject.frames) - length + 1, size=count)
    parts = [
        placed(subject.take([at + i for at in some for i in range(length)]), number)
        for number, some in enumerate(np.array_split(starts, min(extras.placements, count)))
    ]
    filmed, masks, keypoints = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("frames", "masks", "keypoints")
    )  # (P·F, ...)
    clips = (count, length, *filmed.shape[1:])
    skeletons = draw(keypoints, *filmed.shape[1:3]).reshape(clips)
    with room_for_vae(model):
        poses = each_clip(partial(encode_poses, model), skeletons)  # (P, T, C, h, w)
    made = _scenes(model, [text.replace(f"{token} ", "") for text in captions], poses, seed, video)
    with room_for_vae(model):
        if video:
            scenes = np.concatenate([decode_latents(model.vae, clip, clip=True) for clip in made])
        else:
            scenes = decode_latents(model.vae, made[:, 0])
    mask = masks[..., None]
    shown = (mask * filmed + (1 - mask) * scenes).round().astype(np.uint8)
    if not video:
        rows = range(0, min(count, SHOWN), 8)
        contact_sheet(out / SHEET, [(captions[at], shown[at : at + 8]) for at in rows])
    with room_for_vae(model):
        latents = each_clip(partial(encode_frames, model.vae), shown.reshape(clips))
    small = [latent_masks(part, latents[0]) for part in masks.reshape(clips[:-1])]
    person = [token, word, extras.appearance]
    regions = token_regions(model, captions, person, list(template.SCENES))
    return Clips(latents, poses, torch.stack(small), captions, regions)


def _scenes(model: Base, prompts: list[str], poses: Tensor, seed: int, video: bool) -> Tensor:
    """What the base makes of prompts and pose latents (P, T, ...): latents (P, T, C, h, w)."""
    unet = method.build(model, Loss(guide=False), video).eval()
    if not model.family.learns_tokens:
        encode_text(model, prompts)  # all at once, and kept
    what = f"synthetic backgrounds, {'clips' if video else 'images'}"
    with progress(what, total=len(prompts) * STEPS) as bar:
        if not video:
            made = render_images(model, unet, prompts, poses[:, 0], seed, STEPS, bar.advance)
            return made[:, None]
        parts = enumerate(zip(prompts, poses, strict=True))
        return torch.stack([
            render_latents(
                model, unet, prompt, pose, seed * 1000 + number, steps=STEPS,
                on_step=lambda: bar.advance(1),
            )
            for number, (prompt, pose) in parts
        ])  # fmt: skip
