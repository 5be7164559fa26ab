"""Regularization clips of the class, made by the base itself, as DreamBooth's class images are."""

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
from animateanywhere.console import progress, say
from animateanywhere.data.skeleton import draw
from animateanywhere.data.video import contact_sheet
from animateanywhere.files import write_aside
from animateanywhere.methods import animate_anywhere as method
from animateanywhere.models.base import Base, decode_latents, encode_frames
from animateanywhere.recipe import Loss, Recipe
from animateanywhere.render import render_latents

CACHE = Path("runs") / "regularization"


@dataclass(frozen=True)
class Regular:
    """R clips of F frames."""

    latents: Tensor  # (R, F, C, h, w)
    poses: Tensor  # (R, F, C, h, w)
    captions: list[str]


def regularization(base: Base, class_word: str, settings: Recipe, seed: int) -> Regular:
    """Clips of other people of the class in other scenes, cached by base, class and settings.

    Poses and captions come from puppets (skeletons and words fit any base); the pictures are the
    base's own.
    """
    personal = settings.personal
    count = personal.regularization_clips
    key = json.dumps([base.hash, class_word, count, personal.regularization_steps,
                      base.config["guidance_scale"], seed])  # fmt: skip
    path = CACHE / f"{class_word}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.safetensors"
    specs = _cast(class_word, count, seed)
    captions = [_caption(spec, class_word) for spec in specs]
    if not path.is_file():
        latents, poses = _make(base, specs, captions, personal.regularization_steps, seed)
        with write_aside(path) as aside:
            clips = {"latents": latents, "poses": poses}
            save_file({name: x.cpu().contiguous() for name, x in clips.items()}, aside)
        rows = [(caption, decode_latents(base.vae, clip))
                for caption, clip in zip(captions, latents, strict=True)]  # fmt: skip
        contact_sheet(path.with_suffix(".png"), rows)
    made = load_file(path, device=str(base.unet.device))
    return Regular(made["latents"], made["poses"], captions)


def _make(
    base: Base, specs: list[puppets.Spec], captions: list[str], steps: int, seed: int
) -> tuple[Tensor, Tensor]:
    size, frames, fps = base.config["size"], base.config["frames"], base.config["fps"]
    unet = method.build(base, Loss(guide=False), video=True).eval()
    latents, poses = [], []
    say("the base makes regularization clips of the class")
    with progress("regularization", total=len(specs) * steps) as bar:
        for number, (spec, caption) in enumerate(zip(specs, captions, strict=True)):
            skeletons = draw(puppets.render(spec, frames, size, fps).keypoints, size, size)
            pose = encode_frames(base.vae, skeletons)  # (F, C, h, w)
            made = render_latents(
                base, unet, caption, pose, seed * 1000 + number,
                steps=steps, on_step=lambda: bar.advance(1),
            )  # fmt: skip
            latents.append(made)
            poses.append(pose)
    return torch.stack(latents), torch.stack(poses)


def _cast(class_word: str, count: int, seed: int) -> list[puppets.Spec]:
    """People of the class; of either gender where the class does not say."""
    specs: list[puppets.Spec] = []
    number = 0
    while len(specs) < count:
        spec = puppets.sample_spec(int(np.random.default_rng([seed, number]).integers(2**31)))
        if class_word not in ("man", "woman") or spec.identity.gender == class_word:
            specs.append(spec)
        number += 1
    return specs


def _caption(spec: puppets.Spec, class_word: str) -> str:
    """In full where the base knows the class, so that its looks stay in the words."""
    if class_word in ("man", "woman"):
        return puppets.caption(spec, spec.seed)
    return puppets.caption(spec, spec.seed, person=f"a {class_word}", looks=False)
