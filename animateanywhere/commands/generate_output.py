"""The files that `aa generate` writes: their names, what they must not replace, what is in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from animateanywhere import __version__
from animateanywhere.backbones.low_memory import compile_blocks
from animateanywhere.backbones.prompt_weights import without_token
from animateanywhere.collage.over_frames import each_with_limbs
from animateanywhere.commands.generate_job import GenerateOptions, Job
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import require_free, sha256
from animateanywhere.core.formats import format_of
from animateanywhere.core.paths import RUNS
from animateanywhere.core.run_folder import VIDEOS, mark
from animateanywhere.evaluation.sidecar import earlier_settings, free_name, recorder
from animateanywhere.media import output, video
from animateanywhere.media.provenance import GENERATED, planned
from animateanywhere.methods.animate_anywhere import method
from animateanywhere.methods.animate_anywhere.generation import Sampling, render
from animateanywhere.methods.animate_anywhere.settings import Loss


def check_out(options: GenerateOptions, pose: Path) -> None:
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


def out_of(job: Job, settings: dict[str, Any]) -> Path:
    """The file to write: the one that was named, or a free name in the runs."""
    if job.options.out is not None:
        return job.options.out
    folder = RUNS / job.loaded.learned.get("token", "base")
    mark(folder, VIDEOS)
    return free_name(folder, job.prompt, job.options.seed, ".mp4", settings)


def sample_and_write(
    job: Job, poses: torch.Tensor, out: Path, settings: dict[str, Any]
) -> np.ndarray:
    """Sample frames and write them to `out`, with their settings beside them; return those for the
    contact sheet, (N, H, W, 3) uint8. poses: as of `encode_motion`."""
    loaded, shown, options = job.loaded, job.shown, job.options
    network = method.build(loaded.base, Loss(guide=False), video=True).eval()
    if options.compiled:
        compile_blocks(network, loaded.base.family)
    some, kept = video.sheet_frames(shown.total), list[np.ndarray]()
    sampling = _sampling(job)
    with loaded.autocast:
        frames = render(loaded.base, network, job.full, poses, options.seed, sampling)
        frames = islice(frames, shown.total)  # the last latent may contain more
        frames = _within(loaded.room_for_vae(network), _with_limbs(job, frames))
        frames = output.arranged(_copy_some(frames, set(some.tolist()), kept), shown.order)
        record = recorder(out, settings)
        output.write(out, frames, len(shown.order), shown.fps, job.sound, job.made, record)
    return np.stack(kept)


def _sampling(job: Job) -> Sampling:
    """How a video is sampled; with a network of its own where the weights are used late only."""
    loaded, options, early = job.loaded, job.options, None
    if loaded.untouched is not None:
        alone = method.build(loaded.untouched, Loss(guide=False), video=True).eval()
        early = (alone, without_token(job.full, loaded.learned["token"]))
    return Sampling(
        options.guidance_scale, options.steps, options.sampler, early, options.free_noise,
        options.negative, weighted=True, circle=job.shown.loop == "circle",
    )  # fmt: skip


def _with_limbs(job: Job, frames: Iterable[np.ndarray]) -> Iterable[np.ndarray]:
    """Frames (H, W, 3) uint8 with the person's own limbs, if they are laid."""
    if job.limbs is None or job.motion.fitted is None:
        return frames
    return each_with_limbs(
        frames, job.motion.fitted, job.limbs.collage, job.steady, job.shown.loop == "circle"
    )


def write_sheet(path: Path, job: Job, pictures: np.ndarray) -> None:
    """Write the contact sheet: the motion, and pictures (N, H, W, 3) of the video."""
    rows = job.motion.rows(video.sheet_frames(len(job.motion)), job.fit)
    video.contact_sheet(path, [*rows, (job.prompt, pictures)], made=job.made)


def sidecar(job: Job, digest: str) -> dict[str, Any]:
    """Everything that a video depends on, as JSON data. digest: of its skeleton pictures."""
    loaded, options, limbs, shown = job.loaded, job.options, job.limbs, job.shown
    base = loaded.base
    followed = {} if options.person is None else {"person": options.person}
    return {
        "prompt": job.prompt,
        "full_prompt": job.full,
        "negative": options.negative,
        "pose": {
            "file": job.pose.name,
            "kind": job.motion.driving.kind,
            "sha256": digest,
            "start": options.part.start,
            "fps": options.part.fps,
        }
        | followed,
        "fit": job.fit,
        "token": loaded.learned.get("token"),
        "weights": None if loaded.weights is None else sha256(loaded.weights),
        "scale": options.scale,
        "others": [[sha256(file), share] for file, share in options.others],
        "lora": [[sha256(file), share] for file, share in options.lora],
        "late_only": loaded.untouched is not None,
        "base": {"name": base.config["name"], "hash": base.hash},
        "seed": options.seed,
        "frames": len(job.motion),
        "fps": float(base.config["fps"]),
        "size": list(base.frame),
        "sampler": options.sampler,
        "free_noise": options.free_noise,
        "compiled": options.compiled,
        "steps": options.steps,
        "guidance_scale": options.guidance_scale,
        "version": __version__,
        "torch": torch.__version__,
        "collage": limbs is not None,
        "collage_frames": None if limbs is None else limbs.frames,
        "collage_poses": None if limbs is None else limbs.poses,
        "steady_background": job.steady,
        "output": {
            "format": job.suffix,
            "fps": shown.fps,
            "loop": shown.loop,
            "sound": job.sound is not None,
        },
        "provenance": planned(job.made, job.suffix),
    }


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
