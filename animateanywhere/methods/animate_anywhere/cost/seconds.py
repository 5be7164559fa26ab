"""Seconds of learning and generating, from those of a few steps that were measured."""

from __future__ import annotations

from math import ceil

from animateanywhere.backbones.vae import latent_count
from animateanywhere.diffusion.circular import circular_windows
from animateanywhere.diffusion.sampling import shared_by, windows
from animateanywhere.methods.animate_anywhere import appearance_search
from animateanywhere.methods.animate_anywhere.background_augmentation import (
    STEPS as BACKGROUND_STEPS,
)
from animateanywhere.methods.animate_anywhere.cost.measure import Probe
from animateanywhere.methods.animate_anywhere.prior_preservation import SHOWN
from animateanywhere.methods.animate_anywhere.settings import Recipe
from animateanywhere.methods.animate_anywhere.validation import held_out


def learning(
    measured: Probe,
    recipe: Recipe,
    frames: int,
    length: int,
    poor: bool = False,
    made: tuple[bool, bool] = (False, False),
) -> dict[str, float]:
    """Seconds of each part of learning a clip, after it is prepared and the base is loaded.

    frames: of the clip. length: frames of a regularization clip. poor: whether the VAE needs
    fitting. made: whether regularization images, and clips, are there already.
    """
    unit, frame = measured["learn"], measured["generate"]
    own, extras = recipe.personal, recipe.extras
    if recipe.extras.checkpoint_selection:
        frames -= len(held_out(frames))
    parts = {"beginning and end": unit["fixed"], "clip": extras.placements * frames * unit["frame"]}
    images = recipe.uses_prior("appearance") or extras.fit_vae_steps
    counts = (
        own.prior_images if images else 0, own.prior_clips if recipe.uses_prior("motion") else 0
    )  # fmt: skip
    for name, count, there, each in zip(("image", "clip"), counts, made, (1, length), strict=True):
        if own.prior == "puppets":
            seconds = unit[name] + each * frame["encode"]
        else:
            seconds = unit[name] + own.prior_steps * unit[f"{name}_step"]
        shown = min(count, SHOWN) * each * frame["decode"]
        parts[f"regularization {name}s"] = 0.0 if there else count * seconds + shown
    if extras.background_augmentation:
        each = 2 * frame["encode"] + frame["decode"]
        image = BACKGROUND_STEPS * unit["background_step"] + each
        clip = BACKGROUND_STEPS * unit["clip_step"] + length * each
        parts["synthetic backgrounds"] = (
            bool(recipe.stages("appearance")) * extras.background_images * image
            + bool(recipe.stages("motion")) * extras.background_clips * clip
        )
    if extras.appearance == appearance_search.AUTO:
        parts["appearance search"] = appearance_search.TRIES * unit["phrase"]
    if extras.fit_vae_steps:
        parts["vae"] = frames * (frame["encode"] + frame["decode"])
        if poor:
            more = (frames + min(own.prior_images, SHOWN)) * frame["decode"]
            parts["vae"] += extras.fit_vae_steps * unit["vae_step"] + more
    for stage in recipe.personal_stages:
        saves = ceil(stage.steps / stage.save_every)
        parts[stage.name] = (
            stage.steps * unit[f"{stage.name}_step"] + saves * unit[f"{stage.name}_save"]
        )
        if (
            recipe.extras.checkpoint_selection
        ):  # and the base's own pictures; of motion, before its steps too
            times = saves + (2 if stage.kind == "motion" else 1)
            parts["scoring"] = parts.get("scoring", 0.0) + times * unit[f"{stage.name}_score"]
    return parts


def generating(
    measured: Probe, frames: int, steps: int, length: int, packed: int = 1, circle: bool = False
) -> dict[str, float]:
    """Seconds of each part of generation; length: latents of a window; packed: frames of each;
    circle: whether windows go around (`diffusion.circular`)."""
    unit = measured["generate"]
    count = latent_count(frames, packed)
    ranges = (circular_windows if circle else windows)(count, length, shared_by(length))
    seen = sum(stop - start for start, stop in ranges)
    return {
        "beginning": unit["fixed"],
        "poses": frames * unit["encode"],
        "steps": steps * unit["step"] * seen / length,
        "pictures": frames * unit["decode"],
    }
