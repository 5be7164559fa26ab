"""`aa generate`: a video of a prompt (who, where) that follows a driving motion."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.markup import escape

from animateanywhere import __version__
from animateanywhere.backbones.base import Base, encode_poses, load_base
from animateanywhere.backbones.external_lora import add_lora
from animateanywhere.backbones.low_memory import compile_blocks, room_for_vae, to_device
from animateanywhere.backbones.personal_weights import (
    base_of,
    find_weights,
    learned_keypoints,
    load_personal,
    mentions,
    read_metadata,
)
from animateanywhere.core.device import best_device
from animateanywhere.core.errors import UsageError
from animateanywhere.core.estimate import Estimate, compare, in_words
from animateanywhere.core.files import require_free, require_writable, sha256, write_aside
from animateanywhere.core.findings import refuse, warn_findings
from animateanywhere.core.messages import say, warn
from animateanywhere.core.paths import RUNS
from animateanywhere.core.run_folder import VIDEOS, mark
from animateanywhere.diffusion.sampling import make_scheduler
from animateanywhere.media import video
from animateanywhere.media.source import WHOLE, Part
from animateanywhere.methods.animate_anywhere import method
from animateanywhere.methods.animate_anywhere.cost import history
from animateanywhere.methods.animate_anywhere.cost.predict import estimate_generation
from animateanywhere.methods.animate_anywhere.generation import (
    Sampling,
    render,
    sampler_of,
    steps_of,
)
from animateanywhere.methods.animate_anywhere.settings import Loss
from animateanywhere.pose import retarget, skeleton
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.captions.template import with_appearance
from animateanywhere.preprocessing.driving import Driving, read_driving
from animateanywhere.preprocessing.quality.motion import motion_findings

SLICE = 16  # skeletons that are drawn and encoded at once


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
    out: Path | None = None  # .mp4 to write; None: a new file in runs/<token>
    overwrite: bool = False  # files that are not earlier results of this command, too
    seed: int = 0
    frames: int | None = None  # maximum length; None: that of the motion
    # Words for hair and clothes to add to the prompt, "" for none; None: those that the weights
    # were learned with
    appearance: str | None = None
    guidance_scale: float | None = None  # None: the base's default
    steps: int | None = None  # denoising steps; None: the base's default
    sampler: str | None = None  # None: the base's default
    fit: retarget.Fit = "bones"  # how the skeleton is adapted to the learned person
    person: int | None = None  # number of the one to follow, of several; None: 1
    # If longer than the base's clips: start all windows from the same noise (`sampling.free_noise`)
    free_noise: bool = False
    compiled: bool = False  # torch.compile: up to a minute first, then faster steps
    part: Part = WHOLE  # of the motion; its number of frames is that of `frames`
    contact_sheet: Path | None = None  # PNG of the skeleton before and after fitting, and the video
    backends: Backends | None = None  # pose detectors for a driving video of a person


class Loaded(NamedTuple):
    """A base with all weights applied."""

    base: Base
    untouched: Base | None  # the base without personal weights, with `late_only`
    learned: dict[str, str]  # metadata of the personal weights, {} without any
    weights: Path | None
    autocast: AbstractContextManager[None]  # for forward passes


class Motion(NamedTuple):
    """The motion of a video: fitted keypoints or, from a skeleton video, pictures."""

    driving: Driving
    fitted: np.ndarray | None  # keypoints (F, 18, 3), in pixels of the base
    pictures: np.ndarray | None  # (F, H, W, 3) uint8
    size: int  # pixels a side of the base's frames
    # Draws fitted keypoints as the base is used to, see `Family.draw`
    draw: Callable[[np.ndarray, int, int], np.ndarray] = skeleton.draw

    def __len__(self) -> int:
        return len(self.driving.keypoints if self.pictures is None else self.pictures)

    def skeletons(self, which: np.ndarray) -> np.ndarray:
        """Skeleton pictures (N, H, W, 3) uint8 of the frames with these indices (N,)."""
        if self.pictures is not None:
            return self.pictures[which]
        assert self.fitted is not None
        return self.draw(self.fitted[which], self.size, self.size)


def generate(prompt: str, pose: Path, options: GenerateOptions = GenerateOptions()) -> Path:
    """Generate a video, and a JSON sidecar with all settings; returns the video's path.

    pose: the driving motion: a video of a person or of a skeleton, or a poses.json. Raises
    UsageError for unusable input, and if the video does not fit into memory.
    """
    begun = time.monotonic()
    _check_out(options, pose)
    loaded = load(prompt, options)
    base, learned = loaded.base, loaded.learned
    options = _resolved(options, base)
    full = full_prompt(prompt, loaded, options.appearance)
    fps = float(base.config["fps"])
    driving = read_driving(
        pose, fps, options.frames, options.backends, person=options.person, part=options.part
    )
    estimate = _estimate(loaded, len(driving.keypoints), options, begun)
    motion, fit = read_motion(driving, pose.name, base, learned, options.fit)
    poses, digest = encode_motion(loaded, motion)
    settings = sidecar(prompt, full, pose, driving.kind, digest, len(motion), loaded, options)
    settings["fit"] = fit
    out = options.out
    if out is None:
        folder = RUNS / learned.get("token", "base")
        mark(folder, VIDEOS)
        out = _free_name(folder / f"{_slug(prompt)}-{options.seed}.mp4", settings)
    shown = sample_and_write(loaded, full, poses, len(motion), out, options)
    with write_aside(out.with_suffix(".json")) as aside:
        aside.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    took = compare(out.with_suffix(".estimate.json"), estimate, begun)
    history.add(base, None, estimate, took)
    if options.contact_sheet is not None:
        write_sheet(options.contact_sheet, prompt, motion, fit, shown)
    say(f"wrote [bold]{escape(str(out))}[/bold]")
    return out


def load(prompt: str, options: GenerateOptions) -> Loaded:
    """Load the base, apply personal weights and LoRA files, and move it to its device."""
    weights, learned = _choose_weights(prompt, options.weights)
    require_writable(RUNS if options.out is None else options.out.parent)
    base = load_base(options.base or base_of(learned, weights))
    files = [] if weights is None else [(weights, options.scale), *options.others]
    untouched = base.copy() if options.late_only and files else None
    first: dict[str, torch.Tensor] | None = {} if len(files) > 1 else None
    for file, share in files:
        load_personal(file, base, share, first)
    for file, share in options.lora:  # after full weights, which replace the base's
        for one in filter(None, (base, untouched)):
            add_lora(one, file, share)
    device = best_device()
    passes = to_device(base, device)
    if untouched is not None:
        to_device(untouched, device)
    return Loaded(base, untouched, learned, weights, passes)


def full_prompt(prompt: str, loaded: Loaded, appearance: str | None) -> str:
    """The prompt with words for the person's appearance inserted after token and class word.

    appearance: these words; None for those that the weights were learned with.
    """
    full, learned = prompt, loaded.learned
    if loaded.weights is not None and mentions(prompt, learned["token"]):
        known = learned.get("appearance", "")
        words = known if appearance is None else appearance.strip()
        full = with_appearance(prompt, learned["token"], learned["class_word"], words)
    if full != prompt:
        say(f'prompt with appearance: "{escape(full)}"; --appearance "" leaves it out')
    tokenizer = loaded.base.tokenizer
    if len(tokenizer(full).input_ids) > tokenizer.model_max_length:
        limit = tokenizer.model_max_length - 2
        warn(f"the prompt is too long: everything after {limit} tokens is ignored")
    return full


def read_motion(
    driving: Driving, name: str, base: Base, learned: dict[str, str], fit: retarget.Fit
) -> tuple[Motion, retarget.Fit]:
    """Fit a driving motion to the learned person; return it, and the fit that was used.

    name: of the motion's file, for messages. learned: metadata of the personal weights.
    """
    size = int(base.config["size"])
    if driving.pictures is not None:
        return Motion(driving, None, retarget.pad_to_square(driving.pictures, size), size), "none"
    build = learned_keypoints(learned)
    where = (driving.width, driving.height, size)
    fps = float(base.config["fps"])
    warn_findings(name, motion_findings(driving.keypoints, *where[:2], build, size, fps))
    if fit != "none" and build is None:
        say(
            "no keypoints of a learned person to fit to: the skeleton keeps its proportions, at an "
            "average height"
        )
    fitted = retarget.fit(driving.keypoints, *where, fit, build)
    return Motion(driving, fitted, None, size, base.family.draw), fit


def encode_motion(loaded: Loaded, motion: Motion) -> tuple[torch.Tensor, str]:
    """Draw and encode the skeletons: the pose condition (T, *pose_shape), and the SHA-256 of the
    pictures."""
    base, digest, poses = loaded.base, hashlib.sha256(), []
    # A VAE that compresses time needs the whole clip
    parts = 1 if base.packs_clips else -(-len(motion) // SLICE)
    with loaded.autocast, _room_for_vae(loaded):
        for some in np.array_split(np.arange(len(motion)), parts):
            pictures = motion.skeletons(some)
            digest.update(pictures.tobytes())
            poses.append(encode_poses(base, pictures, clip=True))
    return torch.cat(poses), digest.hexdigest()


def sample_and_write(
    loaded: Loaded, prompt: str, poses: torch.Tensor, count: int, out: Path,
    options: GenerateOptions,
) -> np.ndarray:  # fmt: skip
    """Sample `count` frames and write them to `out`; return those for the contact sheet,
    (N, H, W, 3) uint8."""
    base, early = loaded.base, None
    if loaded.untouched is not None:
        token = re.escape(loaded.learned["token"])
        plain = re.sub(rf"(?<!\w){token}(?!\w) ?", "", prompt, flags=re.I)
        early = (method.build(loaded.untouched, Loss(guide=False), video=True).eval(), plain)
    network = method.build(base, Loss(guide=False), video=True).eval()
    if options.compiled:
        compile_blocks(network, base.family)
    some, kept = video.sheet_frames(count), list[np.ndarray]()
    sampling = Sampling(
        options.guidance_scale, options.steps, options.sampler, early, options.free_noise
    )
    with loaded.autocast:
        frames = render(base, network, prompt, poses, options.seed, sampling)
        frames = islice(frames, count)  # the last latent may contain more
        frames = _within(_room_for_vae(loaded, network), frames)
        frames = _copy_some(frames, set(some.tolist()), kept)
        video.write(out, frames, float(base.config["fps"]))
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
        "size": int(base.config["size"]),
        "sampler": options.sampler,
        "free_noise": options.free_noise,
        "compiled": options.compiled,
        "steps": options.steps,
        "guidance_scale": options.guidance_scale,
        "version": __version__,
        "torch": torch.__version__,
    }


def write_sheet(path: Path, prompt: str, motion: Motion, fit: str, shown: np.ndarray) -> None:
    """Write a contact sheet: the driving skeleton before and after fitting, and the video."""
    some = video.sheet_frames(len(motion))
    rows = [("driving", motion.skeletons(some)), (prompt, shown)]
    if fit != "none":
        driving, size = motion.driving, motion.size
        before = retarget.letterbox(driving.keypoints[some], driving.width, driving.height, size)
        rows[:1] = [
            ("driving", motion.draw(before, size, size)),
            (f"fitted ({fit})", motion.skeletons(some)),
        ]
    video.contact_sheet(path, rows)


def _check_out(options: GenerateOptions, pose: Path) -> None:
    """Raise UsageError where the result would overwrite the motion or, without `overwrite`, files
    that are not of an earlier result."""
    out, own = options.out, False
    if out is not None:
        own = _sidecar(out) is not None
        for path in (out, out.with_suffix(".json"), out.with_suffix(".estimate.json")):
            if pose.resolve() == path.resolve():
                raise UsageError(
                    f"--out {out} would overwrite the motion {pose}: give another name"
                )
            require_free(path, options.overwrite, own)
    if options.contact_sheet is not None:
        require_free(options.contact_sheet, options.overwrite, own)


def _resolved(options: GenerateOptions, base: Base) -> GenerateOptions:
    """Fill in the base's defaults for sampler, steps and guidance scale. Raises UsageError for a
    sampler that does not work with this base."""
    scale, sampler = options.guidance_scale, options.sampler or sampler_of(base)
    make_scheduler(base.scheduler.config, sampler)
    scale = float(base.config["guidance_scale"]) if scale is None else scale
    steps = options.steps or steps_of(base)
    return replace(options, guidance_scale=scale, steps=steps, sampler=sampler)


def _estimate(
    loaded: Loaded, frames: int, options: GenerateOptions, begun: float
) -> Estimate | None:
    """Estimate and print time and memory. Raises UsageError if memory is too small."""
    assert options.steps is not None
    with loaded.autocast:
        estimate, findings = estimate_generation(loaded.base, frames, options.steps, begun)
    warn_findings("generation", findings)
    refuse("generation", findings)
    if estimate is not None:
        say(f"generation takes about {in_words(estimate)} on this machine")
    return estimate


def _room_for_vae(loaded: Loaded, *networks: Any) -> AbstractContextManager[None]:
    waiting = [] if loaded.untouched is None else [loaded.untouched.denoiser]
    return room_for_vae(loaded.base, *networks, *waiting)


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


def _choose_weights(prompt: str, weights: Path | None) -> tuple[Path | None, dict[str, str]]:
    """The personal weights to use, if any, and their metadata; prints which."""
    if weights is not None:
        learned = read_metadata(weights)
        token, kind = learned["token"], learned["class_word"]
        if not mentions(prompt, token):
            warn(escape(f'the prompt does not name the person: use "{token} {kind}" in it'))
    else:
        found = find_weights(prompt, RUNS)
        if found is None:
            say("no learned token in the prompt: generating with the base alone")
            return None, {}
        weights, token = found
        learned = read_metadata(weights)
    say(escape(f"weights of {token}: {weights}"))
    return weights, learned


def _free_name(path: Path, settings: dict[str, Any]) -> Path:
    """The path, with a number appended if a video with other settings is there."""
    number, free = 1, path
    while free.exists() and _sidecar(free) != settings:
        number += 1
        free = path.with_name(f"{path.stem}-{number}.mp4")
    return free


def _sidecar(path: Path) -> Any:
    """The record beside a video of this command; None for another file, or without one."""
    try:
        record = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict) or not {"prompt", "pose", "fit"} <= record.keys():
        return None
    if "said" in record:  # the key's name in earlier versions
        record["full_prompt"] = record.pop("said")
    return record


def _slug(prompt: str) -> str:
    return "-".join(re.findall(r"\w+", prompt.lower()))[:60] or "video"
