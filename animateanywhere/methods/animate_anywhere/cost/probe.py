"""A profiling run, to estimate from it what the whole will take (`python -m` this module).

A process of its own, so that its peak of memory is its own too, and running out of memory ends
nothing else. Everything is the real thing on made-up frames: the base, the recipe with a few steps
a stage, the same functions. `measure` starts it, and reads what it prints.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from animateanywhere.backbones.base import Base, encode_poses, load_base
from animateanywhere.backbones.low_memory import to_device
from animateanywhere.backbones.personal_weights import FILE, save_personal
from animateanywhere.backbones.vae import decode_latents, encode_frames
from animateanywhere.core.device import best_device, memory_now, peak_memory, synchronize
from animateanywhere.datasets.subject import Subject
from animateanywhere.methods.animate_anywhere import (
    appearance_search,
    method,
    prior_preservation,
    validation,
)
from animateanywhere.methods.animate_anywhere.cost.measure import DONE, STEPS
from animateanywhere.methods.animate_anywhere.generation import render_latents
from animateanywhere.methods.animate_anywhere.personal_stages import StageData, fit_vae
from animateanywhere.methods.animate_anywhere.personal_stages import learn as learn_stages
from animateanywhere.methods.animate_anywhere.settings import Loss, Recipe, from_dict
from animateanywhere.methods.animate_anywhere.subject_data import encode_subject
from animateanywhere.pose.skeleton import KEYPOINTS

FRAMES = 32  # of the clip: what 4 s give
IDLE = 0.15  # share of the processor; with less, programs wait for each other
IMAGES = 4  # of regularization: their captions are part of a step


def main() -> None:
    """Print one JSON object; reads another: base's folder, recipe or null, time of the start."""
    folder, table, started = json.load(sys.stdin)
    recipe = None if table is None else from_dict(table)
    device = best_device()
    try:
        before = shared_time()
        base = load_base(folder)
        passes = (
            to_device(base, device)
            if recipe is None
            else to_device(base, device, recipe.precision, recipe.only_adapters)
        )
        out: dict[str, Any] = {"start": time.time() - started, "memory_start": memory_now()}
        done()
        with tempfile.TemporaryDirectory() as place, chdir(place), passes:
            out["generate"] = generate(base)
            out["generate"]["memory"] = peak_memory()
            done()
            if recipe is not None:
                out["learn"] = learn(base, recipe)
                out["learn"]["memory"] = peak_memory()
        out |= {"busy": busy(before, shared_time()), "gpu": device != "cpu"}
    except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        out = {"out_of_memory": str(error).splitlines()[0]}
    print(json.dumps(out | {"now": time.time()}))


def done() -> None:
    """Tell the process that waits that a part is done."""
    print(DONE.decode(), flush=True)


def shared_time() -> tuple[float, float, float]:
    """Processor seconds so far: of all cores together, of idling, of this process."""
    whole, own = psutil.cpu_times(), psutil.Process().cpu_times()
    return sum(whole), whole.idle, own.user + own.system


def busy(before: tuple[float, float, float], after: tuple[float, float, float]) -> float:
    """Share of the processor that others took meanwhile, 0 where enough of it idled."""
    whole, idle, own = (b - a for a, b in zip(before, after, strict=True))
    return 0.0 if idle > IDLE * whole else max(1 - (idle + own) / max(whole, 1e-3), 0.0)


def generate(base: Base) -> dict[str, float]:
    """Seconds of a step on a window of the base's length, and a frame's through the VAE."""
    begun, clock = time.perf_counter(), Clock()
    size, count = int(base.config["size"]), int(base.config["frames"])
    frames = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)
    encode_frames(base.vae, frames[:1])
    clock.restart()
    latents = encode_frames(base.vae, frames, clip=True)
    encode = clock.lap() / count
    poses = encode_poses(base, frames, clip=True)
    unet = method.build(base, Loss(guide=False), video=True).eval()
    warm = time.perf_counter()  # the first seconds of a process are slow: memory is new
    render_latents(base, unet, "a man", poses, 0, steps=STEPS)
    begun += time.perf_counter() - warm
    render_latents(base, unet, "a man", poses, 0, steps=STEPS, on_step=clock.advance)
    step = clock.usual()
    decode_latents(base.vae, latents[:1])
    clock.restart()
    decode_latents(base.vae, latents, clip=True)
    decode = clock.lap() / count
    rest = time.perf_counter() - begun - STEPS * step - count * (encode + decode)
    return {"fixed": rest, "step": step, "encode": encode, "decode": decode}


def learn(base: Base, recipe: Recipe) -> dict[str, Any]:
    """Seconds of each part of `personalize`; recipe: as `measure.shortened` makes it."""
    begun, spent, clock = time.perf_counter(), 0.0, Clock()
    size = int(base.config["size"])
    rng = np.random.default_rng(0)
    points = np.ones((FRAMES, len(KEYPOINTS), 3), np.float32)
    points[..., :2] = rng.uniform(0, size, (*points.shape[:2], 2))
    masks = np.zeros((FRAMES, size, size), np.float32)
    masks[:, size // 8 :, size // 3 : -size // 3] = 1
    subject = Subject(
        Path("subject"), rng.integers(0, 256, (FRAMES, size, size, 3), np.uint8),
        masks, points, ["a <token> person"] * FRAMES,
        float(base.config["fps"]), "person", None,
    )  # fmt: skip
    out: dict[str, Any] = {}
    if recipe.extras.appearance == appearance_search.AUTO:
        error = appearance_search.errors(base, subject, Clock())
        clock.restart()
        for number in range(STEPS):
            error(f"in a shirt {number}")
            clock.lap()
        out["phrase"] = clock.usual()
        spent += STEPS * out["phrase"]
        clock.restart()
    clips = prior_preservation.clip_frames(base, recipe)
    rows = encode_subject(base, subject, "sks", recipe, clips)
    out["frame"] = clock.lap() / recipe.extras.placements / FRAMES
    spent += out["frame"] * recipe.extras.placements * FRAMES
    prior: list[prior_preservation.PriorData] = []
    for name, length in (("image", 1), ("clip", clips)):
        count = IMAGES if name == "image" else 1
        specs = prior_preservation.sample_people("person", count, 0)
        captions = [prior_preservation.caption_of(spec, "person") for spec in specs]
        clock.restart()
        begin = time.perf_counter()
        latents, poses = prior_preservation.generate_prior(
            base, specs, captions, STEPS, 0, length, clock
        )
        whole = time.perf_counter() - begin
        out[f"{name}_step"] = clock.usual()
        out[name] = max(whole / count - STEPS * out[f"{name}_step"], 0)
        spent += whole
        prior.append(prior_preservation.PriorData(latents, poses, captions))
        done()
    tensors: dict[str, torch.Tensor] = {}
    if recipe.extras.fit_vae_steps:
        begin = time.perf_counter()
        tensors |= fit_vae(base, subject, prior[0], recipe, Path(), 0)
        out["vae_step"] = step_seconds(Path("training/vae"))
        spent += time.perf_counter() - begin
        done()
    if recipe.extras.checkpoint_selection:
        begin = time.perf_counter()
        out |= score(base, recipe, subject)
        spent += time.perf_counter() - begin
        done()
    else:
        base.parts["vae"] = torch.nn.Identity()
    data = {
        "appearance": StageData(rows, prior[0]),
        "motion": StageData(rows.clips or rows, prior[1]),
    }
    tensors |= learn_stages(base, recipe, data, rows.token_index, Path(), 0, {})[0]
    for stage in recipe.personal_stages:
        place = Path("training") / stage.name
        out[f"{stage.name}_step"] = step_seconds(place)
        out[f"{stage.name}_save"] = save_seconds(place)
        spent += stage.steps * out[f"{stage.name}_step"] + out[f"{stage.name}_save"]
    names = dict.fromkeys(("token", "class_word", "base", "base_hash", "recipe", "version"), "")
    save_personal(Path(FILE), tensors, names, half=True)
    done()
    out["fixed"] = max(time.perf_counter() - begun - spent, 0)
    return out


def score(base: Base, recipe: Recipe, subject: Subject) -> dict[str, float]:
    """Seconds of scoring one step of each stage."""
    out = {}
    for stage in recipe.personal_stages:
        unet = method.build(base, Loss(guide=False), video=stage.kind == "motion").eval()
        some = validation.make_validation(
            base, unet, subject, "sks", 1, stage.kind == "motion"
        )  # warms up
        begin = time.perf_counter()
        prompts = [case.prompt for case in some.cases]
        made = validation.generate(base, unet, some.cases, prompts, recipe.extras.selection_steps)
        validation.score(some, made)
        out[f"{stage.name}_score"] = time.perf_counter() - begin
    return out


def event_times(folder: Path) -> list[float]:
    """When the steps of a training were logged, in seconds."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [event.wall_time for event in events.Scalars("loss")]


def step_seconds(folder: Path) -> float:
    """Of a training that logged every step; the median, without the first."""
    return float(np.median(np.diff(event_times(folder))))


def save_seconds(folder: Path) -> float:
    """From the last step until the checkpoint lay under its name."""
    return max((folder / "checkpoint.safetensors").stat().st_ctime - event_times(folder)[-1], 0)


class Clock:
    """Takes the time between calls; also a bar that steps are told to."""

    def __init__(self) -> None:
        self.laps: list[float] = []
        self.last = time.perf_counter()

    def restart(self) -> None:
        self.laps.clear()
        self.last = time.perf_counter()

    def lap(self) -> float:
        synchronize(best_device())
        now = time.perf_counter()
        self.laps.append(now - self.last)
        self.last = now
        return self.laps[-1]

    def advance(self, steps: int = 1, **_: object) -> None:
        self.lap()

    def usual(self) -> float:
        """Median of what was taken last, without the first, which warms up."""
        return float(np.median(self.laps[-(STEPS - 1) :]))


if __name__ == "__main__":
    main()
