"""The files that `aa cast` writes: their names, what they must not replace, what is in them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from animateanywhere import __version__
from animateanywhere.commands.cast_job import CastOptions, Job
from animateanywhere.commands.swap_output import check_free, check_sheet, result_names
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import (
    require_free,
    require_no_input,
    require_writable,
    write_aside,
)
from animateanywhere.core.formats import format_of
from animateanywhere.core.name_claim import claim, claimed
from animateanywhere.core.paths import RUNS
from animateanywhere.evaluation.sidecar import recorder
from animateanywhere.media import output, video
from animateanywhere.media.provenance import CAST, planned
from animateanywhere.methods.animate_anywhere.playback import Playback, sound_of
from animateanywhere.preprocessing.character import cut_out_digest
from animateanywhere.preprocessing.portrait import PERSON
from animateanywhere.preprocessing.who import Who

PEOPLE = "people.png"
MOST = 4  # pictures of a person; it is trained with up to 3


def folder_of(options: CastOptions) -> Path:
    """The folder of the video, and of the numbered picture where several persons are shown."""
    return RUNS / "cast" if options.out is None else options.out.parent


def who_of(paths: Sequence[Path], options: CastOptions) -> Who:
    """Who is meant in the pictures."""
    return Who(paths, options.person, folder_of(options) / PEOPLE, PERSON)


def check_files(paths: Sequence[Path], options: CastOptions) -> None:
    """Raise UsageError for files that are missing, too many, or would be overwritten."""
    if len(options.also) >= MOST:
        raise UsageError(f"--also: at most {MOST - 1} further pictures of the person")
    given = [*paths, *([] if options.pose is None else [options.pose])]
    for path in given:
        video.check_file(path)
    require_writable(RUNS if options.out is None else options.out.parent)
    out, sheet = options.out, options.contact_sheet
    written = list(who_of(paths, options).numbered().values())
    if out is not None:
        format_of(out)
        check_free(out, options.overwrite, "cast")
        own = out.with_suffix(".json").is_file()  # then it is of this command, or may be replaced
        require_free(_kept(out), options.overwrite, own)
        written += [out, out.with_suffix(".json"), out.with_suffix(".estimate.json"), _kept(out)]
    if sheet is not None:
        require_writable(sheet.parent)
        check_sheet(sheet, out, options.overwrite, CAST)
        if out is not None and sheet.resolve() == _kept(out).resolve():
            raise UsageError(
                f"--contact-sheet {sheet}: the pictures as the network sees them are written there"
            )
        written.append(sheet)
    require_no_input(written, given)


def _kept(out: Path) -> Path:
    """Where the pictures are kept as the network saw them."""
    return out.with_suffix(".reference.png")


@contextmanager
def named(
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


def write(
    out: Path, frames: np.ndarray, settings: dict[str, Any], job: Job, options: CastOptions
) -> None:
    """Write the video, the pictures that it is of, the settings and the contact sheet."""
    base, count, fps = job.base, len(frames), float(job.base.config["fps"])
    sound = None
    if options.pose is not None and not options.no_audio:
        shown = Playback(count, np.arange(count), fps, None)
        sound = sound_of(options.pose, shown, base, out.suffix.lower(), options.part)
    record = recorder(out, settings)
    output.write(out, iter(frames), count, fps, sound, job.made, record)
    with write_aside(_kept(out)) as aside:
        Image.fromarray(np.concatenate(job.pictures, 1)).save(aside, format="PNG")
    if options.contact_sheet is not None:
        some = video.sheet_frames(count)
        rows = [] if job.motion is None else job.motion.rows(some, "bones")
        video.contact_sheet(
            options.contact_sheet,
            [("pictures", job.pictures), *rows, (job.prompt, frames[some])],
            made=job.made,
        )


def sidecar(prompt: str, job: Job, options: CastOptions) -> dict[str, Any]:
    """Everything that a video depends on, as JSON data."""
    base, sampling = job.base, job.sampling
    motion: dict[str, Any] | None = None
    if job.motion is not None and job.drawn is not None:
        motion = {"kind": job.motion.driving.kind,
                  "sha256": hashlib.sha256(job.drawn.tobytes()).hexdigest()}  # fmt: skip
        if options.pose is not None:
            motion |= {"file": options.pose.name, "start": options.part.start,
                       "fps": options.part.fps, "sound": not options.no_audio}  # fmt: skip
            if options.pose_person is not None:
                motion["person"] = options.pose_person
    suffix = ".mp4" if options.out is None else options.out.suffix.lower()
    return {
        "command": "cast",
        "prompt": prompt,
        "full_prompt": job.prompt,
        **({"appearance": options.appearance} if options.appearance else {}),
        "pictures": [
            {"file": one.path.name, "sha256": one.digest, "cut_out": cut_out_digest(one),
             "findings": [finding.text for finding in one.findings]}
            for one in job.known
        ],
        "reference": hashlib.sha256(job.pictures.tobytes()).hexdigest(),
        "person": options.person,
        "whole": options.whole,
        "motion": motion,
        "collage": job.collage is not None,
        "steady_background": job.steady,
        "base": {"name": base.config["name"], "hash": base.hash},
        "frames": job.frames,
        "fps": float(base.config["fps"]),
        "size": list(base.frame),
        "format": suffix,
        "provenance": planned(job.made, suffix),
        "seed": sampling.seed,
        "steps": sampling.steps,
        "likeness": sampling.likeness,
        "guidance": sampling.guidance,
        "sampler": sampling.sampler,
        "version": __version__,
        "torch": torch.__version__,
    }  # fmt: skip
