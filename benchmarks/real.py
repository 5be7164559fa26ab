"""Benchmark on real footage: clips are learned, reconstructed, and generated in other scenes.

    .venv/bin/python benchmarks/real.py [CLIP.mp4 ...] [--driving A.mp4 --driving B.mp4]

Each clip is learned with the base's own recipe. Its first 16 frames are reconstructed from its own
poses and compared with the footage; for comparison, the table has the VAE's round trip, which is
the best possible, and the base with the person described in words. Then "a sks man" is generated in
two other scenes, with two driving motions each, and once with a description in words. Joints are
detected in the generated videos by MediaPipe; a frame in which it finds nobody counts as missed.
MediaPipe finds people by their faces, which a small base draws poorly, so the perception network
for rendered people is used as well, and separates person and background where MediaPipe finds
nobody (for leak, flicker and colors). Compare each PCK with that of standing still in the motion's
mean pose. The rows "as filmed" show what both detectors find at the base's resolution. By default,
the clips of FOLDER (../shared/real) are used that show one person long enough.

Prints Markdown tables, one of them with the means of the reconstructions over the clips, and writes
them to OUT with `metrics.json` and, for each clip, a folder with weights, videos and
`contact_sheet.png`. Run it again to resume: results for the same base, clip and recipe are reused.
--fast: a tenth of the steps, one scene, one motion, in OUT/fast; its numbers are not results.
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
from animateanywhere.backbones.personal_weights import (
    learned_keypoints,
    load_personal,
    read_metadata,
)
from animateanywhere.backbones.vae import decode_latents, encode_frames
from animateanywhere.commands.generate import GenerateOptions, generate
from animateanywhere.commands.personalize import PersonalizeOptions, personalize
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import finite, sha256, write_aside
from animateanywhere.core.frame_size import square
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
from animateanywhere.evaluation.sidecar import read_sidecar
from animateanywhere.media import video
from animateanywhere.methods.animate_anywhere.personal_stages import recipe_of
from animateanywhere.methods.animate_anywhere.settings import Recipe, quick, to_dict
from animateanywhere.pose import skeleton
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.driving import Driving, read_driving

FRAMES, TOKEN = 16, "sks"
# Pixels to which frames are enlarged for MediaPipe. Of one clip's 16 frames through the VAE it then
# found the person in 11, not 9; of generated frames in as many as without.
SIDE = 512
DETECTORS = Backends(pose="mediapipe", mask="mediapipe")
# Clips of FOLDER: class word, the filmed scene, and two other scenes. `hiker_tiny` is a smaller
# `hiker`; the water of the surfers is too similar to a beach.
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
    """What all clips share."""

    out: Path
    base: str
    hash: str  # of the base
    size: int  # pixels a side of the base's frames
    fps: float
    recipe: Recipe
    net: Perception
    draw: real.Draw  # of skeletons, as the base was trained on


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("clips", nargs="*", type=Path)
    parser.add_argument(
        "--driving", action="append", type=Path, help="motion for all clips; may be given twice"
    )
    parser.add_argument("--class-word", help="of clips not listed in this file (person)")
    parser.add_argument("--scene", help="where those were filmed, such as 'in a room'")
    parser.add_argument("--folder", type=Path, default=Path("..") / "shared" / "real")
    parser.add_argument("--base", default="mini")
    parser.add_argument("--recipe", help="default: the base's own; give another --out as well")
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("runs") / "real")
    options = parser.parse_args()
    if not options.clips and not options.folder.is_dir():
        parser.error(f"{options.folder}: no such folder; give clips, or another --folder")
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
    draw = model.family.draw
    run, found = Run(out, options.base, model.hash, size, fps, recipe, net, draw), {}
    with progress("real clips", total=len(paths)) as bar:
        for path in paths:
            clip = known(path, options)
            try:
                found[path.stem] = one(clip, run)
            except UsageError as error:
                say(f"[yellow]left out[/yellow]: {error}")
                found[path.stem] = str(error).replace(str(path), path.name)
            report(run, found)  # after each clip, for runs that are interrupted
            bar.advance(1)
    print((out / "table.md").read_text(encoding="utf-8"), end="")


def known(path: Path, options: argparse.Namespace) -> Clip:
    """A clip with its class word, scenes and driving motions."""
    name = f"{path.parent.name}/{path.name}"
    scene = options.scene
    given = options.class_word or "person", scene, real.other_scenes(scene)
    class_word, scene, elsewhere = CLIPS.get(name, given)
    second = OTHER if name.startswith(DANCE.removesuffix(".mp4")) else DANCE
    drivings = options.driving or [
        file for file in (options.folder / SKELETONS, options.folder / second) if file.is_file()
    ]
    if not drivings:
        say(f"{path.name}: no --driving, and none in {options.folder}: no videos in other scenes")
    if options.fast:
        elsewhere, drivings = elsewhere[:1], drivings[:1]
    return Clip(path, class_word, scene, elsewhere, tuple(drivings))


def one(clip: Clip, run: Run) -> dict[str, dict[str, Any]]:
    """Learn a clip, generate all its videos and measure them: the rows of both tables."""
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
            backends=DETECTORS,
            size=square(run.size),
        ),
    )
    again, shown = reconstructed(clip, run, out, weights)
    elsewhere, more = in_other_scenes(clip, run, out, weights)
    video.contact_sheet(out / "contact_sheet.png", [*shown, *more])
    return {"again": again, "elsewhere": elsewhere}


def reconstructed(clip: Clip, run: Run, out: Path, weights: Path) -> tuple[dict, list]:
    """Reconstruct the clip's first frames from their own poses: metrics by way of reconstruction,
    and rows of the contact sheet."""
    subject = read_subject(out / "subject")
    frames, masks = subject.frames[:FRAMES], subject.masks[:FRAMES]
    height, width = frames.shape[1:3]
    poses = out / "own.poses.json"
    own = skeleton.Poses(subject.keypoints[:FRAMES], width, height, subject.fps)
    skeleton.write_poses(poses, own)
    driving = read_driving(poses, run.fps, FRAMES)
    videos = {"as filmed": frames}
    model = load_base(run.base)
    latents = encode_frames(model.vae, frames)
    videos["VAE alone"] = decode_latents(model.vae, latents)
    load_personal(weights, model)
    videos["VAE as fitted"] = decode_latents(model.vae, encode_frames(model.vae, frames))
    where = f" {clip.scene}" if clip.scene else ""
    for name, who, from_weights in (
        ("personalized", f"a {TOKEN} {clip.class_word}", weights),
        ("words only", f"a {clip.class_word}", None),
    ):
        file = out / f"again-{name.split()[0]}.mp4"
        videos[name], motion = make(who + where, poses, driving, from_weights, file, "none", run)
    rows, shown = {}, [("the clip's own poses", motion.skeletons)]
    for name, pictures in videos.items():
        observed = observe_frames(pictures, run.fps, clip.path, DETECTORS, SIDE)
        rows[name] = real.motion_scores(observed, motion.keypoints)
        rows[name] |= real.network_scores(by_network(run, pictures), motion.keypoints)
        if name != "as filmed":
            rows[name] |= real.reconstruction_scores(pictures, frames, masks)
        shown.append((name, pictures))
        if name in ("as filmed", "personalized"):
            shown.append(
                (f"{name}: detected joints", overlay_skeletons(pictures, observed.keypoints))
            )
    return rows, shown


def in_other_scenes(clip: Clip, run: Run, out: Path, weights: Path) -> tuple[dict, list]:
    """Generate the person in other scenes with other motions: metrics by prompt and motion, and
    rows of the contact sheet. With the first motion also a person described in words, as the
    chance level of the leak."""
    subject = read_subject(out / "subject")
    reference = Observed(
        subject.frames, subject.masks, subject.keypoints, subject.fps
    ).person_frames()
    others = unrelated_scenes()
    rows, shown = {}, []
    for number, file in enumerate(clip.drivings):
        driving = read_driving(file, run.fps, FRAMES, DETECTORS)
        for scene in clip.elsewhere:
            for who, from_weights in ((f"{TOKEN} ", weights), ("", None)):
                if from_weights is None and number:
                    continue
                words = f"a {who}{clip.class_word} {scene}"
                slug = f"{scene.split()[-1]}-{file.stem}{'' if from_weights else '-words'}"
                path = out / f"{slug}.mp4"
                frames, motion = make(words, file, driving, from_weights, path, "bones", run)
                observed = observe_frames(frames, run.fps, path, DETECTORS, SIDE)
                observed = real.without_partial_bodies(observed)
                second = by_network(run, frames)
                filled = real.with_missed_persons(observed, second)
                row = score(filled, reference, motion.keypoints, None, Networks(), others)
                row |= real.person_counts(observed)
                if motion.keypoints is not None:
                    row |= real.motion_scores(observed, motion.keypoints)
                    row |= real.network_scores(second, motion.keypoints)
                rows.setdefault(words, {})[file.stem] = row
                joints = overlay_skeletons(frames, observed.keypoints)
                shown += [
                    (f"{file.stem}, {words}: requested motion", motion.skeletons),
                    ("generated", frames),
                    ("detected joints", joints),
                ]
    return rows, shown


def by_network(run: Run, frames: np.ndarray) -> Observed:
    """Frames (F, H, W, 3) uint8, and the person that the perception network detects in them."""
    found = perceive(run.net, frames)
    return Observed(frames, found["masks"], found["keypoints"], run.fps)


def make(
    prompt: str, file: Path, driving: Driving, weights: Path | None, out: Path, fit: Any, run: Run
) -> tuple[np.ndarray, real.Motion]:
    """Generate a video, unless `out` was generated with the same settings; return its frames
    (F, H, W, 3) uint8, and its motion."""
    fit = "none" if driving.pictures is not None else fit
    build = None if weights is None else learned_keypoints(read_metadata(weights))
    motion = real.motion_of(driving, square(run.size), fit, run.draw, build)
    wanted = {
        "prompt": prompt, "fit": fit, "seed": 0, "version": __version__,
        "weights": None if weights is None else sha256(weights),
        "base": {"hash": run.hash}, "pose": {"sha256": motion.sha256},
    }  # fmt: skip
    if not out.is_file() or not real.sidecar_matches(read_sidecar(out), wanted):
        generate(
            prompt,
            file,
            GenerateOptions(
                weights=weights,
                base=run.base,
                out=out,
                fit=fit,
                frames=FRAMES,
                backends=DETECTORS,
                size=square(run.size),
            ),
        )
    return video.read(out).frames, motion


def report(run: Run, found: dict[str, Any]) -> None:
    """Write `table.md` and `metrics.json` of the clips so far; found: rows of both tables, or the
    reason why a clip was left out."""
    again, elsewhere = [], []
    for clip, tables in found.items():
        if isinstance(tables, str):
            again.append(((clip, "**left out**"), tables))
            continue
        again += [((clip, name), row) for name, row in tables["again"].items()]
        for words, motions in tables["elsewhere"].items():
            elsewhere += [((clip, words, motion), row) for motion, row in motions.items()]
    text = real.markdown(("clip", "made by"), again, real.RECONSTRUCTION_COLUMNS) + "\n"
    learned = [tables["again"] for tables in found.values() if not isinstance(tables, str)]
    text += real.means_markdown(learned, real.RECONSTRUCTION_COLUMNS) + "\n"
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
