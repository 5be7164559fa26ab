"""Estimates of the time and memory that learning and generating will take on this machine.

Counting operations is seldom right within a fifth, so a short run is profiled (`measure`):
seconds of each part, and the peak of memory. The time is then fixed parts and parts that go with
steps, frames and windows; the memory is what is held now and what the profiling run took on top.
"""

from __future__ import annotations

import time
from math import ceil
from typing import NamedTuple

import numpy as np
from rich.markup import escape

from animateanywhere.backbones.base import Base, window_length
from animateanywhere.backbones.vae import decode_latents, encode_frames, latent_count
from animateanywhere.core.device import memory_now, peak_memory
from animateanywhere.core.errors import Failure
from animateanywhere.core.estimate import Estimate, fits, too_much
from animateanywhere.core.findings import Finding
from animateanywhere.core.messages import warn
from animateanywhere.datasets.subject import Subject
from animateanywhere.diffusion.sampling import windows
from animateanywhere.methods.animate_anywhere import appearance_search
from animateanywhere.methods.animate_anywhere.background_augmentation import (
    STEPS as BACKGROUND_STEPS,
)
from animateanywhere.methods.animate_anywhere.cost.measure import (
    BUSY,
    Probe,
    pass_seconds,
    probe,
    room_for_another,
)
from animateanywhere.methods.animate_anywhere.prior_preservation import (
    SHOWN,
    cache_file,
    clip_frames,
)
from animateanywhere.methods.animate_anywhere.settings import Recipe
from animateanywhere.methods.animate_anywhere.validation import held_out
from animateanywhere.metrics import psnr

# The profiling run of the bundled base lasts about 20 s on two cores, half of it loading, and is
# kept: unasked, it may cost a tenth of what is to come, once.
WORTH = 180.0


class Prepared(NamedTuple):
    """What preparing a subject or reading a motion takes: seconds, GB that stay, GB at the peak."""

    seconds: float = 0.0
    held: float = 0.0
    peak: float = 0.0


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
    counts = (own.prior_images, own.prior_clips)
    for name, count, there, each in zip(("image", "clip"), counts, made, (1, length), strict=True):
        if own.prior == "puppets":
            seconds = unit[name] + each * frame["encode"]
        else:
            seconds = unit[name] + own.prior_steps * unit[f"{name}_step"]
        shown = min(count, SHOWN) * each * frame["decode"]
        parts[f"regularization {name}s"] = 0.0 if there else count * seconds + shown
    if extras.background_augmentation:
        each = 2 * frame["encode"] + frame["decode"]
        parts["synthetic backgrounds"] = (
            extras.background_images * (BACKGROUND_STEPS * unit["image_step"] + each)
            + extras.background_clips * (BACKGROUND_STEPS * unit["clip_step"] + length * each)
        )  # fmt: skip
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
    measured: Probe, frames: int, steps: int, length: int, packed: int = 1
) -> dict[str, float]:
    """Seconds of each part of generation; length: latents of a window; packed: frames of each."""
    unit = measured["generate"]
    count = latent_count(frames, packed)
    seen = sum(stop - start for start, stop in windows(count, length, overlap=length // 4))
    return {
        "beginning": unit["fixed"],
        "poses": frames * unit["encode"],
        "steps": steps * unit["step"] * seen / length,
        "pictures": frames * unit["decode"],
    }


def estimate(
    measured: Probe, kind: str, parts: dict[str, float], begun: float | None, prepared: Prepared
) -> Estimate:
    """Of kind "learn" or "generate". begun: when this process began, by the monotonic clock; None
    estimates another one, which begins with loading and then prepares."""
    peak = measured[kind]["memory"]
    if begun is None:
        parts = {
            "loading": measured["start"] + measured["end"],
            "preparing": prepared.seconds,
            **parts,
        }
        memory = max(peak + prepared.held, prepared.peak)
    else:
        parts = {"so far": time.monotonic() - begun, **parts}
        memory = max(memory_now() + peak - measured["memory_start"], peak_memory())
    return Estimate(sum(parts.values()), memory, parts)


def estimate_learning(
    base: Base, subject: Subject, recipe: Recipe, seed: int, begun: float | None = None,
    prepared: Prepared | None = None,
) -> tuple[Estimate | None, list[Finding]]:  # fmt: skip
    """What learning a subject will take, and what follows from that.

    None where it cannot be had, or, with `begun` (see `estimate`), is not worth measuring.
    prepared: what another process spends on the subject first.
    """
    stages = recipe.personal_stages
    rows = sum(s.steps * s.accumulate * (s.batch + s.prior_batch) * s.frames for s in stages)
    measured = _measured(base, recipe, 3 * rows, begun)
    if measured is None or "out_of_memory" in measured:
        return None, [too_much()] if measured else []
    images, clips = (
        cache_file(base, subject.class_word, recipe, seed, video).is_file()
        for video in (False, True)
    )
    poor = bool(recipe.extras.fit_vae_steps) and _poor(base, subject, recipe)
    length = clip_frames(base, recipe)
    parts = learning(measured, recipe, len(subject.frames), length, poor, (images, clips))
    found = estimate(measured, "learn", parts, begun, prepared or Prepared())
    return found, fits(found.memory) + _shared(measured)


def estimate_generation(
    base: Base,
    frames: int,
    steps: int,
    begun: float | None = None,
    prepared: Prepared | None = None,
) -> tuple[Estimate | None, list[Finding]]:
    """What generation will take, as `estimate_learning`."""
    measured = _measured(base, None, 3 * frames * steps, begun)
    if measured is None or "out_of_memory" in measured:
        return None, [too_much()] if measured else []
    parts = generating(measured, frames, steps, window_length(base), base.packed)
    found = estimate(measured, "generate", parts, begun, prepared or Prepared())
    return found, fits(found.memory) + _shared(measured)


def _measured(
    base: Base, recipe: Recipe | None, passes: float, begun: float | None
) -> Probe | None:
    """What is kept, else measured now: if asked for, or where the passes to come take long. That
    loads the base a second time, so not where there is no memory for it."""
    kept = probe(base, recipe, run=False)
    if kept is not None or (begun is not None and passes * pass_seconds(base) <= WORTH):
        return kept
    if not room_for_another(base):
        warn(
            "time and memory are not estimated: there is no free memory to profile a second copy"
            " of the base"
        )
        return None
    try:
        return probe(base, recipe)
    except Failure as error:
        if begun is None:
            raise
        warn(escape(f"{error}; time and memory are not estimated"))  # the work itself may go well
        return None


def _shared(measured: Probe) -> list[Finding]:
    """A note where other programs had much of the processor meanwhile."""
    if measured["busy"] < BUSY:
        return []
    text = f"other programs take {measured['busy']:.0%} of the processor; without them it is faster"
    return [Finding("note", "machine", text)]


def _poor(base: Base, subject: Subject, recipe: Recipe) -> bool:
    """Whether the VAE will be fitted to the clip, from eight of its frames."""
    some = subject.frames[np.linspace(0, len(subject.frames) - 1, 8).astype(int)]
    made = decode_latents(base.vae, encode_frames(base.vae, some))
    return psnr(made, some) < recipe.extras.fit_vae_below
