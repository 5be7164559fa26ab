"""`aa cast`: a picture of a person and a prompt -> a video of that person."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.markup import escape

from animateanywhere.backbones.base import (
    Base,
    base_config,
    family_in,
    find_base,
    load_base,
    window_length,
)
from animateanywhere.backbones.low_memory import room_for_vae, to_device
from animateanywhere.backbones.vae import decode_latents, encode_frames, latent_count
from animateanywhere.collage.limb_collage import Collage
from animateanywhere.collage.over_frames import seconds_of_limbs, with_limbs
from animateanywhere.commands.cast_appearance import check_appearance, find_appearance
from animateanywhere.commands.cast_job import CastOptions, Job, by_vace
from animateanywhere.commands.cast_motion import motion_of
from animateanywhere.commands.cast_output import (
    check_files,
    folder_of,
    named,
    sidecar,
    who_of,
    write,
)
from animateanywhere.commands.cast_prompt import check_words, full_prompt
from animateanywhere.commands.collage_choice import (
    check_steadied,
    collage_of,
    is_steadied,
    no_limbs_on,
)
from animateanywhere.core.device import best_device, peak_memory
from animateanywhere.core.errors import UsageError
from animateanywhere.core.estimate import Estimate, compare, fits, in_words
from animateanywhere.core.files import cache_place
from animateanywhere.core.findings import refuse, warn_findings
from animateanywhere.core.messages import progress, say
from animateanywhere.core.paths import RUNS
from animateanywhere.core.run_folder import VIDEOS, mark
from animateanywhere.diffusion.kept_steps import clear_kept
from animateanywhere.diffusion.sampling import make_scheduler, windows
from animateanywhere.media.content_credentials import check_signer
from animateanywhere.methods.animate_anywhere.driving_motion import Motion
from animateanywhere.methods.animate_anywhere.prompt import check_prompt
from animateanywhere.methods.context_anyone import generation
from animateanywhere.methods.context_anyone.cast_base import load_cast_base
from animateanywhere.methods.context_anyone.phantom import is_phantom, phantom_latents
from animateanywhere.methods.context_anyone.reference_picture import ROOM, reference_picture
from animateanywhere.methods.context_anyone.vace import vace_latents
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.character import Character
from animateanywhere.preprocessing.portrait import read_pictures, unlike

# Skeletons or None, a number of frames, options and what to call after each step -> latents
Latents = Callable[[np.ndarray | None, int, generation.Options, Callable[[], None]], torch.Tensor]
WORTH_KEEPING = 20.0  # seconds of denoising: a shorter one begins again


DEFAULTS = CastOptions()


def cast(picture: Path, prompt: str, options: CastOptions = DEFAULTS) -> Path:
    """Make a video of the person of a picture; returns its path.

    Beside it are the pictures as the network saw them (.reference.png) and all settings (.json).
    Raises UsageError for unusable input, and if the video does not fit into memory.
    """
    paths = [picture, *options.also]
    check_signer()
    check_words(prompt)
    check_steadied(options.collage, options.steady_background)
    check_files(paths, options)
    backends = options.backends or Backends()
    check_appearance(options.appearance, backends)
    base = _load(options.base)
    sampling = _sampling(base, options)
    folder = folder_of(options)
    if options.out is None:
        mark(folder, VIDEOS)
    who = who_of(paths, options)
    known = read_pictures(paths, who, backends, base.frame.height, options.whole)
    if not options.whole:
        who.require_used()
    _tell(known, base)
    full = full_prompt(prompt, find_appearance(prompt, known, options.appearance, backends))
    check_prompt(full, base, "prompt")
    passes = to_device(base, best_device())
    motion = motion_of(base, prompt, known, options, backends)
    frames = options.frames or int(base.config["frames"]) if motion is None else len(motion)
    room = 0.0 if options.whole else ROOM
    pictures = np.stack([
        reference_picture(one.pixels, one.mask, base.frame, room=room) for one in known
    ])  # fmt: skip
    drawn = None if motion is None else motion.skeletons(np.arange(frames))
    collage = _collage(base, known, motion, options)
    steady = is_steadied(base, collage is not None, options.steady_background)
    job = Job(base, full, known, pictures, motion, drawn, frames, sampling, collage, steady)
    settings = sidecar(prompt, job, options)
    begun, steps = time.monotonic(), _steps_folder(settings)
    with named(options, folder, prompt, settings) as out:
        with passes:
            made, estimate = _made(job, begun, steps)
        if collage is not None and motion is not None and motion.fitted is not None:
            with progress("laying limbs", total=len(made)) as bar:
                made = with_limbs(
                    made, motion.fitted, collage, steady=job.steady, advance=lambda: bar.advance(1)
                )
        write(out, made, settings, job, options)
        compare(out.with_suffix(".estimate.json"), estimate, begun)
        clear_kept(steps)
    say(f"wrote [bold]{escape(str(out))}[/bold]")
    return out


def _load(name: str) -> Base:
    """Load a base for `aa cast`, or one that takes pictures in front of a clip. Raises UsageError
    for one that cannot."""
    folder = find_base(name)
    if "command" not in base_config(folder) and family_in(folder).encode_reference is not None:
        return load_base(name)
    return load_cast_base(name)


def _sampling(base: Base, options: CastOptions) -> generation.Options:
    """The options of sampling, with the base's defaults filled in. Raises UsageError for a sampler
    that does not suit the base."""
    asked = generation.Options(
        options.seed, options.steps, options.likeness, options.guidance, options.sampler
    )
    name, scales = generation.sampler_name(base, asked), generation.scales_of(base, asked)
    if by_vace(base):
        if asked.likeness is not None:
            raise UsageError(f"--likeness: {base.family.name} has no guidance on the picture")
        scales = scales._replace(likeness=1.0)
    make_scheduler(base.scheduler.config, name)
    return replace(asked, steps=generation.steps_of(base, asked), sampler=name,
                   likeness=scales.likeness, guidance=scales.guidance)  # fmt: skip


def _tell(known: Sequence[Character], base: Base) -> None:
    """Say what the pictures show and do not, and what the base has never seen."""
    if base.config.get("rendered"):
        say(f"base {base.config['name']} learned from rendered people alone: it saw no photograph")
    for one in known:
        warn_findings(one.path.name, one.findings)
        for finding in one.findings:
            if finding.level == "note":
                say(escape(f"{one.path.name}: {finding.text}"))
    for other in known[1:]:
        warn_findings(other.path.name, unlike(known[0], other))


def _collage(
    base: Base, known: Sequence[Character], motion: Motion | None, options: CastOptions
) -> Collage | None:
    """The limbs to lay over what the network draws. Raises UsageError where they are asked for and
    there is no motion with joints."""
    why = "nothing says where the joints are" if motion is None else no_limbs_on(motion.fitted)
    if not why:
        return collage_of(base, known, options.collage)
    if options.collage:
        raise UsageError(
            f"--collage: {why}: give --pose a video of a person or a poses.json, or --prompt-motion"
        )
    if base.config.get("collage", False) and options.collage is None:
        say(f"no limbs are laid over what the network draws: {why}")
    return None


def _steps_folder(settings: dict[str, Any]) -> Path | None:
    """Where the denoising steps of a video with these settings are kept until it is written; None
    where nothing can be."""
    later = dict.fromkeys(("format", "provenance", "collage", "steady_background"))
    known = {**settings, **later, "device": best_device()}
    key = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:32]
    try:
        return cache_place(RUNS / "unfinished") / key
    except UsageError:
        return None


def _made(job: Job, begun: float, steps_folder: Path | None) -> tuple[np.ndarray, Estimate]:
    """The frames (F, H, W, 3) uint8 of a video, and what was estimated before. Steps of a long
    denoising are kept in a folder, from where it goes on after a stop."""
    base = job.base
    if by_vace(base):
        latents_of = _by_pictures(job)
    else:
        latents_of = _by_phantom(job) if is_phantom(base.config) else _by_reference(job)
    estimate = _estimate(job, latents_of, begun)
    sampling = job.sampling
    if estimate.parts["denoising"] >= WORTH_KEEPING:
        sampling = replace(sampling, steps_folder=steps_folder)
    with progress("generating", total=generation.steps_of(base, sampling)) as bar:
        latents = latents_of(job.drawn, job.frames, sampling, lambda: bar.advance(1))
    with room_for_vae(base):
        return decode_latents(base.vae, latents, clip=True)[: job.frames], estimate


def _by_reference(job: Job) -> Latents:
    """Latents by ContextAnyone, of skeletons or None, a number of frames and options."""
    base = job.base
    reference = generation.read_reference(base, list(job.pictures))

    def latents_of(drawn: np.ndarray | None, frames: int, options: generation.Options,
                   advance: Callable[[], None]) -> torch.Tensor:  # fmt: skip
        poses = None if drawn is None else encode_frames(base.vae, drawn, clip=True)
        return generation.cast_latents(base, job.prompt, reference, frames, poses, options, advance)

    return latents_of


def _by_pictures(job: Job) -> Latents:
    """The same by Wan VACE."""

    def latents_of(drawn: np.ndarray | None, frames: int, options: generation.Options,
                   advance: Callable[[], None]) -> torch.Tensor:  # fmt: skip
        return vace_latents(job.base, job.prompt, job.pictures, frames, drawn, options, advance)

    return latents_of


def _by_phantom(job: Job) -> Latents:
    """The same by Phantom-Wan, which follows no pose."""

    def latents_of(drawn: np.ndarray | None, frames: int, options: generation.Options,
                   advance: Callable[[], None]) -> torch.Tensor:  # fmt: skip
        return phantom_latents(job.base, job.prompt, job.pictures, frames, options, advance)

    return latents_of


def _estimate(job: Job, latents_of: Latents, begun: float) -> Estimate:
    """Estimate and print time and memory from a step of one window and one decoded latent. Raises
    UsageError if memory is too small."""
    base, length = job.base, window_length(job.base)
    start, short = time.monotonic(), min(job.frames, int(base.config["frames"]))
    first = None if job.drawn is None else job.drawn[:short]
    latents = latents_of(first, short, replace(job.sampling, steps=1), lambda: None)
    step = time.monotonic() - start
    with room_for_vae(base):
        decode_latents(base.vae, latents[:1], clip=True)
    decoded = time.monotonic() - start - step
    parts = len(windows(latent_count(job.frames, base.packed), length))
    seconds = {
        "denoising": generation.steps_of(base, job.sampling) * parts * step,
        "frames": job.frames * decoded,
    }
    if job.collage is not None and job.motion is not None and job.motion.fitted is not None:
        seconds["limbs"] = seconds_of_limbs(
            job.motion.fitted, job.motion.frame, job.collage, job.steady
        )
    whole = time.monotonic() - begun + sum(seconds.values())
    estimate = Estimate(whole, peak_memory(), seconds)
    findings = fits(estimate.memory)
    warn_findings("generation", findings)
    refuse("generation", findings)
    say(f"generation takes about {in_words(estimate)} on this machine")
    return estimate
