"""How far a base goes on real footage: clips learned, made again, and put into other scenes.

    .venv/bin/python benchmarks/real.py [CLIP.mp4 ...] [--driving A.mp4 --driving B.mp4]

Each clip is learned by the base's own recipe. Its first 16 frames are made again from its own poses
and compared with what was filmed; beside that stand the VAE's round trip, which is the ceiling, and
the base told in words only. Then "a sks man" is put into two other scenes, with two driving
motions each, and the base told in words only with the first. Joints are detected again by
MediaPipe in what was made: a frame in which it sees nobody counts as missed. It finds people by
their faces, which a small base draws poorly, so the network of rendered people looks as well, and
tells person from scene where MediaPipe sees nobody (leak, flicker, colors); and a PCK is to be
read beside that of standing still in the motion's mean pose. "As filmed" tells what
either eye can see at the base's size. Without clips, those of FOLDER (default ../shared/real) that
show one person long enough are taken.
Prints two Markdown tables; OUT gets them as `table.md`, `metrics.json`, and a folder a clip with
its weights, videos and `contact_sheet.png`: look at it. Run again, it goes on where it stopped:
what is there of the same base, clip and recipe is not made again.
--fast: a tenth of the steps, one scene, one motion, into OUT/fast; its numbers are no results.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from animateanywhere import __version__
from animateanywhere.backbones.base import load_base
from animateanywhere.backbones.personal_weights import build_of, load_personal, read_metadata
from animateanywhere.backbones.vae import decode_latents, encode_frames
from animateanywhere.commands.generate import GenerateOptions, generate
from animateanywhere.commands.personalize import PersonalizeOptions, personalize
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import finite, sha256, write_aside
from animateanywhere.core.messages import progress, say
from animateanywhere.datasets.subject import overlay_skeletons, read_subject
from animateanywhere.evaluation import real
from animateanywhere.evaluation.observe import Observed, observe_frames
from animateanywhere.evaluation.perception import (
    Perception,
    load_perception,
    perceive,
    perception_of,
)
from animateanywhere.evaluation.scores import Networks, score, unrelated_scenes
from animateanywhere.evaluation.targets import read_sidecar
from animateanywhere.media import video
from animateanywhere.methods.animate_anywhere.personal_stages import recipe_of
from animateanywhere.methods.animate_anywhere.settings import Recipe, quick, to_dict
from animateanywhere.pose import skeleton
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.driving import Driving, read_driving

FRAMES, TOKEN = 16, "sks"
# Pixels to which frames are enlarged before MediaPipe seeks joints in them. Of one clip's 16 frames
# through the VAE it then saw 11, not 9; of generated ones as many as without.
SIDE = 512
EYES = Backends(pose="mediapipe", mask="mediapipe")
# Of FOLDER: class word, where it plays, and two scenes where it does not. `hiker_tiny` is `hiker`
# again, smaller; the water of the surfers is too near to a beach.
CLIPS = {
    "AnyCharV/dance1.mp4": ("man", "in a room", ("on a beach", "in a forest")),
    "AnyCharV/dance1_upper.mp4": ("man", "in a room", ("on a beach", "in a forest")),
    "ControlVideo/moonwalk.mp4": ("man", "on a stage", ("on a beach", "in a forest")),
    "Tune-A-Video/man-surfing.mp4": ("man", "on the sea", ("in a forest", "on a street")),
    "AnyCharV/surf.mp4": ("woman", "on a lake", ("in a forest", "on a street")),
    "finetrainers/hiker.mp4": ("person", "in the mountains", ("on a beach", "on a street")),
}
SKELETONS, DANCE, OTHER = (
    "Moore-AnimateAnyone/anyone-video-1_kps.mp4", "AnyCharV/dance1.mp4",
    "ControlVideo/moonwalk.mp4",
)  # fmt: skip


@dataclass(frozen=True)
class Clip:
    path: Path
    class_word: str
    scene: str | None
    elsewhere: tuple[str, ...]
    drivings: tuple[Path, ...]


@dataclass(frozen=True)
class Run:
    """What is the same for all clips."""

    out: Path
    base: str
    hash: str  # of the base
    size: int  # pixels a side of what it makes
    fps: float
    recipe: Recipe
    net: Perception


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("clips", nargs="*", type=Path)
    parser.add_argument("--driving", action="append", type=Path, help="for all clips; may be two")
    parser.add_argument("--class-word", help="of clips that this file does not know (person)")
    parser.add_argument("--scene", help="where they were filmed, such as 'in a room'")
    parser.add_argument("--folder", type=Path, default=Path("..") / "shared" / "real")
    parser.add_argument("--base", default="mini")
    parser.add_argument("--recipe", help="default: the base's own; give another --out, too")
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("runs") / "real")
    options = parser.parse_args()
    if not options.clips and not options.folder.is_dir():
        parser.error(f"{options.folder}: no such folder; name clips, or give another --folder")
    paths = options.clips or [options.folder / name for name in CLIPS]
    try:
        model = load_base(options.base)
        recipe = recipe_of(model, options.recipe)
    except UsageError as error:
        parser.error(str(error))
    recipe = quick(recipe) if options.fast else recipe
    out = options.out / "fast" if options.fast else options.out
    size, fps = int(model.config["size"]), float(model.config["fps"])
    net = load_perception(perception_of(model.folder))
    run, found = Run(out, options.base, model.hash, size, fps, recipe, net), {}
    with progress("real clips", total=len(paths)) as bar:
        for path in paths:
            clip = known(path, options)
            try:
                found[path.stem] = one(clip, run)
            except UsageError as error:
                say(f"[yellow]left out[/yellow]: {error}")
                found[path.stem] = str(error).replace(str(path), path.name)
            report(run, found)  # what a stop leaves
            bar.advance(1)
    print((out / "table.md").read_text(encoding="utf-8"), end="")


def known(path: Path, options: argparse.Namespace) -> Clip:
    """A clip with what is to be made of it."""
    name = f"{path.parent.name}/{path.name}"
    scene = options.scene
    asked = options.class_word or "person", scene, real.other_scenes(scene)
    class_word, scene, elsewhere = CLIPS.get(name, asked)
    second = OTHER if name.startswith(DANCE.removesuffix(".mp4")) else DANCE
    drivings = options.driving or [
        file for file in (options.folder / SKELETONS, options.folder / second) if file.is_file()
    ]
    if not drivings:
        say(f"{path.name}: no --driving, and none in {options.folder}: not put elsewhere")
    if options.fast:
        elsewhere, drivings = elsewhere[:1], drivings[:1]
    return Clip(path, class_word, scene, elsewhere, tuple(drivings))


def one(clip: Clip, run: Run) -> dict[str, dict[str, Any]]:
    """Learn a clip, make all its videos and measure them: the rows of both tables."""
    out = run.out / clip.path.stem
    weights = personalize(
        clip.path,
        TOKEN,
        PersonalizeOptions(
            class_word=clip.class_word,
            scene=clip.scene,
            base=run.base,
            out=out,
            recipe=run.recipe,
            backends=EYES,
        ),
    )
    again, shown = made_again(clip, run, out, weights)
    elsewhere, more = augment_backgrounds(clip, run, out, weights)
    video.contact_sheet(out / "contact_sheet.png", [*shown, *more])
    return {"again": again, "elsewhere": elsewhere}


def made_again(clip: Clip, run: Run, out: Path, weights: Path) -> tuple[dict, list]:
    """The clip's first frames from their own poses: numbers and rows of the sheet, by who made
    them."""
    subject = read_subject(out / "subject")
    frames, masks = subject.frames[:FRAMES], subject.masks[:FRAMES]
    height, width = frames.shape[1:3]
    poses = out / "own.poses.json"
    own = skeleton.Poses(subject.keypoints[:FRAMES], width, height, subject.fps)
    skeleton.write_poses(poses, own)
    driving = read_driving(poses, run.fps, FRAMES)
    made = {"as filmed": frames}
    model = load_base(run.base)
    latents = encode_frames(model.vae, frames)
    made["VAE alone"] = decode_latents(model.vae, latents)
    load_personal(weights, model)
    made["VAE as fitted"] = decode_latents(model.vae, encode_frames(model.vae, frames))
    where = f" {clip.scene}" if clip.scene else ""
    for name, who, from_weights in (
        ("personalized", f"a {TOKEN} {clip.class_word}", weights),
        ("words only", f"a {clip.class_word}", None),
    ):
        file = out / f"again-{name.split()[0]}.mp4"
        made[name], motion = make(who + where, poses, driving, from_weights, file, "none", run)
    rows, shown = {}, [("the clip's own poses", motion.skeletons)]
    for name, pictures in made.items():
        seen = observe_frames(pictures, run.fps, clip.path, EYES, SIDE)
        rows[name] = real.motion_scores(seen, motion.keypoints)
        rows[name] |= real.network_scores(network_sees(run, pictures), motion.keypoints)
        if name != "as filmed":
            rows[name] |= real.reconstruction_scores(pictures, frames, masks)
        shown.append((name, pictures))
        if name in ("as filmed", "personalized"):
            shown.append(
                (f"{name}: joints seen in it", overlay_skeletons(pictures, seen.keypoints))
            )
    return rows, shown


def augment_backgrounds(clip: Clip, run: Run, out: Path, weights: Path) -> tuple[dict, list]:
    """The person in other scenes with other motions: numbers by prompt and motion, and rows of the
    sheet. With the first motion also somebody told in words only, whose leak is what chance
    gives."""
    subject = read_subject(out / "subject")
    reference = Observed(
        subject.frames, subject.masks, subject.keypoints, subject.fps
    ).person_frames()
    others = unrelated_scenes()
    rows, shown = {}, []
    for number, file in enumerate(clip.drivings):
        driving = read_driving(file, run.fps, FRAMES, EYES)
        for scene in clip.elsewhere:
            for who, from_weights in ((f"{TOKEN} ", weights), ("", None)):
                if from_weights is None and number:
                    continue
                words = f"a {who}{clip.class_word} {scene}"
                slug = f"{scene.split()[-1]}-{file.stem}{'' if from_weights else '-words'}"
                path = out / f"{slug}.mp4"
                made, motion = make(words, file, driving, from_weights, path, "bones", run)
                seen = real.without_partial_bodies(observe_frames(made, run.fps, path, EYES, SIDE))
                there = network_sees(run, made)
                filled = real.with_missed_persons(seen, there)
                row = score(filled, reference, motion.keypoints, None, Networks(), others)
                row |= real.person_counts(seen)
                if motion.keypoints is not None:
                    row |= real.motion_scores(seen, motion.keypoints)
                    row |= real.network_scores(there, motion.keypoints)
                rows.setdefault(words, {})[file.stem] = row
                shown += [(f"{file.stem}, {words}: asked", motion.skeletons), ("made", made),
                          ("detected joints",
                           overlay_skeletons(made, seen.keypoints))]  # fmt: skip
    return rows, shown


def network_sees(run: Run, frames: np.ndarray) -> Observed:
    """Frames, (F, H, W, 3) uint8, and the person that the network of rendered people sees."""
    found = perceive(run.net, frames)
    return Observed(frames, found["masks"], found["keypoints"], run.fps)


def make(
    prompt: str, file: Path, driving: Driving, weights: Path | None, out: Path, fit: Any, run: Run
) -> tuple[np.ndarray, real.Motion]:
    """A video, uint8 (F, H, W, 3), unless the one that is there was made in the same way; and the
    motion that drove it."""
    fit = "none" if driving.pictures is not None else fit
    build = None if weights is None else build_of(read_metadata(weights))
    motion = real.motion_of(driving, run.size, fit, build)
    wanted = {
        "prompt": prompt, "fit": fit, "seed": 0, "version": __version__,
        "weights": None if weights is None else sha256(weights),
        "base": {"hash": run.hash}, "pose": {"sha256": motion.sha256},
    }  # fmt: skip
    if not out.is_file() or not real.matches(read_sidecar(out), wanted):
        generate(
            prompt,
            file,
            GenerateOptions(
                weights=weights, base=run.base, out=out, fit=fit, frames=FRAMES, backends=EYES
            ),
        )
    return video.read(out).frames, motion


def report(run: Run, found: dict[str, Any]) -> None:
    """`table.md` and `metrics.json` of the clips so far; found: a reason for those left out."""
    again, elsewhere = [], []
    for clip, tables in found.items():
        if isinstance(tables, str):
            again.append(((clip, "**left out**"), tables))
            continue
        again += [((clip, name), row) for name, row in tables["again"].items()]
        for words, motions in tables["elsewhere"].items():
            elsewhere += [((clip, words, motion), row) for motion, row in motions.items()]
    text = real.markdown(("clip", "made by"), again, real.RECONSTRUCTION_COLUMNS) + "\n"
    text += real.markdown(("clip", "prompt", "motion"), elsewhere, real.NEW_SCENE_COLUMNS)
    with write_aside(run.out / "table.md") as aside:
        aside.write_text(text, encoding="utf-8")
    record = {
        "base": {"name": run.base, "hash": run.hash}, "version": __version__, "frames": FRAMES,
        "recipe": to_dict(run.recipe), "clips": found,
    }  # fmt: skip
    with write_aside(run.out / "metrics.json") as aside:
        aside.write_text(json.dumps(finite(record), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
