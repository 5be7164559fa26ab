"""`aa generate`: a video of a prompt (who, where) that follows a driving motion."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.markup import escape

from animateanywhere import __version__
from animateanywhere.backbones.base import Base, sampler_of
from animateanywhere.backbones.frame_shape import in_frames
from animateanywhere.backbones.loading import Loaded, choose_weights, load_with_weights
from animateanywhere.backbones.low_memory import compile_blocks
from animateanywhere.backbones.prompt_weights import has_words, without_token
from animateanywhere.collage.over_frames import each_with_limbs
from animateanywhere.commands.collage_choice import (
    check_steadied,
    is_steadied,
    laid_on,
    limbs_of_run,
)
from animateanywhere.core.errors import UsageError
from animateanywhere.core.estimate import Estimate, compare, in_words
from animateanywhere.core.files import require_free, require_writable, sha256
from animateanywhere.core.findings import refuse, warn_findings
from animateanywhere.core.formats import format_of
from animateanywhere.core.frame_size import Aspect, Size
from animateanywhere.core.messages import say, warn
from animateanywhere.core.paths import RUNS
from animateanywhere.core.run_folder import VIDEOS, mark
from animateanywhere.diffusion.sampling import make_scheduler
from animateanywhere.evaluation.sidecar import earlier_settings, free_name, recorder
from animateanywhere.media import output, video
from animateanywhere.media.content_credentials import check_signer
from animateanywhere.media.output import Loop
from animateanywhere.media.provenance import GENERATED, planned
from animateanywhere.media.sound import Sound
from animateanywhere.media.source import WHOLE, Part
from animateanywhere.methods.animate_anywhere import method
from animateanywhere.methods.animate_anywhere.cost import history
from animateanywhere.methods.animate_anywhere.cost.predict import estimate_generation
from animateanywhere.methods.animate_anywhere.driving_motion import encode_motion, fit_motion
from animateanywhere.methods.animate_anywhere.generation import (
    Sampling,
    render,
    steps_of,
)
from animateanywhere.methods.animate_anywhere.playback import (
    Playback,
    loop_of,
    playback_of,
    sound_of,
)
from animateanywhere.methods.animate_anywhere.prompt import check_prompt, full_prompt
from animateanywhere.methods.animate_anywhere.settings import Loss
from animateanywhere.pose import retarget
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.driving import read_driving

Change = Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]]  # of frames (H, W, 3) uint8


@dataclass(frozen=True)
class GenerateOptions:
    """Options of `generate`. Equal options give equal bytes on one machine."""

    weights: Path | None = None  # personal weights; None: the newest with a token in the prompt
    scale: float = 1.0  # factor on the learned changes
    # Further personal weights of the same base, with scales; the learned changes add up
    others: Sequence[tuple[Path, float]] = ()
    # LoRA files of other tools to apply to the base, with scales (`backbones.external_lora`)
    lora: Sequence[tuple[Path, float]] = ()
    late_only: bool = False  # apply the weights only in the last quarter of the denoising steps
    base: str | None = None  # name or folder; None: the base that the weights were learned on
    # To write (`core.formats`); None: a new .mp4 in runs/<token>
    out: Path | None = None
    overwrite: bool = False  # files that are not earlier results of this command, too
    seed: int = 0
    frames: int | None = None  # maximum length; None: that of the motion
    # Of the frames, as for `frame_shape.in_frames`; None: that of the motion, where the base can
    size: Size | None = None
    aspect: Aspect | None = None
    # Words for hair and clothes to add to the prompt, "" for none; None: those that the weights
    # were learned with
    appearance: str | None = None
    negative: str = ""  # prompt to move away from
    guidance_scale: float | None = None  # None: the base's default
    steps: int | None = None  # denoising steps; None: the base's default
    sampler: str | None = None  # None: the base's default
    fit: retarget.Fit = "bones"  # how the skeleton is adapted to the learned person
    # Whether the person's own limbs are laid over what the network drew; None: the base's default
    collage: bool | None = None
    # Whether what trembles behind the person is steadied; None: with a base that lays limbs
    steady_background: bool | None = None
    person: int | None = None  # number of the one to follow, of several; None: 1
    # If longer than the base's clips: start all windows from the same noise (`sampling.free_noise`)
    free_noise: bool = False
    compiled: bool = False  # torch.compile: up to a minute first, then faster steps
    part: Part = WHOLE  # of the motion; its number of frames is that of `frames`
    fps: float | None = None  # of the video; None: the base's, at which it is generated
    loop: bool = False  # let the end lead to the beginning, see `playback.loop_of`
    no_audio: bool = False  # leave out the sound of the driving video
    contact_sheet: Path | None = None  # PNG of the skeleton before and after fitting, and the video
    backends: Backends | None = None  # pose detectors for a driving video of a person


def generate(prompt: str, pose: Path, options: GenerateOptions = GenerateOptions()) -> Path:
    """Generate a video, and a JSON sidecar with all settings; returns the video's path.

    pose: the driving motion: a video of a person or of a skeleton, or a poses.json. Raises
    UsageError for unusable input, and if the video does not fit into memory.
    """
    begun = time.monotonic()
    if not has_words(prompt):
        raise UsageError('the prompt has no words: say who and where, as in "sks man on a beach"')
    check_steadied(options.collage, options.steady_background)
    _check_out(options, pose)
    check_signer()
    loaded = _load(prompt, options)
    base, learned = loaded.base, loaded.learned
    options = _resolved(options, base)
    full = full_prompt(prompt, loaded, options.appearance)
    check_prompt(options.negative, base, "negative prompt")
    limbs = limbs_of_run(loaded, prompt, options.collage, bool(options.others), options.appearance)
    fps = float(base.config["fps"])
    if options.size is not None:  # before the poses are estimated, which is long
        base = in_frames(base, options.size, "the motion", options.size)
    driving = read_driving(
        pose, fps, options.frames, options.backends, person=options.person, part=options.part
    )
    if options.size is None:
        base = in_frames(base, driving.size, "the motion", None, options.aspect)
    loaded = loaded._replace(base=base)
    loop = loop_of(driving, base) if options.loop else None
    estimate = _estimate(loaded, len(driving.keypoints), options, loop, begun)
    motion, fit = fit_motion(driving, pose.name, base, learned, options.fit)
    limbs = None if limbs is None else laid_on(limbs, motion.fitted, options.collage)
    poses, digest = encode_motion(loaded, motion)
    settings = sidecar(prompt, full, pose, driving.kind, digest, len(motion), loaded, options)
    shown = playback_of(len(motion), base, options.fps, loop)
    suffix = ".mp4" if options.out is None else options.out.suffix.lower()
    sound = None if options.no_audio else sound_of(pose, shown, base, suffix, options.part)
    form = {"format": suffix, "fps": shown.fps, "loop": loop, "sound": sound is not None}
    steady = is_steadied(base, limbs is not None, options.steady_background)
    settings |= {
        "collage": None if limbs is None else limbs.frames,
        "collage_poses": None if limbs is None else limbs.poses,
        "steady_background": steady,
    }
    settings |= {"fit": fit, "output": form, "provenance": planned(GENERATED, suffix)}
    out = options.out
    if out is None:
        folder = RUNS / learned.get("token", "base")
        mark(folder, VIDEOS)
        out = free_name(folder, prompt, options.seed, ".mp4", settings)
    laid = None
    if limbs is not None and motion.fitted is not None:
        laid = partial(each_with_limbs, poses=motion.fitted, collage=limbs.collage, steady=steady)
    record = recorder(out, settings)
    pictures = sample_and_write(loaded, full, poses, shown, sound, out, record, options, laid)
    took = compare(out.with_suffix(".estimate.json"), estimate, begun)
    history.add(base, None, estimate, took)
    if options.contact_sheet is not None:
        rows = motion.rows(video.sheet_frames(len(motion)), fit)
        video.contact_sheet(options.contact_sheet, [*rows, (prompt, pictures)], made=GENERATED)
    say(f"wrote [bold]{escape(str(out))}[/bold]")
    return out


def _load(prompt: str, options: GenerateOptions) -> Loaded:
    weights, learned = choose_weights(prompt, options.weights, options.base)
    require_writable(RUNS if options.out is None else options.out.parent)
    return load_with_weights(
        options.base, weights, learned, options.scale, options.others, options.lora,
        options.late_only,
    )  # fmt: skip


def sample_and_write(
    loaded: Loaded, prompt: str, poses: torch.Tensor, shown: Playback, sound: Sound | None,
    out: Path, record: output.Beside, options: GenerateOptions, laid: Change | None = None,
) -> np.ndarray:  # fmt: skip
    """Sample frames and write them to `out`; return those for the contact sheet, (N, H, W, 3)
    uint8. record: as `beside` of `output.write`. laid: lays limbs over them."""
    base, early = loaded.base, None
    if loaded.untouched is not None:
        alone = method.build(loaded.untouched, Loss(guide=False), video=True).eval()
        early = (alone, without_token(prompt, loaded.learned["token"]))
    network = method.build(base, Loss(guide=False), video=True).eval()
    if options.compiled:
        compile_blocks(network, base.family)
    some, kept = video.sheet_frames(shown.total), list[np.ndarray]()
    sampling = Sampling(
        options.guidance_scale, options.steps, options.sampler, early, options.free_noise,
        options.negative, weighted=True, circle=shown.loop == "circle",
    )  # fmt: skip
    with loaded.autocast:
        frames = render(base, network, prompt, poses, options.seed, sampling)
        frames = islice(frames, shown.total)  # the last latent may contain more
        frames = frames if laid is None else laid(frames)
        frames = _within(loaded.room_for_vae(network), frames)
        frames = output.arranged(_copy_some(frames, set(some.tolist()), kept), shown.order)
        output.write(out, frames, len(shown.order), shown.fps, sound, GENERATED, record)
    return np.stack(kept)


def sidecar(
    prompt: str, full: str, pose: Path, kind: str, digest: str, count: int, loaded: Loaded,
    options: GenerateOptions,
) -> dict[str, Any]:  # fmt: skip
    """Everything that a video depends on, as JSON data. kind: of the driving motion. digest: of its
    skeleton pictures. count: of frames."""
    base = loaded.base
    followed = {} if options.person is None else {"person": options.person}
    return {
        "prompt": prompt,
        "full_prompt": full,
        "negative": options.negative,
        "pose": {
            "file": pose.name,
            "kind": kind,
            "sha256": digest,
            "start": options.part.start,
            "fps": options.part.fps,
        }
        | followed,
        "fit": options.fit,
        "token": loaded.learned.get("token"),
        "weights": None if loaded.weights is None else sha256(loaded.weights),
        "scale": options.scale,
        "others": [[sha256(file), share] for file, share in options.others],
        "lora": [[sha256(file), share] for file, share in options.lora],
        "late_only": loaded.untouched is not None,
        "base": {"name": base.config["name"], "hash": base.hash},
        "seed": options.seed,
        "frames": count,
        "fps": float(base.config["fps"]),
        "size": list(base.frame),
        "sampler": options.sampler,
        "free_noise": options.free_noise,
        "compiled": options.compiled,
        "steps": options.steps,
        "guidance_scale": options.guidance_scale,
        "version": __version__,
        "torch": torch.__version__,
    }


def _check_out(options: GenerateOptions, pose: Path) -> None:
    """Raise UsageError where the result would overwrite the motion or, without `overwrite`, files
    that are not of an earlier result."""
    out, own = options.out, False
    if out is not None:
        suffix, earlier = format_of(out), earlier_settings(out)
        if earlier is not None:
            other = out.with_suffix(earlier["output"]["format"])
            own = other.suffix == suffix
            if not (own or options.overwrite) and other.exists():
                raise UsageError(
                    f"{out.with_suffix('.json')} tells how {other} was made, and --out {out} would "
                    "overwrite it: choose another name, or add --overwrite"
                )
        for path in (out, out.with_suffix(".json"), out.with_suffix(".estimate.json")):
            if pose.resolve() == path.resolve():
                raise UsageError(
                    f"--out {out} would overwrite the motion {pose}: give another name"
                )
            require_free(path, options.overwrite, own if path == out else earlier is not None)
    if options.contact_sheet is not None:
        own = video.is_contact_sheet(options.contact_sheet, GENERATED)
        require_free(options.contact_sheet, options.overwrite, own)


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


def _estimate(
    loaded: Loaded, frames: int, options: GenerateOptions, loop: Loop | None, begun: float
) -> Estimate | None:
    """Estimate and print time and memory. Raises UsageError if memory is too small."""
    assert options.steps is not None
    with loaded.autocast:
        estimate, findings = estimate_generation(
            loaded.base, frames, options.steps, begun, loop == "circle"
        )
    warn_findings("generation", findings)
    refuse("generation", findings)
    if estimate is not None:
        say(f"generation takes about {in_words(estimate)} on this machine")
    return estimate


def _within(
    context: AbstractContextManager[None], frames: Iterable[np.ndarray]
) -> Iterator[np.ndarray]:
    """Pass frames on, within a context. If its end fails, for want of memory, it does so before the
    last frame is taken, and no video is left without its sidecar."""
    with context:
        yield from frames


def _copy_some(
    frames: Iterable[np.ndarray], which: set[int], copies: list[np.ndarray]
) -> Iterator[np.ndarray]:
    """Pass frames on, and append those with the indices `which` to `copies`."""
    for number, frame in enumerate(frames):
        if number in which:
            copies.append(frame)
        yield frame
