"""Generation of long videos: time, memory, seams between windows and color drift at several
lengths.

    .venv/bin/python benchmarks/long.py [--frames 16,64,256] [--weights personal.safetensors]

The motion is that of a rendered person who dances on a beach. The base generates it from a
description in words or, with --weights, as "a sks man"; each length in its own process. Prints a
Markdown table. Seams: change from frame to frame outside the person at the ends of windows,
relative to that at other frames (1: invisible). Drift: CIEDE2000 between the mean colors of the
first and the last sixteen frames, of scene and person; in parentheses for the true render.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

import numpy as np
from skimage.color import deltaE_ciede2000, rgb2lab

from animateanywhere.backbones.base import BUNDLED, load_base
from animateanywhere.commands.demo import TOKEN, stage_spec
from animateanywhere.commands.generate import GenerateOptions, generate
from animateanywhere.core.device import peak_memory
from animateanywhere.evaluation.perception import load_perception, perceive
from animateanywhere.media import video
from animateanywhere.pose import skeleton
from animateanywhere.puppets import Clip, caption, describe_identity, render

SIZE, FPS, END = 128, 8.0, 16


def truth(frames: int) -> Clip:
    """The true render, in pieces: in one piece, rendering would determine the peak of memory."""
    spec = stage_spec("dance", "beach", "none")
    spec = replace(spec, motion=replace(spec.motion, tempo=0.8))
    pieces = [render(spec, END, SIZE, FPS, start=first / FPS) for first in range(0, frames, END)]
    names = ("frames", "masks", "parts", "keypoints")
    whole = {n: np.concatenate([getattr(p, n) for p in pieces])[:frames] for n in names}
    return replace(pieces[0], **whole)


def drift(frames: np.ndarray, masks: np.ndarray) -> tuple[float, float]:
    """Color drift of scene and person from the first to the last sixteen frames, in CIEDE2000."""
    lab, masks = rgb2lab(frames), masks[..., None]
    means = [
        [
            (lab[part] * share[part]).sum((0, 1, 2)) / share[part].sum()
            for share in (1 - masks, masks)
        ]
        for part in (slice(0, END), slice(-END, None))
    ]
    scene, person = (float(deltaE_ciede2000(*pair)) for pair in zip(*means, strict=True))
    return scene, person


def seams(frames: np.ndarray, masks: np.ndarray, length: int) -> float:
    """Flicker at the ends of windows relative to that at other frames; NaN for a single window."""
    from animateanywhere.diffusion.sampling import windows

    ranges = windows(len(frames), length)
    at = {edge for pair in ranges for edge in pair} - {0, len(frames)}
    if not at:
        return float("nan")
    differences = np.abs(np.diff(frames.astype(np.float32), axis=0)).mean(-1)  # (F - 1, H, W)
    free = 1 - np.maximum(masks[1:], masks[:-1])
    change = (differences * free).sum((1, 2)) / free.sum((1, 2))
    edges = np.isin(np.arange(1, len(frames)), list(at))
    return float(change[edges].mean() / change[~edges].mean())


def one(frames: int, weights: Path | None, free: bool) -> dict[str, float]:
    """Measure one length in this process."""
    clip = truth(frames)
    who = describe_identity(clip.spec.identity) if weights is None else f"{TOKEN} man"
    with tempfile.TemporaryDirectory() as place, chdir(place):
        pose = Path("dance.poses.json")
        skeleton.write_poses(pose, skeleton.Poses(clip.keypoints, SIZE, SIZE, FPS))
        begun = time.perf_counter()
        path = generate(
            caption(clip.spec, seed=1, person=who, appearance=False),
            pose,
            GenerateOptions(
                weights=weights, fit="none", base=None if weights else "mini", free_noise=free
            ),
        )
        seconds, memory = time.perf_counter() - begun, peak_memory()
        shown = video.read(path).frames
    detected = perceive(load_perception(BUNDLED / "perception"), shown)["masks"]
    length = int(load_base().config["frames"])
    true = clip.masks.astype(np.float32) / 255
    scene, person = drift(shown, detected)
    return {
        "frames": frames, "seconds": seconds, "memory": memory,
        "seams": seams(shown, np.maximum(detected, true), length),
        "scene": scene, "person": person,
        "true_scene": drift(clip.frames, true)[0], "true_person": drift(clip.frames, true)[1],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--frames", default="16,64,256")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--free-noise", action="store_true")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    weights = options.weights and options.weights.resolve()
    if options.one:
        print(json.dumps(one(options.one, weights, options.free_noise)))
        return
    heads = (
        "frames", "seconds", "a frame", "peak memory, GB", "seams", "drift of the scene (true)",
        "of the person (true)",
    )  # fmt: skip
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    for frames in options.frames.split(","):
        output = subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], "--one", frames], stdout=subprocess.PIPE,
            check=True, text=True,
        ).stdout  # fmt: skip
        row = json.loads(output.splitlines()[-1])
        print(
            "| {frames} | {seconds:.1f} | {each:.2f} | {memory:.2f} | {seams:.2f} | {scene:.2f} "
            "({true_scene:.2f}) | {person:.2f} ({true_person:.2f}) |".format(
                **row, each=row["seconds"] / row["frames"]
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
