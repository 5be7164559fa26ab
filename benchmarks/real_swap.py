"""Benchmark of `aa swap` on real pictures and scenes, of which no true swap is known.

    .venv/bin/python benchmarks/real_swap.py [--base mini-swap] [--folder ../shared/real]

Each character is put into each scene (16 frames at 8 a second), with poses and masks as the default
detectors find them. Measured are the colors of the clothes, at the places where `aa` compares them
(trunk and thighs by the joints, medians, CIEDE2000): how far the character's are from the old
person's, from the result's, and how far the result's are from the old person's. A swap that worked
is far below the first in the second number. PCK: joints of the result, found by the same detector,
against those of the scene; a frame in which it finds nobody counts as missed.

Prints a Markdown table, and writes it to OUT with `metrics.json`, the videos and their contact
sheets. Results for the same base are used again.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from skimage.color import deltaE_ciede2000, rgb2lab

from animateanywhere import __version__
from animateanywhere.backbones.base import find_base, hash_of
from animateanywhere.commands.swap import scene_folder, swap
from animateanywhere.commands.swap_settings import SwapOptions
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import write_aside
from animateanywhere.core.messages import progress, quietly, say
from animateanywhere.evaluation import real
from animateanywhere.evaluation.observe import observe_frames
from animateanywhere.evaluation.records import scored
from animateanywhere.media import video
from animateanywhere.media.source import Part
from animateanywhere.preprocessing import clothes
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.character import read_character
from animateanywhere.preprocessing.scene.parts import read_keypoints
from animateanywhere.preprocessing.scene.prepared import prepare_scene
from animateanywhere.preprocessing.scene.scan import scene_facts
from animateanywhere.preprocessing.who import Who

CHARACTERS = (
    "AnyCharV/human6.jpg", "MimicMotion/demo1.jpg", "Moore-AnimateAnyone/anyone-11.png",
    "Make-A-Protagonist/wt_1024.jpg", "mmpose/coco_000000000785.jpg", "AnyCharV/cartoon1.jpg",
)  # fmt: skip
SCENES = ("AnyCharV/dance1.mp4", "ControlVideo/moonwalk.mp4", "Tune-A-Video/man-surfing.mp4")
MEASURES = 4  # version of what is made and measured
FRAMES, FPS = 16, 8.0
SIDE = 512  # pixels of a side of frames for the detector
COLUMNS = {
    "before": ("old person to character", 1), "after": ("result to character", 1),
    "old": ("result to old person", 1), "pck": ("PCK", 2), "seen": ("person found in, of 16", 0),
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """What all swaps share."""

    out: Path
    base: str
    detectors: Backends


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("..") / "shared" / "real")
    parser.add_argument("--base", default="mini-swap")
    parser.add_argument("--out", type=Path, default=Path("runs") / "real-swap")
    options = parser.parse_args()
    if not options.folder.is_dir():
        parser.error(f"{options.folder}: no such folder; give another --folder")
    run = Run(options.out, options.base, Backends())
    pairs = [(options.folder / who, options.folder / where) for where in SCENES
             for who in CHARACTERS]  # fmt: skip
    rows: list[tuple[list[str], real.Scores | str]] = []
    with progress("swaps", total=len(pairs)) as bar:
        for character, scene in pairs:
            heads = [character.stem, scene.stem]
            try:
                rows.append((heads, one(character, scene, run)))
            except UsageError as error:
                say(f"[yellow]left out[/yellow]: {error}")
                rows.append((heads, str(error).replace(str(options.folder), "")))
            bar.advance(1)
    table = real.markdown(["character", "scene"], rows, COLUMNS)
    with write_aside(run.out / "table.md") as aside:
        aside.write_text(table, encoding="utf-8")
    print(table, end="")


def one(character: Path, scene: Path, run: Run) -> real.Scores:
    """Swap one character into one scene, once for a base, and measure it."""
    out = run.out / f"{character.stem}-{scene.stem}"
    key = {"base": hash_of(find_base(run.base)), "version": __version__, "measures": MEASURES}

    def make() -> list[dict[str, Any]]:
        options = SwapOptions(
            run.base, out=out / "swap.mp4", overwrite=True, fps=FPS, part=Part(frames=FRAMES),
            runs=run.out / "runs", contact_sheet=out / "contact_sheet.png",
        )  # fmt: skip
        made = swap([character], scene, options)
        return [measure(character, scene, made, options, run.detectors)]

    found: real.Scores = scored(out / "metrics.json", key, make)
    return found | {name: int(found[name]) for name in ("seen", "frames")}


def measure(
    character: Path, scene: Path, result: Path, options: SwapOptions, detectors: Backends
) -> dict[str, Any]:
    """Colors of clothes, and joints, of a swap."""
    facts = scene_facts(scene, FPS, options.part)
    with quietly(), scene_folder(scene, options.runs) as (folder, _):
        prepared = prepare_scene(facts, folder, None, detectors)
        known = read_character(
            character, Who([character], None, folder / "people.png"), detectors, 0
        )
    poses = np.concatenate([read_keypoints(part) for part in prepared.parts])
    shown = np.setdiff1d(np.arange(prepared.total), prepared.passed_through)
    old = video.read(scene, max_frames=FRAMES, fps=FPS).frames
    made = video.read(result).frames
    ratio = old.shape[2] / facts.size.width  # large videos are read smaller
    poses[..., :2] *= ratio
    looks = {
        "character": middle(known.pixels[None], known.keypoints[None]),
        "old": middle(old[shown], poses), "result": middle(made[shown], poses),
    }  # fmt: skip
    found = observe_frames(made[shown], FPS, result, detectors, SIDE)
    return {
        "before": apart(looks["old"], looks["character"]),
        "after": apart(looks["result"], looks["character"]),
        "old": apart(looks["result"], looks["old"]),
        **{name: float(value) for name, value in real.motion_scores(found, poses).items()},
        "delta_e_parts": {},
    }


def middle(frames: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """The median colors of trunk and thighs over frames (F, H, W, 3), RGB (2, 3) in 0..255."""
    colors = [clothes.colors(frame, pose[None])[0].reshape(2, -1, 3)
              for frame, pose in zip(frames, keypoints, strict=True)]  # fmt: skip
    medians = np.stack(colors)[:, :, len(clothes.QUANTILES) // 2]
    found: np.ndarray = np.nanmedian(medians, axis=0)
    return found


def apart(first: np.ndarray, second: np.ndarray) -> float:
    """The mean CIEDE2000 of trunk and thighs, of those that both show."""
    return float(np.nanmean(deltaE_ciede2000(rgb2lab(first / 255), rgb2lab(second / 255))))


if __name__ == "__main__":
    main()
