"""Background augmentation: the person, cut out of the clip, on backgrounds that the base generates.

Eq. 1 ignores the background in the loss, but the network still sees it: a person learned in front
of a single scene is reproduced less well in others. So the base generates pictures of a person of
the class in the same poses in other places, the filmed person is composited over that person, and
captions name the new scene. Ours, not the paper's.
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
from animateanywhere.core.tensor_file import read_cached, write_tensors
from animateanywhere.datasets.subject import Subject
from animateanywhere.media.video import contact_sheet
from animateanywhere.methods.animate_anywhere import method
from animateanywhere.methods.animate_anywhere.encoded_clip import latent_masks
from animateanywhere.methods.animate_anywhere.generation import (
    Sampling,
    render_images,
    render_latents,
)
from animateanywhere.methods.animate_anywhere.own_person import least_visible, spare
from animateanywhere.methods.animate_anywhere.settings import Loss, Recipe
from animateanywhere.methods.animate_anywhere.subject_data import Clips, placed, token_regions
from animateanywhere.preprocessing.captions import template

SHEET = "background_augmentation.png"
SHOWN = 32  # pictures in the sheet
STEPS = 8  # denoising steps: scenes need few


def augment_backgrounds(
    model: Base, subject: Subject, token: str, settings: Recipe, seed: int, length: int, out: Path
) -> Clips:
    """The subject in front of synthetic backgrounds, in all placements: pictures if `length` is 1,
    otherwise clips of at most `length` frames. Writes a contact sheet of pictures to `out`.

    Parts of the base's person that the filmed person does not cover count as background. More
    pictures are generated than used: those in which they stick out most, such as a hat, are left
    out (`own_person`). What the base generates is kept in `out`/training: a GPU may not give the
    same pictures again, and a resumed run needs the same.
    """
    extras, word = settings.extras, subject.class_word
    who = f"{word} {extras.appearance}".strip()
    choices = template.background_captions(token, who)
    video = length > 1
    rng = np.random.default_rng([seed, video])
    count = extras.background_clips if video else extras.background_images
    drawn = count if video else count + spare(model, count)
    length = whole_clip(min(length, len(subject.frames)), model.packed)
    captions = [choices[i] for i in rng.integers(len(choices), size=drawn)]
    starts = rng.integers(len(subject.frames) - length + 1, size=drawn)
    parts = [
        placed(subject.take([at + i for at in some for i in range(length)]), number)
        for number, some in enumerate(np.array_split(starts, min(extras.placements, drawn)))
    ]
    filmed, masks, keypoints = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("frames", "masks", "keypoints")
    )  # (P·F, ...)
    clips = (drawn, length, *filmed.shape[1:])
    skeletons = model.family.draw(keypoints, *filmed.shape[1:3]).reshape(clips)
    with room_for_vae(model):
        poses = each_clip(partial(encode_poses, model), skeletons)  # (P, T, C, h, w)
    prompts = [text.replace(f"{token} ", "") for text in captions]
    kept = out / "training" / f"backgrounds_{'clips' if video else 'images'}.safetensors"
    scenes = read_cached(kept)
    if scenes is None or len(scenes["latents"]) != drawn:  # earlier versions drew fewer
        scenes = {"latents": _generate_scenes(model, prompts, poses, seed, video)}
        write_tensors(kept, scenes)
    generated = scenes["latents"].to(poses.device)
    with room_for_vae(model):
        if video:
            behind = np.concatenate([decode_latents(model.vae, x, clip=True) for x in generated])
        else:
            behind = decode_latents(model.vae, generated[:, 0])
    if not video:
        used = least_visible(model, behind, masks, count)
        filmed, masks, behind, poses = filmed[used], masks[used], behind[used], poses[used]
        captions, clips = [captions[at] for at in used], (count, *clips[1:])
    mask = masks[..., None]
    shown = (mask * filmed + (1 - mask) * behind).round().astype(np.uint8)
    if not video:
        rows = range(0, min(count, SHOWN), 8)
        contact_sheet(out / SHEET, [(captions[at], shown[at : at + 8]) for at in rows])
    with room_for_vae(model):
        latents = each_clip(partial(encode_frames, model.vae), shown.reshape(clips))
    small = [latent_masks(part, latents[0]) for part in masks.reshape(clips[:-1])]
    person = [token, word, extras.appearance]
    regions = token_regions(model, captions, person, list(template.SCENES))
    return Clips(latents, poses, torch.stack(small), captions, regions)


def _generate_scenes(
    model: Base, prompts: list[str], poses: Tensor, seed: int, video: bool
) -> Tensor:
    """Generate from P prompts and pose conditions (P, T, ...): latents (P, T, C, h, w)."""
    unet = method.build(model, Loss(guide=False), video).eval()
    if not model.family.learns_tokens:
        encode_text(model, prompts)  # fills the cache in few passes
    what = f"synthetic backgrounds, {'clips' if video else 'images'}"
    with progress(what, total=len(prompts) * STEPS) as bar:
        if not video:
            latents = render_images(model, unet, prompts, poses[:, 0], seed, STEPS, bar.advance)
            return latents[:, None]
        parts = enumerate(zip(prompts, poses, strict=True))
        return torch.stack([
            render_latents(
                model, unet, prompt, pose, seed * 1000 + number, Sampling(steps=STEPS),
                lambda: bar.advance(1),
            )
            for number, (prompt, pose) in parts
        ])  # fmt: skip
