"""`aa cast`: a picture of a person and a prompt -> a video of that person."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from rich.markup import escape

from animateanywhere import __version__
from animateanywhere.backbones.base import (
    Base,
    base_config,
    family_in,
    find_base,
    load_base,
    window_length,
)
from animateanywhere.backbones.borrowing import require_made
from animateanywhere.backbones.low_memory import room_for_vae, to_device
from animateanywhere.backbones.vae import decode_latents, encode_frames, latent_count
from animateanywhere.commands.cast_appearance import check_appearance, find_appearance
from animateanywhere.commands.cast_prompt import check_words, full_prompt
from animateanywhere.commands.swap_output import check_free, check_sheet, result_names
from animateanywhere.core.device import best_device, peak_memory
from animateanywhere.core.errors import UsageError
from animateanywhere.core.estimate import Estimate, compare, fits, in_words
from animateanywhere.core.files import cache_place, require_free, require_writable, write_aside
from animateanywhere.core.findings import refuse, warn_findings
from animateanywhere.core.formats import format_of
from animateanywhere.core.frame_size import square
from animateanywhere.core.messages import progress, say
from animateanywhere.core.name_claim import claim, claimed
from animateanywhere.core.paths import RUNS
from animateanywhere.core.run_folder import VIDEOS, mark
from animateanywhere.diffusion.kept_steps import clear_kept
from animateanywhere.diffusion.sampling import make_scheduler, windows
from animateanywhere.evaluation.sidecar import write_sidecar
from animateanywhere.media import output, video
from animateanywhere.media.content_credentials import check_signer
from animateanywhere.media.provenance import CAST, planned
from animateanywhere.media.source import WHOLE, Part
from animateanywhere.methods.animate_anywhere.driving_motion import Motion
from animateanywhere.methods.animate_anywhere.playback import Playback, sound_of
from animateanywhere.methods.animate_anywhere.prompt import check_prompt
from animateanywhere.methods.context_anyone import generation
from animateanywhere.methods.context_anyone.cast_base import load_cast_base
from animateanywhere.methods.context_anyone.phantom import is_phantom, phantom_latents
from animateanywhere.methods.context_anyone.reference_picture import reference_picture
from animateanywhere.methods.context_anyone.vace import vace_latents
from animateanywhere.pose import retarget
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.character import Character
from animateanywhere.preprocessing.driving import read_driving
from animateanywhere.preprocessing.portrait import read_pictures, unlike
from animateanywhere.preprocessing.quality.motion import motion_findings

DEFAULT = "mini-cast"
PEOPLE = "people.png"
# Skeletons or None, a number of frames, options and what to call after each step -> latents
Latents = Callable[[np.ndarray | None, int, generation.Options, Callable[[], None]], torch.Tensor]
WORTH_KEEPING = 20.0  # seconds of denoising: a shorter one begins again
MOST = 4  # pictures of a person; it is trained with up to 3


@dataclass(frozen=True)
class CastOptions:
    """Options of `cast`. Equal options give equal bytes on one machine."""

    also: Sequence[Path] = ()  # further pictures of the same person
    pose: Path | None = None  # a motion to follow; None: one of the network's own
    base: str = DEFAULT  # name or folder
    # To write (`core.formats`); None: a new .mp4 in runs/cast
    out: Path | None = None
    overwrite: bool = False  # files that are not earlier results of this command, too
    seed: int = 0
    frames: int | None = None  # None: those of the motion, without one those of the base
    # Words for the person's appearance, to add to the prompt; "auto": those that are found, by the
    # caption backend, which finds some in any case if it is a model
    appearance: str | None = None
    likeness: float | None = None  # scale of guidance on the picture; None: the base's default
    guidance: float | None = None  # on the prompt; None: the base's default
    steps: int | None = None  # denoising steps; None: the base's default
    sampler: str | None = None  # None: the base's default
    person: int | None = None  # number of the one in a picture of several
    pose_person: int | None = None  # number of the one to follow in the motion; None: 1
    whole: bool = False  # take the picture as it is: nobody is looked for or cut out
    part: Part = WHOLE  # of the motion
    no_audio: bool = False  # leave out the sound of the motion
    contact_sheet: Path | None = None  # PNG of the pictures, the motion and the video
    backends: Backends | None = None  # of poses, masks and words for the appearance


DEFAULTS = CastOptions()


class Job(NamedTuple):
    """All that a video is made of."""

    base: Base
    prompt: str  # as the network reads it
    known: list[Character]
    pictures: np.ndarray  # (K, H, W, 3) uint8, as the network sees them
    motion: Motion | None
    drawn: np.ndarray | None  # skeletons of the motion (F, H, W, 3) uint8
    frames: int
    sampling: generation.Options


def cast(picture: Path, prompt: str, options: CastOptions = DEFAULTS) -> Path:
    """Make a video of the person of a picture; returns its path.

    Beside it are the pictures as the network saw them (.reference.png) and all settings (.json).
    Raises UsageError for unusable input, and if the video does not fit into memory.
    """
    paths = [picture, *options.also]
    check_signer()
    check_words(prompt)
    _check_files(paths, options)
    base = _load(options.base)
    sampling = _sampling(base, options)
    backends = options.backends or Backends()
    check_appearance(options.appearance, backends)
    folder = RUNS / "cast" if options.out is None else options.out.parent
    if options.out is None:
        mark(folder, VIDEOS)
    known = read_pictures(
        paths, options.person, backends, base.frame.height, folder / PEOPLE, options.whole
    )
    _tell(known, base)
    full = full_prompt(prompt, find_appearance(prompt, known, options.appearance, backends))
    check_prompt(full, base, "prompt")
    passes = to_device(base, best_device())
    motion = _motion(base, known, options, backends)
    frames = options.frames or int(base.config["frames"]) if motion is None else len(motion)
    pictures = np.stack([reference_picture(one.pixels, one.mask, base.frame) for one in known])
    drawn = None if motion is None else motion.skeletons(np.arange(frames))
    job = Job(base, full, known, pictures, motion, drawn, frames, sampling)
    settings = sidecar(prompt, job, options)
    begun, steps = time.monotonic(), _steps_folder(settings)
    with _named(options, folder, prompt, settings) as out:
        with passes:
            made, estimate = _made(job, begun, steps)
        _write(out, made, settings, job, options)
        compare(out.with_suffix(".estimate.json"), estimate, begun)
        clear_kept(steps)
    say(f"wrote [bold]{escape(str(out))}[/bold]")
    return out


@contextmanager
def _named(
    options: CastOptions, folder: Path, prompt: str, settings: dict[str, Any]
) -> Iterator[Path]:
    """The file to write, which no other process writes meanwhile. Raises Failure where one writes
    `options.out`."""
    if options.out is not None:
        with claim(options.out):
            yield options.out
        return
    words = "-".join(re.findall(r"\w+", prompt.lower()))[:60] or "video"
    for out in result_names(folder, f"{words}-{options.seed}", ".mp4", settings):
        with claimed(out) as own:
            if own:
                yield out
                return


def _load(name: str) -> Base:
    """Load a base for `aa cast`, or one that takes pictures in front of a clip. Raises UsageError
    for one that cannot, or with how to make one."""
    if name == DEFAULT:
        require_made(name, "aa cast", "wan-vace-1.3b")
    folder = find_base(name)
    if "command" not in base_config(folder) and family_in(folder).encode_reference is not None:
        return load_base(name)
    return load_cast_base(name)


def _by_vace(base: Base) -> bool:
    """Whether a base is Wan VACE, and none of this method."""
    return base.family.encode_reference is not None


def _check_files(paths: Sequence[Path], options: CastOptions) -> None:
    """Raise UsageError for files that are missing, too many, or would be overwritten."""
    if len(options.also) >= MOST:
        raise UsageError(f"--also: at most {MOST - 1} further pictures of the person")
    given = [*paths, *([] if options.pose is None else [options.pose])]
    for path in given:
        video.check_file(path)
    require_writable(RUNS if options.out is None else options.out.parent)
    out, sheet, written = options.out, options.contact_sheet, list[Path]()
    if out is not None:
        format_of(out)
        check_free(out, options.overwrite, "cast")
        own = out.with_suffix(".json").is_file()  # then it is of this command, or may be replaced
        require_free(_kept(out), options.overwrite, own)
        written += [out, out.with_suffix(".json"), out.with_suffix(".estimate.json"), _kept(out)]
    if sheet is not None:
        require_writable(sheet.parent)
        check_sheet(sheet, out, options.overwrite)
        if out is not None and sheet.resolve() == _kept(out).resolve():
            raise UsageError(
                f"--contact-sheet {sheet}: the pictures as the network sees them are written there"
            )
        written.append(sheet)
    inputs = {path.resolve(): path for path in given}
    for path in written:
        if (one := inputs.get(path.resolve())) is not None:
            raise UsageError(f"{path} would overwrite the input {one}: give another name")


def _kept(out: Path) -> Path:
    """Where the pictures are kept as the network saw them."""
    return out.with_suffix(".reference.png")


def _sampling(base: Base, options: CastOptions) -> generation.Options:
    """The options of sampling, with the base's defaults filled in. Raises UsageError for a sampler
    that does not suit the base."""
    asked = generation.Options(
        options.seed, options.steps, options.likeness, options.guidance, options.sampler
    )
    name, scales = generation.sampler_name(base, asked), generation.scales_of(base, asked)
    if _by_vace(base):
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


def _motion(
    base: Base, known: Sequence[Character], options: CastOptions, backends: Backends
) -> Motion | None:
    """The motion to follow, with the proportions of the person in the pictures."""
    if options.pose is None:
        return None
    if not (_by_vace(base) or base.denoiser.config.get("pose_channels")):
        raise UsageError(f"base {base.config['name']} follows no pose: leave out --pose")
    fps = float(base.config["fps"])
    driving = read_driving(
        options.pose, fps, options.frames, backends, options.pose_person, options.part,
        "--pose-person",
    )  # fmt: skip
    frame = base.frame
    if driving.pictures is not None:
        return Motion(driving, None, retarget.pad(driving.pictures, frame), frame)
    size = square(int(base.config["size"]))
    found = motion_findings(driving.keypoints, driving.size, None, size, fps)
    warn_findings(options.pose.name, found)
    boxed = retarget.letterbox(driving.keypoints, driving.size, frame)
    build = np.stack([one.keypoints for one in known])
    return Motion(driving, retarget.fit_in_place(boxed, build), None, frame, base.family.draw)


def _steps_folder(settings: dict[str, Any]) -> Path | None:
    """Where the denoising steps of a video with these settings are kept until it is written; None
    where nothing can be."""
    known = {**settings, "format": None, "provenance": None, "device": best_device()}
    key = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:32]
    try:
        return cache_place(RUNS / "unfinished") / key
    except UsageError:
        return None


def _made(job: Job, begun: float, steps_folder: Path | None) -> tuple[np.ndarray, Estimate]:
    """The frames (F, H, W, 3) uint8 of a video, and what was estimated before. Steps of a long
    denoising are kept in a folder, from where it goes on after a stop."""
    base = job.base
    if _by_vace(base):
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
    whole = time.monotonic() - begun + sum(seconds.values())
    estimate = Estimate(whole, peak_memory(), seconds)
    findings = fits(estimate.memory)
    warn_findings("generation", findings)
    refuse("generation", findings)
    say(f"generation takes about {in_words(estimate)} on this machine")
    return estimate


def _write(
    out: Path, frames: np.ndarray, settings: dict[str, Any], job: Job, options: CastOptions
) -> None:
    """Write the video, the pictures that it is of, the settings and the contact sheet."""
    base, count, fps = job.base, len(frames), float(job.base.config["fps"])
    sound = None
    if options.pose is not None and not options.no_audio:
        shown = Playback(count, np.arange(count), fps, None)
        sound = sound_of(options.pose, shown, base, out.suffix.lower(), options.part)
    said_in = output.write(out, iter(frames), count, fps, sound, CAST)
    said = {"provenance": settings["provenance"] | {"metadata": said_in}}
    write_sidecar(out, settings | said)  # at once: without it, the result is nobody's
    with write_aside(_kept(out)) as aside:
        Image.fromarray(np.concatenate(job.pictures, 1)).save(aside, format="PNG")
    if options.contact_sheet is not None:
        some = video.sheet_frames(count)
        rows = [] if job.motion is None else job.motion.rows(some, "bones")
        video.contact_sheet(
            options.contact_sheet,
            [("pictures", job.pictures), *rows, (job.prompt, frames[some])],
            made=CAST,
        )


def sidecar(prompt: str, job: Job, options: CastOptions) -> dict[str, Any]:
    """Everything that a video depends on, as JSON data."""
    base, sampling = job.base, job.sampling
    motion: dict[str, Any] | None = None
    if options.pose is not None and job.motion is not None and job.drawn is not None:
        motion = {
            "file": options.pose.name, "kind": job.motion.driving.kind,
            "sha256": hashlib.sha256(job.drawn.tobytes()).hexdigest(), "start": options.part.start,
            "fps": options.part.fps, "sound": not options.no_audio,
        }  # fmt: skip
        if options.pose_person is not None:
            motion["person"] = options.pose_person
    suffix = ".mp4" if options.out is None else options.out.suffix.lower()
    return {
        "command": "cast",
        "prompt": prompt,
        "full_prompt": job.prompt,
        "pictures": [
            {"file": one.path.name, "sha256": one.digest,
             "findings": [finding.text for finding in one.findings]}
            for one in job.known
        ],
        "reference": hashlib.sha256(job.pictures.tobytes()).hexdigest(),
        "person": options.person,
        "whole": options.whole,
        "motion": motion,
        "base": {"name": base.config["name"], "hash": base.hash},
        "frames": job.frames,
        "fps": float(base.config["fps"]),
        "size": list(base.frame),
        "format": suffix,
        "provenance": planned(CAST, suffix),
        "seed": sampling.seed,
        "steps": sampling.steps,
        "likeness": sampling.likeness,
        "guidance": sampling.guidance,
        "sampler": sampling.sampler,
        "version": __version__,
        "torch": torch.__version__,
    }  # fmt: skip
