"""Prior preservation: regularization images and clips of other people of the class, the base's own
as in DreamBooth (Ruiz et al. 2023), or of what it was trained on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from animateanywhere import puppets
from animateanywhere.backbones.base import Base, encode_text, noise_share
from animateanywhere.backbones.low_memory import room_for_vae
from animateanywhere.backbones.vae import decode_latents, encode_frames, whole_clip
from animateanywhere.core.files import write_aside
from animateanywhere.core.messages import progress, say
from animateanywhere.core.paths import RUNS
from animateanywhere.core.reporter import Bar
from animateanywhere.media.video import contact_sheet
from animateanywhere.methods.animate_anywhere import method
from animateanywhere.methods.animate_anywhere.encoded_clip import encode_skeletons
from animateanywhere.methods.animate_anywhere.generation import render_latents
from animateanywhere.methods.animate_anywhere.settings import Loss, Recipe

CACHE = RUNS / "regularization"
SHOWN = 40  # images in the contact sheet


@dataclass(frozen=True)
class PriorData:
    """Regularization data: R clips of F frames; images are clips of one."""

    latents: Tensor  # (R, F, C, h, w)
    poses: Tensor  # (R, F, C, h, w)
    captions: list[str]


def prior_data(base: Base, class_word: str, settings: Recipe, seed: int, video: bool) -> PriorData:
    """Images or clips of other people of the class in other scenes, cached by base and settings.

    Poses and captions come from puppets (skeletons and words fit any base); the pictures too where
    the recipe says so, else they are the base's own.
    """
    personal = settings.personal
    count = personal.prior_clips if video else personal.prior_images
    path = cache_file(base, class_word, settings, seed, video)
    length = clip_frames(base, settings) if video else 1
    specs = sample_people(class_word, count, seed if video else seed + 1)
    captions = [caption_of(spec, class_word) for spec in specs]
    if not path.is_file():
        what = f"regularization {'clips' if video else 'images'}"
        if personal.prior == "puppets":
            say(f"rendering {count} {what} of other people")
            with progress(what, total=count) as bar, room_for_vae(base):
                latents, poses = _render(base, specs, length, bar)
        else:
            say(f"the base makes {count} {what} of other people")
            steps = personal.prior_steps
            with progress(what, total=count * steps) as bar:
                latents, poses = generate_prior(base, specs, captions, steps, seed, length, bar)
        with write_aside(path) as aside:
            clips = {"latents": latents, "poses": poses}
            save_file({name: x.cpu().contiguous() for name, x in clips.items()}, aside)
        with room_for_vae(base):
            contact_sheet(path.with_suffix(".png"), _rows(base, captions, latents, video))
    made = load_file(path, device=str(base.denoiser.device))
    return PriorData(made["latents"], made["poses"], captions)


def clip_frames(model: Base, settings: Recipe) -> int:
    """Frames of the clips that the motion stage learns from: whole ones of the base's VAE."""
    frames = [stage.frames for stage in settings.stages("motion")]
    most = min(max(frames, default=10**6), int(model.config["frames"]))
    return whole_clip(most, model.packed)


def cache_file(base: Base, class_word: str, settings: Recipe, seed: int, video: bool) -> Path:
    """Where what `prior_data` makes lies, or will lie."""
    personal = settings.personal
    count = personal.prior_clips if video else personal.prior_images
    made = [personal.prior_steps, base.config["guidance_scale"], noise_share(base)]
    if personal.prior == "puppets":
        made = ["puppets"]
    length = clip_frames(base, settings)
    if video and length != base.config["frames"]:
        made = [*made, length]
    key = json.dumps([base.hash, class_word, video, count, *made, seed])
    return CACHE / f"{class_word}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.safetensors"


def generate_prior(
    base: Base, specs: list[puppets.Spec], captions: list[str], steps: int, seed: int,
    length: int, bar: Bar,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """What the base makes of captions and puppets' poses: latents and poses, both (R, T, ...).
    bar: advanced with every denoising step."""
    size, fps, video = base.config["size"], base.config["fps"], length > 1
    clips = [puppets.render(spec, length, size, fps) for spec in specs]
    with room_for_vae(base):
        poses = [  # (T, C, h, w) each
            encode_skeletons(base, clip.keypoints, size, video) for clip in clips
        ]
    if not base.family.learns_tokens:
        encode_text(base, captions)  # all at once, and kept
    unet = method.build(base, Loss(guide=False), video=video).eval()
    latents = [
        render_latents(
            base, unet, caption, pose, seed * 1000 + number,
            steps=steps, on_step=lambda: bar.advance(1),
        )
        for number, (caption, pose) in enumerate(zip(captions, poses, strict=True))
    ]  # fmt: skip
    return torch.stack(latents), torch.stack(poses)


def _render(base: Base, specs: list[puppets.Spec], length: int, bar: Bar) -> tuple[Tensor, Tensor]:
    size, fps, video = base.config["size"], base.config["fps"], length > 1
    latents, poses = [], []
    times = np.random.default_rng(0).uniform(0, 4, len(specs))  # seconds into the motion
    for spec, start in zip(specs, times, strict=True):
        clip = puppets.render(spec, length, size, fps, float(start))
        latents.append(encode_frames(base.vae, clip.frames, clip=video))  # (T, C, h, w)
        poses.append(encode_skeletons(base, clip.keypoints, size, video))
        bar.advance(1)
    return torch.stack(latents), torch.stack(poses)


def _rows(
    base: Base, captions: list[str], latents: Tensor, video: bool
) -> list[tuple[str, np.ndarray]]:
    """Rows of the contact sheet to look at; images eight in one."""
    if video:
        return [(caption, decode_latents(base.vae, clip, clip=True))
                for caption, clip in zip(captions, latents, strict=True)]  # fmt: skip
    captions, latents = captions[:SHOWN], latents[:SHOWN]
    return [(caption, decode_latents(base.vae, part[:, 0]))
            for caption, part in zip(captions[::8], latents.split(8), strict=True)]  # fmt: skip


def sample_people(class_word: str, count: int, seed: int) -> list[puppets.Spec]:
    """People of the class; of either gender where the class does not say."""
    specs: list[puppets.Spec] = []
    number = 0
    while len(specs) < count:
        spec = puppets.sample_spec(int(np.random.default_rng([seed, number]).integers(2**31)))
        if class_word not in ("man", "woman") or spec.identity.gender == class_word:
            specs.append(spec)
        number += 1
    return specs


def caption_of(spec: puppets.Spec, class_word: str) -> str:
    """In full where the base knows the class, so that its looks stay in the words."""
    if class_word in ("man", "woman"):
        return puppets.caption(spec, spec.seed)
    return puppets.caption(spec, spec.seed, person=f"a {class_word}", appearance=False)
