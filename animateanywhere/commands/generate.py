"""`aa generate`: a prompt says who and where, a driving video says how to move."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.markup import escape

from animateanywhere import __version__
from animateanywhere.backbones.base import apart, encode_poses, load_base
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
from animateanywhere.core.console import say, warn
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import require_writable, sha256, write_aside
from animateanywhere.core.findings import refuse, tell_findings
from animateanywhere.core.hardware import compare, in_words
from animateanywhere.core.paths import RUNS
from animateanywhere.diffusion.sampling import make_scheduler
from animateanywhere.media import video
from animateanywhere.methods.animate_anywhere import method
from animateanywhere.methods.animate_anywhere.cost.predict import foretell_generation
from animateanywhere.methods.animate_anywhere.generation import render, sampler_of, steps_of
from animateanywhere.methods.animate_anywhere.settings import Loss
from animateanywhere.pose import retarget, skeleton
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.captions.template import with_appearance
from animateanywhere.preprocessing.driving import read_driving
from animateanywhere.preprocessing.quality.motion import motion_findings

SLICE = 16  # skeletons that are drawn at once


def generate(
    prompt: str,
    pose: Path,
    *,
    weights: Path | None = None,
    scale: float = 1.0,
    others: Sequence[tuple[Path, float]] = (),
    lora: Sequence[tuple[Path, float]] | None = None,
    late_only: bool = False,
    base: str | None = None,
    out: Path | None = None,
    seed: int = 0,
    frames: int | None = None,
    looks: str | None = None,
    guidance_scale: float | None = None,
    steps: int | None = None,
    sampler: str | None = None,
    fit: retarget.Fit = "bones",
    free_noise: bool = False,
    compiled: bool = False,
    contact_sheet: Path | None = None,
    backends: Backends | None = None,
) -> Path:
    """Make a video, with a JSON sidecar that says how; returns the video's path.

    pose: a video of a person or of a skeleton, or a poses.json. weights: personal weights; without,
    the newest under `runs` whose token the prompt names; scale: how much of what they learned
    counts. others: further weights of the same base, with scales; what they learned adds up.
    lora: files of other tools on the base, with scales (`backbones.external_lora`).
    late_only: weights act in the last quarter of the steps only, before it the base alone does.
    base: a name or folder; without, the one
    the weights were learned on. out: an .mp4, overwritten; without, a free name under `runs`.
    frames: at most so many; without, as long as the motion. looks: what the prompt is to say of the
    person's hair and clothes, "" for nothing; without, what the weights were learned with.
    guidance_scale, steps, sampler: without, the base's own.
    free_noise: for videos longer than the base's length, start all windows from the same noise.
    compiled: spend a minute first, and less on each step (`low_memory.compile_blocks`).
    fit: what the skeleton takes from the learned person, as in `pose.retarget`. contact_sheet: a
    PNG of the skeleton as it was, as it was fitted, and of the video. backends: what finds
    the poses of a driving person. The same arguments give the same bytes on one machine. Raises
    UsageError.
    """
    begun = time.monotonic()
    if out is not None and pose.resolve() in (out.resolve(), out.with_suffix(".json").resolve()):
        raise UsageError(f"{out} would overwrite the driving {pose}: give --out another name")
    weights, learned = _choose_weights(prompt, weights)
    require_writable(RUNS if out is None else out.parent)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_base(base or base_of(learned))
    files = [] if weights is None else [(weights, scale), *others]
    late_only = late_only and bool(files)
    untouched = apart(model) if late_only else None
    first: dict[str, torch.Tensor] | None = {} if len(files) > 1 else None
    for file, share in files:
        load_personal(file, model, share, first)
    for file, share in lora or []:  # after whole weights, which take the place of what was there
        for one in filter(None, (model, untouched)):
            add_lora(one, file, share)
    passes = to_device(model, device)
    if untouched is not None:
        to_device(untouched, device)
    said = prompt
    if weights is not None and mentions(prompt, learned["token"]):
        looks = learned.get("looks", "") if looks is None else looks.strip()
        said = with_appearance(prompt, learned["token"], learned["class_word"], looks)
    if said != prompt:
        say(f'in words: "{escape(said)}"; --looks "" leaves the looks out')
    if len(model.tokenizer(said).input_ids) > model.tokenizer.model_max_length:
        warn(f"the prompt is cut after {model.tokenizer.model_max_length - 2} tokens")

    fps, size = float(model.config["fps"]), int(model.config["size"])
    if guidance_scale is None:
        guidance_scale = float(model.config["guidance_scale"])
    steps, sampler = steps or steps_of(model), sampler or sampler_of(model)
    make_scheduler(model.scheduler.config, sampler)  # refuses what is not for this base
    driving = read_driving(pose, fps, frames, backends)
    with passes:
        told, more = foretell_generation(model, len(driving.keypoints), steps, begun)
    tell_findings("generation", more)
    refuse("generation", more)
    if told is not None:
        say(f"generation takes about {in_words(told)} on this machine")
    if driving.pictures is not None:
        fit = "none"
        drawn = retarget.pad_to_square(driving.pictures, size)  # (F, H, W, 3)
    else:
        build = build_of(learned)
        where = (driving.width, driving.height, size)
        tell_findings(pose.name, motion_findings(driving.keypoints, *where[:2], build, size))
        if fit != "none" and build is None:
            say("no body to fit to: the skeleton keeps its proportions, at a common height")
        fitted = retarget.fit(driving.keypoints, *where, fit, build)
        drawn = None
    count = len(driving.keypoints) if drawn is None else len(drawn)

    def skeletons(which: np.ndarray) -> np.ndarray:  # (N, H, W, 3) uint8
        return skeleton.draw(fitted[which], size, size) if drawn is None else drawn[which]

    digest, poses = hashlib.sha256(), []
    parts = -(-count // SLICE) if model.packed == 1 else 1  # a VAE that packs time wants all
    waiting = [] if untouched is None else [untouched.network]
    with passes, room_for_vae(model, *waiting):
        for some in np.array_split(np.arange(count), parts):
            pictures = skeletons(some)
            digest.update(pictures.tobytes())
            poses.append(encode_poses(model, pictures, clip=True))  # (N, C, h, w)
    settings = {
        "prompt": prompt,
        "said": said,
        "pose": {"file": pose.name, "kind": driving.kind, "sha256": digest.hexdigest()},
        "fit": fit,
        "token": learned.get("token"),
        "weights": None if weights is None else sha256(weights),
        "scale": scale,
        "others": [[sha256(file), share] for file, share in others],
        "lora": [[sha256(file), share] for file, share in lora or []],
        "late_only": late_only,
        "base": {"name": model.config["name"], "hash": model.hash},
        "seed": seed,
        "frames": count,
        "fps": fps,
        "size": size,
        "sampler": sampler,
        "free_noise": free_noise,
        "compiled": compiled,
        "steps": steps,
        "guidance_scale": guidance_scale,
        "version": __version__,
        "torch": torch.__version__,
    }
    if out is None:
        folder = RUNS / learned.get("token", "base")
        out = _free_name(folder / f"{_slug(prompt)}-{seed}.mp4", settings)

    early = None
    if untouched is not None:
        plain = re.sub(rf"(?<!\w){re.escape(learned['token'])}(?!\w) ?", "", said, flags=re.I)
        early = (method.build(untouched, Loss(guide=False), video=True).eval(), plain)
    unet = method.build(model, Loss(guide=False), video=True).eval()
    if compiled:
        compile_blocks(unet)
    some, kept = video.sheet_frames(count), list[np.ndarray]()
    with passes:
        made = render(
            model, unet, said, torch.cat(poses), seed,
            guidance_scale=guidance_scale, steps=steps, sampler=sampler, early=early,
            free=free_noise,
        )  # fmt: skip
        made = islice(made, count)  # what a VAE packs may end later
        with room_for_vae(model, unet, *waiting):
            video.write(out, _keep(made, set(some.tolist()), kept), fps)
    with write_aside(out.with_suffix(".json")) as aside:
        aside.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    compare(out.with_suffix(".prediction.json"), told, begun)
    if contact_sheet is not None:
        rows = [("driving", skeletons(some)), (prompt, np.stack(kept))]
        if fit != "none":
            before = retarget.letterbox(driving.keypoints[some], *where)
            rows[:1] = [
                ("driving", skeleton.draw(before, size, size)),
                (f"fitted ({fit})", skeletons(some)),
            ]
        video.contact_sheet(contact_sheet, rows)
    say(f"wrote [bold]{escape(str(out))}[/bold]")
    return out


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
