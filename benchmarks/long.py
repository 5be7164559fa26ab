"""Long videos: time, memory, seams between windows, and drift of colors, at several lengths.

    .venv/bin/python benchmarks/long.py [--frames 16,64,256] [--weights personal.safetensors]

A rendered person dances on a beach; the base makes that of words, or weights of "a sks man", each
length in a process of its own. Printed is a Markdown table. Seams: change from frame to frame
outside of the person where a window begins or ends, over that elsewhere (1: cannot be seen).
Drift: CIEDE2000 between the mean colors of the first and the last sixteen frames, of the scene and
of the person; beside it that of the true render.
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
    """Rendered in pieces: one of all frames would take more memory than what is measured here."""
    spec = stage_spec("dance", "beach", "none")
    spec = replace(spec, motion=replace(spec.motion, tempo=0.8))
    pieces = [render(spec, END, SIZE, FPS, start=first / FPS) for first in range(0, frames, END)]
    names = ("frames", "masks", "parts", "keypoints")
    whole = {n: np.concatenate([getattr(p, n) for p in pieces])[:frames] for n in names}
    return replace(pieces[0], **whole)


def drift(frames: np.ndarray, masks: np.ndarray) -> tuple[float, float]:
    """Of the scene and of the person, from the first sixteen frames to the last."""
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
    """Flicker where windows begin or end, over that elsewhere; nan in one window."""
    from animateanywhere.diffusion.sampling import windows

    ranges = windows(len(frames), length, length // 4)
    at = {edge for pair in ranges for edge in pair} - {0, len(frames)}
    if not at:
        return float("nan")
    apart = np.abs(np.diff(frames.astype(np.float32), axis=0)).mean(-1)  # (F - 1, H, W)
    free = 1 - np.maximum(masks[1:], masks[:-1])
    change = (apart * free).sum((1, 2)) / free.sum((1, 2))
    edges = np.isin(np.arange(1, len(frames)), list(at))
    return float(change[edges].mean() / change[~edges].mean())


def one(frames: int, weights: Path | None, free: bool) -> dict[str, float]:
    """A length, measured in this process."""
    clip = truth(frames)
    who = describe_identity(clip.spec.identity) if weights is None else f"{TOKEN} man"
    with tempfile.TemporaryDirectory() as place, chdir(place):
        pose = Path("dance.poses.json")
        skeleton.write_poses(pose, skeleton.Poses(clip.keypoints, SIZE, SIZE, FPS))
        begun = time.perf_counter()
        made = generate(
            caption(clip.spec, seed=1, person=who, looks=False),
            pose,
            GenerateOptions(
                weights=weights, fit="none", base=None if weights else "mini", free_noise=free
            ),
        )
        seconds, memory = time.perf_counter() - begun, peak_memory()
        shown = video.read(made).frames
    seen = perceive(load_perception(BUNDLED / "perception"), shown)["masks"]
    length = int(load_base().config["frames"])
    true = clip.masks.astype(np.float32) / 255
    scene, person = drift(shown, seen)
    return {
        "frames": frames, "seconds": seconds, "memory": memory,
        "seams": seams(shown, np.maximum(seen, true), length), "scene": scene, "person": person,
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
        said = subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], "--one", frames], stdout=subprocess.PIPE,
            check=True, text=True,
        ).stdout  # fmt: skip
        row = json.loads(said.splitlines()[-1])
        print(
            "| {frames} | {seconds:.1f} | {each:.2f} | {memory:.2f} | {seams:.2f} | {scene:.2f} "
            "({true_scene:.2f}) | {person:.2f} ({true_person:.2f}) |".format(
                **row, each=row["seconds"] / row["frames"]
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
