"""Seconds of a few steps of a base and a recipe on this machine, by a profiling run.

The profiling run (`probe`) is a process of its own. Its result is cached by base, recipe and
machine, so it runs once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from animateanywhere.backbones.base import Base, encode_poses, encode_text, latent_shape
from animateanywhere.core.device import machine
from animateanywhere.core.errors import Failure
from animateanywhere.core.estimate import FULL
from animateanywhere.core.frame_size import square
from animateanywhere.core.messages import progress
from animateanywhere.core.paths import PACKAGE
from animateanywhere.methods.animate_anywhere import method
from animateanywhere.methods.animate_anywhere.cost import cache
from animateanywhere.methods.animate_anywhere.settings import Loss, Recipe, to_dict

STEPS = 6  # of each stage in the profiling run
BUSY, SOON = (
    0.15,
    600.0,
)  # share of the processor that others took; then it is valid for so many seconds
DONE = b"done"  # a line of the profiling run after each of its parts

Probe = dict[str, Any]  # what `probe.main` prints


def probe(base: Base, recipe: Recipe | None = None, run: bool = True) -> Probe | None:
    """Measurements for this base, recipe and machine: cached ones, or those of a profiling run.

    recipe: None for generation only. run: False returns None where nothing is cached.
    Raises Failure where the profiling run fails for another reason than memory.
    """
    short = None if recipe is None else shortened(recipe)
    path = _file(base, short)
    made = cache.read(path)
    if made is not None and (made["busy"] < BUSY or time.time() - path.stat().st_mtime < SOON):
        return made
    if not run:
        return None
    made = _run(base, short)
    if "out_of_memory" not in made:
        # Generation is part of both, and the same where weights are not held in half precision
        for file in {path} if made["gpu"] else {path, _file(base, None)}:
            cache.write(file, made)
    return made


def _run(base: Base, short: Recipe | None) -> Probe:
    """The profiling run, in a process of its own."""
    table = None if short is None else to_dict(short)
    work = json.dumps([str(base.folder.resolve()), base.frame, table, time.time()]).encode()
    paths = [str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    total = (
        2
        if short is None
        else 5 + bool(short.extras.fit_vae_steps) + short.extras.checkpoint_selection
    )
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            [sys.executable, "-m", "animateanywhere.methods.animate_anywhere.cost.probe"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        ) as child,
        progress("measuring a few steps", total=total) as bar,
    ):  # fmt: skip
        assert child.stdin is not None and child.stdout is not None
        try:
            with suppress(BrokenPipeError):  # it ended at once: its exit code says so
                child.stdin.write(work)
                child.stdin.close()
            last = b"{}"
            for line in child.stdout:
                if line.strip() == DONE:
                    bar.advance(1)
                last = line
        except BaseException:
            child.kill()
            raise
        if child.wait() == -9:  # by the system, for want of memory
            return {"out_of_memory": "killed"}
        if child.returncode:
            errors.seek(0)
            words = errors.read().decode(errors="replace").strip().splitlines() or ["no message"]
            raise Failure(f"the profiling run failed: {words[-1]}")
    made = json.loads(last)
    return made | {"end": max(time.time() - made["now"], 0)} if "now" in made else made


def _file(base: Base, short: Recipe | None) -> Path:
    """The cache file of a base and a shortened recipe on this machine."""
    return cache.file_of("time", base.hash, base.frame, short and to_dict(short), machine())


def shortened(recipe: Recipe) -> Recipe:
    """The recipe with a few logged steps a stage; those that differ only in steps become equal."""
    personal = replace(
        recipe.personal,
        prior_images=1,
        prior_clips=1,
        prior_steps=1,
    )
    extras = replace(
        recipe.extras,
        background_images=1,
        background_clips=1,
        placements=min(recipe.extras.placements, 2),
        fit_vae_steps=min(recipe.extras.fit_vae_steps, STEPS),
        fit_vae_below=inf,
    )
    stages = tuple(
        replace(stage, steps=STEPS, log_every=1, save_every=STEPS, sample_every=0, warmup=0)
        for stage in recipe.personal_stages
    )
    return replace(recipe, name="", personal=personal, extras=extras, stage=stages)


def room_for_another(base: Base) -> bool:
    """Whether the memory that is free, of the machine and of its GPU, holds all of a base once
    more."""
    sizes: dict[str, int] = {}
    for part in base.networks.values():
        for weight in part.parameters():
            sizes[weight.device.type] = sizes.get(weight.device.type, 0) + weight.nbytes
    gpu = sizes.get("cuda", 0)
    if gpu and gpu > FULL * torch.cuda.mem_get_info()[0]:
        return False
    return sum(sizes.values()) <= FULL * psutil.virtual_memory().available


def pass_seconds(base: Base) -> float:
    """Seconds of one image through the network: a first guess of how long anything takes. Larger
    frames than usual are not tried, since it is not yet known whether they fit into memory."""
    usual = square(int(base.config["size"]))
    larger = max((base.frame.side / usual.side) ** 2, 1.0)
    base = base.at(usual) if larger > 1 else base
    network, frame = method.build(base, Loss(guide=False), False), base.frame
    x = torch.zeros(1, 1, *latent_shape(base), device=network.device)
    timesteps = torch.tensor([500], device=network.device)
    with torch.no_grad():
        poses = encode_poses(base, np.zeros((1, frame.height, frame.width, 3), np.uint8))[None]
        text, seconds = encode_text(base, ["a man"]), 0.0
    for _ in range(2):  # the first warms up
        start = time.perf_counter()
        with torch.no_grad():
            made = base.family.predict(network, x, timesteps, poses, text)
            made.sum().item()
        seconds = time.perf_counter() - start
    return larger * seconds
