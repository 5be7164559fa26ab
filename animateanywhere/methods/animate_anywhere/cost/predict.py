"""Estimates of the time and memory that learning and generating will take on this machine.

Counting operations is seldom right within a fifth, so for the time a short run is profiled
(`measure`): it is then fixed parts and parts that go with steps, frames and windows. The memory is
what is held now, and what the work takes beside it (`memory`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from math import inf
from typing import NamedTuple

import numpy as np
from rich.markup import escape

from animateanywhere.backbones.base import Base, window_length
from animateanywhere.backbones.low_memory import generation_precision
from animateanywhere.backbones.vae import decode_latents, encode_frames
from animateanywhere.core.device import memory_now, peak_memory
from animateanywhere.core.errors import Failure
from animateanywhere.core.estimate import Estimate, fits, too_much
from animateanywhere.core.findings import Finding
from animateanywhere.core.messages import warn
from animateanywhere.datasets.subject import Subject
from animateanywhere.methods.animate_anywhere.cost import history, memory, seconds
from animateanywhere.methods.animate_anywhere.cost.measure import (
    BUSY,
    Probe,
    pass_seconds,
    probe,
    room_for_another,
)
from animateanywhere.methods.animate_anywhere.prior_preservation import (
    cache_file,
    clip_frames,
)
from animateanywhere.methods.animate_anywhere.settings import Recipe
from animateanywhere.metrics import psnr

# Seconds of work. The profiling run of the bundled base lasts about 20 s on two cores, half of it
# loading, and the passes that memory is counted in about 4; both are kept. Unasked, they may cost a
# tenth of what is to come, once. In less work it shows by itself whether it fits.
WORTH, BRIEF = 180.0, 40.0


class Prepared(NamedTuple):
    """Preparing a subject or reading a motion in another process, with the base loaded: seconds,
    GB that are held afterwards, GB at the peak until then."""

    seconds: float
    held: float
    peak: float


Start = float | Prepared  # when this process began, by the monotonic clock; else of another one
Range = tuple[float, float]  # GB: at least, and at most


def estimate_learning(
    base: Base, subject: Subject, recipe: Recipe, seed: int, start: Start
) -> tuple[Estimate | None, list[Finding]]:
    """What learning a subject will take, and what follows from that.

    The estimate is None where the time cannot be had, or, unasked, is not worth profiling.
    """
    stages = recipe.personal_stages
    rows = sum(s.steps * s.accumulate * (s.batch + s.prior_batch) * s.frames for s in stages)
    measured, peak, findings = _known(base, recipe, 3 * rows, start)
    if measured is None:
        return None, findings
    images, clips = (
        cache_file(base, subject.class_word, recipe, seed, video).is_file()
        for video in (False, True)
    )
    poor = bool(recipe.extras.fit_vae_steps) and _poor(base, subject, recipe)
    length = clip_frames(base, recipe)
    parts = seconds.learning(measured, recipe, len(subject.frames), length, poor, (images, clips))
    ratios = history.ratios(base, recipe)
    return estimate(measured, peak, parts, start, ratios), findings


def estimate_generation(
    base: Base, frames: int, steps: int, start: Start, circle: bool = False
) -> tuple[Estimate | None, list[Finding]]:
    """What generation will take, as `estimate_learning`."""
    measured, peak, findings = _known(base, None, 3 * frames * steps, start)
    if measured is None:
        return None, findings
    parts = seconds.generating(measured, frames, steps, window_length(base), base.packed, circle)
    return estimate(measured, peak, parts, start, history.ratios(base, None)), findings


def estimate(
    measured: Probe, peak: Range, parts: dict[str, float], start: Start, ratios: Sequence[float]
) -> Estimate:
    """The sum of parts, with what comes before them.

    It is a range: by the ratios of earlier runs (`history`), and where other programs may have
    slowed the profiling run down, at least what it would have been without them.
    """
    if isinstance(start, Prepared):
        before = {"preparing": start.seconds}
        parts = {"loading": measured["start"] + measured["end"], **parts}
    else:
        before = {"so far": time.monotonic() - start}
    alone = 1 - measured["busy"] if measured["busy"] >= BUSY else 1.0
    first, rest = sum(before.values()), sum(parts.values())
    least = first + alone * min(ratios) * rest, peak[0]
    return Estimate(first + max(ratios) * rest, peak[1], {**before, **parts}, least)


def _known(
    base: Base, recipe: Recipe | None, passes: float, start: Start
) -> tuple[Probe | None, Range, list[Finding]]:
    """Measurements of time, if they are there or worth it; GB at the peak; findings about both.

    passes: of one image through the network, that are to come.
    """
    measured = probe(base, recipe, run=False)
    coming = inf
    if measured is None and not isinstance(start, Prepared):
        coming = passes * pass_seconds(base)
        if coming <= BRIEF:
            return None, (0.0, 0.0), []
    peak = _memory(base, recipe, start)
    findings = fits(peak[1], least=peak[0])
    fitting = all(finding.level != "unusable" for finding in findings)
    if measured is None and coming > WORTH and fitting:
        measured = _profiled(base, recipe, start)
    if measured is None:
        return None, peak, findings
    if "out_of_memory" in measured:
        return None, peak, [too_much()]
    return measured, peak, findings + _shared(measured)


def _memory(base: Base, recipe: Recipe | None, start: Start) -> Range:
    """GB at the peak, where `recipe` is None of generation."""
    if recipe is not None:
        peaks = memory.learning(base.folder, base.config, recipe)
    else:
        precision = generation_precision(base.family, base.denoiser.device)
        peaks = memory.generating(base.folder, base.config, precision)
    held, so_far = memory_now(), peak_memory()
    if isinstance(start, Prepared):
        held, so_far = start.held, start.peak
    least, most = memory.needed(base, peaks, held)
    return max(least, so_far), max(most, so_far)


def _profiled(base: Base, recipe: Recipe | None, start: Start) -> Probe | None:
    """Measurements of a profiling run. That loads the base a second time, so not where there is no
    memory for it."""
    if not room_for_another(base):
        warn("the time is not estimated: no memory is free to profile a second copy of the base")
        return None
    try:
        return probe(base, recipe)
    except Failure as error:
        if isinstance(start, Prepared):
            raise
        warn(escape(f"{error}; the time is not estimated"))  # the work itself may go well
        return None


def _shared(measured: Probe) -> list[Finding]:
    """A note where other programs had much of the processor meanwhile."""
    if measured["busy"] < BUSY:
        return []
    text = (
        f"other programs took {measured['busy']:.0%} of the processor while a few steps were "
        "measured; without them it is faster"
    )
    return [Finding("note", "machine", text)]


def _poor(base: Base, subject: Subject, recipe: Recipe) -> bool:
    """Whether the VAE will be fitted to the clip, from eight of its frames."""
    some = subject.frames[np.linspace(0, len(subject.frames) - 1, 8).astype(int)]
    made = decode_latents(base.vae, encode_frames(base.vae, some))
    return psnr(made, some) < recipe.extras.fit_vae_below
