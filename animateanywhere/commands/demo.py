"""`aa demo`: learn a held-out rendered person, generate videos, put the person into another one's
scene, make a video from one picture, and compare with the ground truth."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from animateanywhere import __version__
from animateanywhere.backbones.base import base_config, find_base, hash_of
from animateanywhere.commands.demo_cast import cast_demo
from animateanywhere.commands.demo_swap import swap_demo
from animateanywhere.commands.generate import GenerateOptions, generate
from animateanywhere.commands.personalize import PersonalizeOptions, personalize
from animateanywhere.core.files import write_aside
from animateanywhere.core.json_file import read_table
from animateanywhere.core.messages import say
from animateanywhere.core.paths import EXAMPLES
from animateanywhere.core.run_folder import owned
from animateanywhere.evaluation.perception import load_perception, perception_of
from animateanywhere.evaluation.truth import compare, mean, measure, write_reference
from animateanywhere.media import video
from animateanywhere.media.provenance import GENERATED
from animateanywhere.methods.animate_anywhere.settings import load_recipe, scaled, to_dict
from animateanywhere.pose import skeleton
from animateanywhere.puppets import Spec, caption, describe_identity, render, sample_spec

TOKEN, CLASS_WORD, SCENE = "sks", "man", "in a room"
PERSON = 43  # seed of a held-out puppet
FPS, SIZE = 8.0, 128
METHODS = ("personalized", "words_only")
# name, motion, scene, object
CASES = (
    ("new-scene", "walk", "beach", "none"),
    ("new-motion", "dance", "room", "none"),
    ("both-with-object", "raise", "mountains", "ball"),
)


def stage_spec(motion: str, scene: str, thing: str, layout: int = 7, person: int = PERSON) -> Spec:
    """The demo's person with a motion, in a scene, in full view and from the front."""
    spec = sample_spec(person, "held-out")
    return replace(
        spec,
        motion=replace(spec.motion, name=motion, yaw=0.25, travel=0.0, amplitude=1.0, tempo=1.0),
        scene=replace(spec.scene, name=scene, seed=layout),
        object=replace(spec.object, name=thing, color="red", rgb=(0.82, 0.12, 0.13)),
        camera=replace(spec.camera, scale=0.74, ground=0.92, x=0.0, pan=0.0),
    )


def reference_spec() -> Spec:
    """The specification of the reference clip; the cases of `CASES` change parts of it."""
    return stage_spec("walk", "room", "none")


def dancer_spec() -> Spec:
    """Another person, whose dance the examples have as a driving motion, in the scene of the
    swap."""
    return stage_spec("dance", "park", "none", person=PERSON + 1)


def make_examples(folder: Path = EXAMPLES) -> None:
    """Write the contents of `examples/`: a reference clip of 4 s with exact masks and poses, and a
    driving skeleton of another person. To create them again: `python -c "from
    animateanywhere.commands import demo; demo.make_examples()"`."""
    clip = render(reference_spec(), frames=32, size=SIZE, fps=FPS)
    folder.mkdir(parents=True, exist_ok=True)
    write_reference(clip, folder)
    (folder / "reference.txt").write_text(caption(clip.spec, appearance=False) + "\n")
    other = render(dancer_spec(), 32, SIZE, FPS)
    video.write(folder / "driving.mp4", skeleton.draw(other.keypoints, SIZE, SIZE), FPS)
    poses = skeleton.Poses(other.keypoints, SIZE, SIZE, FPS)
    skeleton.write_poses(folder / "driving.poses.json", poses)


def demo(
    out: Path, fast: bool = False, base: str = "mini", swap_base: str = "mini-swap",
    cast_base: str = "mini-cast",
) -> Path:  # fmt: skip
    """Learn the person of the example, generate, swap, cast, measure and show; returns the folder
    `out`.

    fast: fewer training steps and one video. Finished stages with the same bases and settings are
    not repeated. Writes `contact_sheet.png`, `report.json`, and a folder of videos for each case,
    for the swap, and for the video from one picture.
    """
    with owned(out, "demo", lambda folder: "stages" in read_table(folder / "stages.json")):
        return _demo(out, fast, base, swap_base, cast_base)


def _demo(out: Path, fast: bool, base: str, swap_base: str, cast_base: str) -> Path:
    """`demo` in its folder."""
    folder = find_base(base)
    config = base_config(folder)
    size, frames, fps = int(config["size"]), int(config["frames"]), float(config["fps"])
    recipe = load_recipe(config.get("personalize", "personalize"))
    recipe = scaled(recipe, 0.2) if fast else recipe
    made_with = {
        "base": hash_of(folder), "swap_base": hash_of(find_base(swap_base)),
        "cast_base": hash_of(find_base(cast_base)), "fast": fast, "person": PERSON,
        "version": __version__,
    }  # fmt: skip
    key = json.loads(json.dumps(made_with | {"recipe": to_dict(recipe)}))

    options = PersonalizeOptions(
        class_word=CLASS_WORD, base=base, out=out / TOKEN, scene=SCENE, recipe=recipe
    )
    learn = partial(personalize, EXAMPLES / "reference.mp4", TOKEN, options)
    weights = _stage(out, key, "personalize", learn)
    reference = render(reference_spec(), frames=32, size=size, fps=fps)
    perception = perception_of(folder)
    net = load_perception(perception)
    rows = [("reference", reference.frames)]
    cases = []
    for name, motion, scene, thing in CASES[-1:] if fast else CASES:
        spec = stage_spec(motion, scene, thing, layout=11)
        truth = render(spec, frames=frames, size=size, fps=fps, start=1.0)
        drawn = skeleton.draw(truth.keypoints, size, size)
        poses = skeleton.Poses(truth.keypoints, size, size, fps)
        skeleton.write_poses(out / name / "driving.poses.json", poses)
        video.write(out / name / "driving.mp4", drawn, fps)
        video.write(out / name / "truth.mp4", truth.frames, fps)
        rows.append((f"{name}: driving", drawn))
        case: dict[str, Any] = {"name": name, "true_render": compare(net, truth.frames, truth)}
        for method in METHODS:
            personal = method == "personalized"
            who = f"{TOKEN} {CLASS_WORD}" if personal else describe_identity(spec.identity)
            prompt = caption(spec, seed=1, person=who, appearance=False)
            target, own = out / name / f"{method}.mp4", weights if personal else None
            wanted = GenerateOptions(weights=own, base=base, out=target, overwrite=True, fit="none")
            make = partial(generate, prompt, out / name / "driving.poses.json", wanted)
            made = video.read(_stage(out, key, f"{name}, {method}", make)).frames
            rows.append((f"{method}: {prompt}", made))
            case[method] = {"prompt": prompt, **measure(net, made, truth, reference)}
        rows.append(("true render", truth.frames))
        cases.append(case)
    stage = partial(_stage, out, key)
    swap_rows, swapped = swap_demo(
        out / "swap", stage, net, reference_spec(), dancer_spec(), swap_base
    )
    cast_rows, cast = cast_demo(
        out / "cast", stage, net, reference_spec(), stage_spec("wave", "desert", "none"), cast_base
    )
    sheet = out / "contact_sheet.png"
    video.contact_sheet(sheet, rows + swap_rows + cast_rows, made=GENERATED.composite())
    results = _report(out, key, cases, swapped, cast, perception)
    _show(results, swapped, cast)
    say(f"wrote {sheet} and {out / 'report.json'}")
    return out


def _report(
    out: Path, key: dict[str, Any], cases: list[dict[str, Any]],
    swapped: dict[str, dict[str, float]], cast: dict[str, float], perception: Path,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Write `report.json`; return the mean metrics of each method."""
    accuracy = json.loads((perception / "metrics.json").read_text())["held_out"]
    seconds = {name: row["seconds"] for name, row in _record(out, key)["stages"].items()}
    results = {method: mean([case[method] for case in cases]) for method in METHODS}
    on_true = mean([case["true_render"] for case in cases])
    report = {
        "results": results,
        "seconds": seconds | {"total": round(sum(seconds.values()), 1)},
        "perception": accuracy | {"on_true_renders": on_true},
        "cases": cases,
        "swap": swapped,
        "cast": cast,
        "fast": key["fast"],
        "base": key["base"],
        "swap_base": key["swap_base"],
        "cast_base": key["cast_base"],
    }
    with write_aside(out / "report.json") as aside:
        aside.write_text(json.dumps(report, indent=2) + "\n")
    return results


def _record(out: Path, key: dict[str, Any]) -> dict[str, Any]:
    """The finished stages in `out` of a run with the same key (base and settings)."""
    record = read_table(out / "stages.json")
    return record if record.get("key") == key else {"key": key, "stages": {}}


def _stage(out: Path, key: dict[str, Any], name: str, make: Callable[[], Path]) -> Path:
    """The file that `make` returns, computed once; its seconds are recorded."""
    record = _record(out, key)
    before = record["stages"].get(name)
    if before is not None and (out / before["file"]).exists():
        say(f"{name}: done before")
        return out / before["file"]
    started = time.monotonic()
    made = make()
    seconds = round(time.monotonic() - started, 1)
    record["stages"][name] = {"file": str(made.relative_to(out)), "seconds": seconds}
    with write_aside(out / "stages.json") as aside:
        aside.write_text(json.dumps(record, indent=2) + "\n")
    return made


def _show(
    results: dict[str, dict[str, float]], swapped: dict[str, dict[str, float]],
    cast: dict[str, float],
) -> None:  # fmt: skip
    """Print tables of the results, with their aims, of the swap and the cast to stderr."""
    mine, words = results["personalized"], results["words_only"]
    aims: dict[str, tuple[str, Callable[[float], bool]]] = {
        "pck": ("at least 0.9", lambda x: x >= 0.9),
        "scene_accuracy": ("at least 0.9", lambda x: x >= 0.9),
        "person_delta_e": (
            f"at most {0.7 * words['person_delta_e']:.2f} (0.7 of words only)",
            lambda x: x <= 0.7 * words["person_delta_e"],
        ),
        "leak": ("near words only", lambda x: x <= words["leak"] + 0.05),
    }
    table = Table(title="against the true render")
    for column in ("metric", "personalized", "words only", "aim", ""):
        table.add_column(column)
    for name, value in mine.items():
        other = words.get(name, float("nan"))
        aim, reached = aims.get(name, ("", None))
        verdict = "" if reached is None else "reached" if reached(value) else "[red]missed[/red]"
        table.add_row(name, f"{value:.3f}", f"{other:.3f}", aim, verdict)
    second = Table(title="the swap against the true render")
    for column in ("metric", "swapped", "the scene as it was"):
        second.add_column(column)
    for name, value in swapped["swap"].items():
        second.add_row(name, f"{value:.3f}", f"{swapped['scene'][name]:.3f}")
    third = Table(
        "metric", "one picture", title="the video from one picture against the true render"
    )
    for name, value in cast.items():
        third.add_row(name, f"{value:.3f}")
    Console(stderr=True, emoji=False).print(table, second, third)
