"""`aa generate`: a prompt says who and where, a driving video says how to move."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence
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
    build_of,
    find_weights,
    load_personal,
    mentions,
    read_metadata,
)
from animateanywhere.core.device import best_device
from animateanywhere.core.errors import UsageError
from animateanywhere.core.estimate import Estimate, compare, in_words
from animateanywhere.core.files import require_writable, sha256, write_aside
from animateanywhere.core.findings import refuse, tell_findings
from animateanywhere.core.messages import say, warn
from animateanywhere.core.paths import RUNS
from animateanywhere.diffusion.sampling import make_scheduler
from animateanywhere.media import video
from animateanywhere.methods.animate_anywhere import method
from animateanywhere.methods.animate_anywhere.cost.predict import estimate_generation
from animateanywhere.methods.animate_anywhere.generation import render, sampler_of, steps_of
from animateanywhere.methods.animate_anywhere.settings import Loss
from animateanywhere.pose import retarget, skeleton
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.captions.template import with_appearance
from animateanywhere.preprocessing.driving import Driving, read_driving
from animateanywhere.preprocessing.quality.motion import motion_findings

SLICE = 16  # skeletons that are drawn at once


@dataclass(frozen=True)
class GenerateOptions:
    """How a video is generated. The same options give the same bytes on one machine."""

    weights: Path | None = None  # personal weights; else the newest whose token the prompt names
    scale: float = 1.0  # how much of what they learned counts
    # Further personal weights of the same base, with scales; what they learned adds up
    others: Sequence[tuple[Path, float]] = ()
    # LoRA files of other tools on the base, with scales (`backbones.external_lora`)
    lora: Sequence[tuple[Path, float]] = ()
    late_only: bool = False  # the weights act in the last quarter of the steps only
    base: str | None = None  # a name or folder; else the one the weights were learned on
    out: Path | None = None  # an .mp4, overwritten; else a free name under runs/
    seed: int = 0
    frames: int | None = None  # at most so many; else as long as the motion
    # What the prompt is to say of the person's hair and clothes, "" for nothing; else what the
    # weights were learned with
    appearance: str | None = None
    guidance_scale: float | None = None  # else the base's own
    steps: int | None = None  # of denoising; else the base's own
    sampler: str | None = None  # else the base's own
    fit: retarget.Fit = "bones"  # what the skeleton takes from the learned person
    # Beyond the base's length, start all windows from the same noise (`sampling.free_noise`)
    free_noise: bool = False
    compiled: bool = False  # spend a minute first, and less on each step
    contact_sheet: Path | None = None  # a PNG of the skeleton before and after fitting, and video
    backends: Backends | None = None  # detectors of a driving person's poses


class Loaded(NamedTuple):
    """A base with all weights in place."""

    base: Base
    untouched: Base | None  # the base without them, where they act late only
    learned: dict[str, str]  # metadata of the personal weights
    weights: Path | None
    autocast: AbstractContextManager[None]  # of passes


class Motion(NamedTuple):
    """What the video follows: keypoints that are to be drawn, or pictures that are there."""

    driving: Driving
    fitted: np.ndarray | None  # (F, 18, 3) in pixels of the base
    pictures: np.ndarray | None  # (F, H, W, 3) uint8
    size: int

    def __len__(self) -> int:
        return len(self.driving.keypoints if self.pictures is None else self.pictures)

    def skeletons(self, which: np.ndarray) -> np.ndarray:
        """Skeleton pictures (N, H, W, 3) uint8 of some frames."""
        if self.pictures is not None:
            return self.pictures[which]
        assert self.fitted is not None
        return skeleton.draw(self.fitted[which], self.size, self.size)


def generate(prompt: str, pose: Path, options: GenerateOptions = GenerateOptions()) -> Path:
    """Make a video, with a JSON sidecar that says how; returns the video's path.

    pose: a video of a person or of a skeleton, or a poses.json. Raises UsageError.
    """
    begun = time.monotonic()
    _check_out(options.out, pose)
    loaded = load(prompt, options)
    base, learned = loaded.base, loaded.learned
    options = _resolved(options, base)
    said = full_prompt(prompt, loaded, options.appearance)
    driving = read_driving(pose, float(base.config["fps"]), options.frames, options.backends)
    estimate = _before(loaded, len(driving.keypoints), options, begun)
    motion, fit = read_motion(driving, pose.name, base, learned, options.fit)
    poses, digest = encode_motion(loaded, motion)
    settings = sidecar(prompt, said, pose, driving.kind, digest, len(motion), loaded, options)
    settings["fit"] = fit
    out = options.out
    if out is None:
        folder = RUNS / learned.get("token", "base")
        out = _free_name(folder / f"{_slug(prompt)}-{options.seed}.mp4", settings)
    shown = sample_and_write(loaded, said, poses, len(motion), out, options)
    with write_aside(out.with_suffix(".json")) as aside:
        aside.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    compare(out.with_suffix(".estimate.json"), estimate, begun)
    if options.contact_sheet is not None:
        write_sheet(options.contact_sheet, prompt, motion, fit, shown)
    say(f"wrote [bold]{escape(str(out))}[/bold]")
    return out


def load(prompt: str, options: GenerateOptions) -> Loaded:
    """The base on its device, with personal weights and LoRA files put in."""
    weights, learned = _choose_weights(prompt, options.weights)
    require_writable(RUNS if options.out is None else options.out.parent)
    base = load_base(options.base or base_of(learned))
    files = [] if weights is None else [(weights, options.scale), *options.others]
    untouched = base.copy() if options.late_only and files else None
    first: dict[str, torch.Tensor] | None = {} if len(files) > 1 else None
    for file, share in files:
        load_personal(file, base, share, first)
    for file, share in options.lora:  # after whole weights, which replace what was there
        for one in filter(None, (base, untouched)):
            add_lora(one, file, share)
    device = best_device()
    passes = to_device(base, device)
    if untouched is not None:
        to_device(untouched, device)
    return Loaded(base, untouched, learned, weights, passes)


def full_prompt(prompt: str, loaded: Loaded, appearance: str | None) -> str:
    """The prompt with the words for the person's appearance after the token's class word."""
    said, learned = prompt, loaded.learned
    if loaded.weights is not None and mentions(prompt, learned["token"]):
        known = learned.get("appearance", "")
        words = known if appearance is None else appearance.strip()
        said = with_appearance(prompt, learned["token"], learned["class_word"], words)
    if said != prompt:
        say(f'prompt with appearance: "{escape(said)}"; --appearance "" leaves it out')
    tokenizer = loaded.base.tokenizer
    if len(tokenizer(said).input_ids) > tokenizer.model_max_length:
        warn(f"the prompt is cut after {tokenizer.model_max_length - 2} tokens")
    return said


def read_motion(
    driving: Driving, name: str, base: Base, learned: dict[str, str], fit: retarget.Fit
) -> tuple[Motion, retarget.Fit]:
    """A driving motion fitted to the learned person, and how it was; name: of its file."""
    size = int(base.config["size"])
    if driving.pictures is not None:
        return Motion(driving, None, retarget.pad_to_square(driving.pictures, size), size), "none"
    build = build_of(learned)
    where = (driving.width, driving.height, size)
    tell_findings(name, motion_findings(driving.keypoints, *where[:2], build, size))
    if fit != "none" and build is None:
        say("no body to fit to: the skeleton keeps its proportions, at a common height")
    return Motion(driving, retarget.fit(driving.keypoints, *where, fit, build), None, size), fit


def encode_motion(loaded: Loaded, motion: Motion) -> tuple[torch.Tensor, str]:
    """What the base sees of the skeletons, (T, C, h, w), and the SHA-256 of their pictures."""
    base, digest, poses = loaded.base, hashlib.sha256(), []
    # packed clips are encoded whole
    parts = 1 if base.packs_clips else -(-len(motion) // SLICE)
    with loaded.autocast, _room_for_vae(loaded):
        for some in np.array_split(np.arange(len(motion)), parts):
            pictures = motion.skeletons(some)
            digest.update(pictures.tobytes())
            poses.append(encode_poses(base, pictures, clip=True))
    return torch.cat(poses), digest.hexdigest()


def sample_and_write(
    loaded: Loaded, said: str, poses: torch.Tensor, count: int, out: Path, options: GenerateOptions
) -> np.ndarray:
    """Sample `count` frames and write them to `out`; return some of them, (N, H, W, 3) uint8."""
    base, early = loaded.base, None
    if loaded.untouched is not None:
        token = re.escape(loaded.learned["token"])
        plain = re.sub(rf"(?<!\w){token}(?!\w) ?", "", said, flags=re.I)
        early = (method.build(loaded.untouched, Loss(guide=False), video=True).eval(), plain)
    network = method.build(base, Loss(guide=False), video=True).eval()
    if options.compiled:
        compile_blocks(network, base.family)
    some, kept = video.sheet_frames(count), list[np.ndarray]()
    with loaded.autocast:
        made = render(
            base, network, said, poses, options.seed, guidance_scale=options.guidance_scale,
            steps=options.steps, sampler=options.sampler, early=early, free=options.free_noise,
        )  # fmt: skip
        made = islice(made, count)  # what a VAE packs may end later
        with _room_for_vae(loaded, network):
            video.write(out, _keep(made, set(some.tolist()), kept), float(base.config["fps"]))
    return np.stack(kept)


def sidecar(
    prompt: str, said: str, pose: Path, kind: str, digest: str, count: int, loaded: Loaded,
    options: GenerateOptions,
) -> dict[str, Any]:  # fmt: skip
    """All that a video depends on, as JSON data."""
    base = loaded.base
    return {
        "prompt": prompt,
        "said": said,
        "pose": {"file": pose.name, "kind": kind, "sha256": digest},
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
    """A contact sheet: the driving skeleton, as it was fitted, and the video."""
    some = video.sheet_frames(len(motion))
    rows = [("driving", motion.skeletons(some)), (prompt, shown)]
    if fit != "none":
        driving, size = motion.driving, motion.size
        before = retarget.letterbox(driving.keypoints[some], driving.width, driving.height, size)
        rows[:1] = [
            ("driving", skeleton.draw(before, size, size)),
            (f"fitted ({fit})", motion.skeletons(some)),
        ]
    video.contact_sheet(path, rows)


def _check_out(out: Path | None, pose: Path) -> None:
    if out is not None and pose.resolve() in (out.resolve(), out.with_suffix(".json").resolve()):
        raise UsageError(f"{out} would overwrite the driving {pose}: give --out another name")


def _resolved(options: GenerateOptions, base: Base) -> GenerateOptions:
    """The options with the base's own sampler, steps and guidance where none are given."""
    scale, sampler = options.guidance_scale, options.sampler or sampler_of(base)
    make_scheduler(base.scheduler.config, sampler)  # refuses what is not for this base
    scale = float(base.config["guidance_scale"]) if scale is None else scale
    steps = options.steps or steps_of(base)
    return replace(options, guidance_scale=scale, steps=steps, sampler=sampler)


def _before(loaded: Loaded, frames: int, options: GenerateOptions, begun: float) -> Estimate | None:
    """Say what generation will take; refuse what does not fit."""
    assert options.steps is not None
    with loaded.autocast:
        estimate, findings = estimate_generation(loaded.base, frames, options.steps, begun)
    tell_findings("generation", findings)
    refuse("generation", findings)
    if estimate is not None:
        say(f"generation takes about {in_words(estimate)} on this machine")
    return estimate


def _room_for_vae(loaded: Loaded, *networks: Any) -> AbstractContextManager[None]:
    waiting = [] if loaded.untouched is None else [loaded.untouched.denoiser]
    return room_for_vae(loaded.base, *networks, *waiting)


def _keep(
    frames: Iterable[np.ndarray], shown: set[int], kept: list[np.ndarray]
) -> Iterator[np.ndarray]:
    """The frames as they come; some of them are kept as well."""
    for number, frame in enumerate(frames):
        if number in shown:
            kept.append(frame)
        yield frame


def _choose_weights(prompt: str, weights: Path | None) -> tuple[Path | None, dict[str, str]]:
    """The personal weights to use, if any, with their metadata; says which."""
    if weights is not None:
        learned = read_metadata(weights)
        token, kind = learned["token"], learned["class_word"]
        if not mentions(prompt, token):
            warn(escape(f'the prompt does not name the person: say "{token} {kind}" in it'))
    else:
        found = find_weights(prompt, RUNS)
        if found is None:
            say("no learned token in the prompt: the base alone")
            return None, {}
        weights, token = found
        learned = read_metadata(weights)
    say(escape(f"{token}: {weights}"))
    return weights, learned


def _free_name(path: Path, settings: dict[str, Any]) -> Path:
    """The path, numbered if something made with other settings is there."""
    number, free = 1, path
    while free.exists() and _sidecar(free) != settings:
        number += 1
        free = path.with_name(f"{path.stem}-{number}.mp4")
    return free


def _sidecar(path: Path) -> Any:
    try:
        return json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _slug(prompt: str) -> str:
    return "-".join(re.findall(r"\w+", prompt.lower()))[:60] or "video"
