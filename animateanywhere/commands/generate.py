"""`aa generate`: a video of a prompt (who, where) that follows a driving motion."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from rich.markup import escape

from animateanywhere.backbones.base import Base, sampler_of
from animateanywhere.backbones.frame_shape import in_frames
from animateanywhere.backbones.loading import Loaded, choose_weights, load_with_weights
from animateanywhere.backbones.prompt_weights import has_words
from animateanywhere.collage.over_frames import seconds_of_limbs
from animateanywhere.commands.collage_choice import (
    check_steadied,
    is_steadied,
    laid_on,
    limbs_of_run,
    warn_of_clothes,
)
from animateanywhere.commands.generate_job import GenerateOptions, Job
from animateanywhere.commands.generate_output import (
    check_out,
    out_of,
    sample_and_write,
    sidecar,
    write_sheet,
)
from animateanywhere.core.errors import UsageError
from animateanywhere.core.estimate import Estimate, compare, in_words, with_part
from animateanywhere.core.files import require_writable
from animateanywhere.core.findings import refuse, warn_findings
from animateanywhere.core.messages import say, warn
from animateanywhere.core.paths import RUNS
from animateanywhere.diffusion.sampling import make_scheduler
from animateanywhere.media.content_credentials import check_signer
from animateanywhere.methods.animate_anywhere.cost import history
from animateanywhere.methods.animate_anywhere.cost.predict import estimate_generation
from animateanywhere.methods.animate_anywhere.driving_motion import encode_motion, fit_motion
from animateanywhere.methods.animate_anywhere.generation import steps_of
from animateanywhere.methods.animate_anywhere.playback import loop_of, playback_of, sound_of
from animateanywhere.methods.animate_anywhere.prompt import check_prompt, full_prompt
from animateanywhere.preprocessing.driving import Driving, read_driving

__all__ = ["GenerateOptions", "generate"]

DEFAULTS = GenerateOptions()


def generate(prompt: str, pose: Path, options: GenerateOptions = DEFAULTS) -> Path:
    """Generate a video, and a JSON sidecar with all settings; returns the video's path.

    pose: the driving motion: a video of a person or of a skeleton, or a poses.json. Raises
    UsageError for unusable input, and if the video does not fit into memory.
    """
    begun = time.monotonic()
    _check(prompt, pose, options)
    job = _job(prompt, pose, options)
    estimate = _estimate(job, begun)
    poses, digest = encode_motion(job.loaded, job.motion)
    settings = sidecar(job, digest)
    out = out_of(job, settings)
    pictures = sample_and_write(job, poses, out, settings)
    took = compare(out.with_suffix(".estimate.json"), estimate, begun)
    history.add(job.loaded.base, None, estimate, took)
    if options.contact_sheet is not None:
        write_sheet(options.contact_sheet, job, pictures)
    say(f"wrote [bold]{escape(str(out))}[/bold]")
    return out


def _check(prompt: str, pose: Path, options: GenerateOptions) -> None:
    """Raise UsageError for what cannot be meant, before any work."""
    if not has_words(prompt):
        raise UsageError('the prompt has no words: say who and where, as in "sks man on a beach"')
    check_steadied(options.collage, options.steady_background)
    check_out(options, pose)
    check_signer()


def _job(prompt: str, pose: Path, options: GenerateOptions) -> Job:
    """Load the base and the weights, and read the motion; says how the video will be."""
    loaded = _load(prompt, options)
    learned = loaded.learned
    options = _resolved(options, loaded.base)
    full = full_prompt(prompt, loaded, options.appearance)
    check_prompt(options.negative, loaded.base, "negative prompt")
    limbs = limbs_of_run(loaded, prompt, options.collage, bool(options.others), options.appearance)
    loaded, driving = _driving(loaded, pose, options)
    base = loaded.base
    loop = loop_of(driving, base) if options.loop else None
    motion, fit = fit_motion(driving, pose.name, base, learned, options.fit)
    limbs = None if limbs is None else laid_on(limbs, motion.fitted, options.collage)
    if limbs is not None:
        warn_of_clothes(prompt, learned)
    steady = is_steadied(base, limbs is not None, options.steady_background)
    shown = playback_of(len(motion), base, options.fps, loop)
    suffix = ".mp4" if options.out is None else options.out.suffix.lower()
    sound = None if options.no_audio else sound_of(pose, shown, base, suffix, options.part)
    return Job(
        loaded, options, prompt, full, pose, motion, fit, limbs, steady, shown, suffix, sound
    )


def _driving(loaded: Loaded, pose: Path, options: GenerateOptions) -> tuple[Loaded, Driving]:
    """The motion, and the base in the frames that are asked for or that suit it."""
    base = loaded.base
    if options.size is not None:  # before the poses are estimated, which is long
        base = in_frames(base, options.size, "the motion", options.size)
    driving = read_driving(
        pose, float(base.config["fps"]), options.frames, options.backends,
        person=options.person, part=options.part,
    )  # fmt: skip
    if options.size is None:
        base = in_frames(base, driving.size, "the motion", None, options.aspect)
    return loaded._replace(base=base), driving


def _load(prompt: str, options: GenerateOptions) -> Loaded:
    weights, learned = choose_weights(prompt, options.weights, options.base)
    require_writable(RUNS if options.out is None else options.out.parent)
    return load_with_weights(
        options.base, weights, learned, options.scale, options.others, options.lora,
        options.late_only,
    )  # fmt: skip


def _resolved(options: GenerateOptions, base: Base) -> GenerateOptions:
    """Fill in the base's defaults for sampler, steps and guidance scale. Raises UsageError for a
    sampler that does not work with this base."""
    scale, sampler = options.guidance_scale, options.sampler or sampler_of(base)
    make_scheduler(base.scheduler.config, sampler)
    scale = float(base.config["guidance_scale"]) if scale is None else scale
    if options.negative and scale == 1:
        warn("--negative has no effect at a guidance scale of 1: give --guidance 3, for example")
    steps = options.steps or steps_of(base)
    return replace(options, guidance_scale=scale, steps=steps, sampler=sampler)


def _estimate(job: Job, begun: float) -> Estimate | None:
    """Estimate and print time and memory. Raises UsageError if memory is too small."""
    loaded, motion, steps = job.loaded, job.motion, job.options.steps
    assert steps is not None
    with loaded.autocast:
        estimate, findings = estimate_generation(
            loaded.base, len(motion), steps, begun, job.shown.loop == "circle"
        )
    warn_findings("generation", findings)
    refuse("generation", findings)
    if estimate is None:
        return None
    if job.limbs is not None and motion.fitted is not None:
        laying = seconds_of_limbs(motion.fitted, motion.frame, job.limbs.collage, job.steady)
        estimate = with_part(estimate, "limbs", laying)
    say(f"generation takes about {in_words(estimate)} on this machine")
    return estimate
