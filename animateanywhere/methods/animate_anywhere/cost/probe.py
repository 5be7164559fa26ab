"""A profiling run, to estimate from it what the whole will take (`python -m` this module).

A process of its own, so that running out of memory ends nothing else. Everything is the real thing
on made-up frames: the base, the recipe with a few steps a stage, the same functions. `measure`
starts it, and reads what it prints.
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
import torch

from animateanywhere.backbones.base import Base, encode_poses, load_base
from animateanywhere.backbones.low_memory import to_device
from animateanywhere.backbones.personal_weights import FILE, save_personal
from animateanywhere.backbones.vae import decode_latents, encode_frames
from animateanywhere.core.device import best_device
from animateanywhere.core.frame_size import Size
from animateanywhere.datasets.subject import Subject
from animateanywhere.methods.animate_anywhere import (
    appearance_search,
    method,
    prior_preservation,
    validation,
)
from animateanywhere.methods.animate_anywhere.cost.clock import (
    Clock,
    busy,
    save_seconds,
    scheduled,
    step_seconds,
)
from animateanywhere.methods.animate_anywhere.cost.measure import DONE, STEPS
from animateanywhere.methods.animate_anywhere.generation import (
    BATCH,
    Sampling,
    render_images,
    render_latents,
)
from animateanywhere.methods.animate_anywhere.personal_stages import fit_vae
from animateanywhere.methods.animate_anywhere.personal_stages import learn as learn_stages
from animateanywhere.methods.animate_anywhere.settings import Loss, Recipe, from_dict
from animateanywhere.methods.animate_anywhere.stage_data import StageData
from animateanywhere.methods.animate_anywhere.subject_data import encode_subject
from animateanywhere.pose.skeleton import KEYPOINTS

FRAMES = 32  # of the clip: what 4 s give
IMAGES = 4  # of regularization: their captions are part of a step


def main() -> None:
    """Print one JSON object; reads another: base's folder, size of frames, recipe or null, time of
    the start."""
    folder, frame, table, started = json.load(sys.stdin)
    recipe = None if table is None else from_dict(table)
    device = best_device()
    try:
        before = scheduled()
        base = load_base(folder).at(Size(*frame))
        passes = (
            to_device(base, device)
            if recipe is None
            else to_device(base, device, recipe.precision, recipe.only_adapters)
        )
        out: dict[str, Any] = {"start": time.time() - started}
        done()
        with tempfile.TemporaryDirectory() as place, chdir(place), passes:
            out["generate"] = generate(base)
            done()
            if recipe is not None:
                out["learn"] = learn(base, recipe)
        out |= {"busy": busy(before, scheduled()), "gpu": device != "cpu"}
    except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        out = {"out_of_memory": str(error).splitlines()[0]}
    print(json.dumps(out | {"now": time.time()}))


def done() -> None:
    """Tell the process that waits that a part is done."""
    print(DONE.decode(), flush=True)


def generate(base: Base) -> dict[str, float]:
    """Seconds of a step on a window of the base's length, and a frame's through the VAE."""
    begun, clock = time.perf_counter(), Clock()
    frame, count = base.frame, int(base.config["frames"])
    shape = count, frame.height, frame.width, 3
    frames = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    encode_frames(base.vae, frames[:1])
    clock.restart()
    latents = encode_frames(base.vae, frames, clip=True)
    encode = clock.lap() / count
    poses = encode_poses(base, frames, clip=True)
    unet = method.build(base, Loss(guide=False), video=True).eval()
    warm = time.perf_counter()  # the first seconds of a process are slow: memory is new
    render_latents(base, unet, "a man", poses, 0, Sampling(steps=STEPS))
    begun += time.perf_counter() - warm
    render_latents(base, unet, "a man", poses, 0, Sampling(steps=STEPS), clock.advance)
    step = clock.usual()
    decode_latents(base.vae, latents[:1])
    clock.restart()
    decode_latents(base.vae, latents, clip=True)
    decode = clock.lap() / count
    rest = time.perf_counter() - begun - STEPS * step - count * (encode + decode)
    return {"fixed": rest, "step": step, "encode": encode, "decode": decode}


def learn(base: Base, recipe: Recipe) -> dict[str, Any]:
    """Seconds of each part of `personalize`; recipe: as `measure.shortened` makes it."""
    begun = time.perf_counter()
    subject, out = made_up(base), dict[str, Any]()
    if recipe.extras.appearance == appearance_search.AUTO:
        out["phrase"] = phrase_seconds(base, subject)
    clips = prior_preservation.clip_frames(base, recipe)
    clock = Clock()
    rows = encode_subject(base, subject, "sks", recipe, clips)
    out["frame"] = clock.lap() / recipe.extras.placements / FRAMES
    spent = out["frame"] * recipe.extras.placements * FRAMES + STEPS * out.get("phrase", 0.0)
    prior = {}
    for name, count, length in (("image", IMAGES, 1), ("clip", 1, clips)):
        begin = time.perf_counter()
        prior[name], seconds = regularize(base, name, count, length)
        out |= seconds
        spent += time.perf_counter() - begin
        done()
    if recipe.extras.background_augmentation:
        begin = time.perf_counter()
        out["background_step"] = picture_step(base, prior["image"].poses[:, 0])
        spent += time.perf_counter() - begin
    tensors: dict[str, torch.Tensor] = {}
    if recipe.extras.fit_vae_steps:
        begin = time.perf_counter()
        tensors |= fit_vae(base, subject, prior["image"], recipe, Path(), 0)
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
        "appearance": StageData(rows, prior["image"]),
        "motion": StageData(rows.clips or rows, prior["clip"]),
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


def made_up(base: Base) -> Subject:
    """A subject of noise."""
    (width, height), rng = base.frame, np.random.default_rng(0)
    points = np.ones((FRAMES, len(KEYPOINTS), 3), np.float32)
    points[..., :2] = rng.uniform(0, base.frame, (*points.shape[:2], 2))
    masks = np.zeros((FRAMES, height, width), np.float32)
    masks[:, height // 8 :, width // 3 : -width // 3] = 1
    frames = rng.integers(0, 256, (FRAMES, height, width, 3), np.uint8)
    captions = ["a <token> person"] * FRAMES
    return Subject(
        Path("subject"), frames, masks, points, captions, float(base.config["fps"]), "person", None
    )


def phrase_seconds(base: Base, subject: Subject) -> float:
    """Seconds of trying one description of the appearance search."""
    error, clock = appearance_search.errors(base, subject, Clock()), Clock()
    for number in range(STEPS):
        error(f"in a shirt {number}")
        clock.lap()
    return clock.usual()


def regularize(
    base: Base, name: str, count: int, length: int
) -> tuple[prior_preservation.PriorData, dict[str, float]]:
    """So many images or clips of other people; seconds of a step of one, and of the rest of it."""
    specs = prior_preservation.sample_people("person", count, 0)
    captions = [prior_preservation.caption_of(spec, "person") for spec in specs]
    begin, clock = time.perf_counter(), Clock()
    made = prior_preservation.generate_prior(base, specs, captions, STEPS, 0, length, clock)
    each, step = (time.perf_counter() - begin) / count, clock.usual()
    seconds = {f"{name}_step": step, name: max(each - STEPS * step, 0)}
    return prior_preservation.PriorData(*made, captions), seconds


def picture_step(base: Base, poses: torch.Tensor) -> float:
    """Seconds of a denoising step of one of the pictures that are made together; poses (N, ...)."""
    network = method.build(base, Loss(guide=False), video=False).eval()
    poses = poses.repeat(BATCH // len(poses), 1, 1, 1)
    clock = Clock()
    render_images(base, network, ["a man"] * BATCH, poses, 0, STEPS, clock.advance)
    return clock.usual() / BATCH


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


if __name__ == "__main__":
    main()
