"""`aa evaluate --bench puppets`: people whose true video is known, learned in one scene and put
into others, by us and by what we are compared with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from animateanywhere import __version__
from animateanywhere.backbones.base import base_config, find_base, hash_of, load_base
from animateanywhere.backbones.vae import decode_latents, encode_frames
from animateanywhere.commands.generate import GenerateOptions, generate
from animateanywhere.commands.personalize import PersonalizeOptions, personalize
from animateanywhere.core.files import require_writable, write_aside
from animateanywhere.core.messages import progress, quietly
from animateanywhere.evaluation import embed
from animateanywhere.evaluation.perception import Perception, load_perception, perception_of
from animateanywhere.evaluation.report import write_report
from animateanywhere.evaluation.truth import mean, measure, write_reference
from animateanywhere.media import video
from animateanywhere.methods.animate_anywhere.baselines import ABLATIONS, METHODS, Method, named
from animateanywhere.methods.animate_anywhere.settings import Recipe, load_recipe, scaled, to_dict
from animateanywhere.metrics import frechet
from animateanywhere.pose import skeleton
from animateanywhere.preprocessing.weights import HUB, VIDEOMAE, WeightsLocation, find_local
from animateanywhere.puppets import (
    MOTIONS,
    OBJECTS,
    SCENES,
    Clip,
    Spec,
    caption,
    describe_identity,
    render,
    sample_spec,
)
from animateanywhere.puppets.caption import SCENE_WORDS

TOKEN = "sks"
FIRST = 1000  # seed of the first subject; base training looks at held-out seeds below 100 only
SUBJECTS, CASES = 12, 3
FRAMES = 32  # of a reference: 4 s
MOVES = tuple(name for name in MOTIONS if name not in ("sit", "idle"))
TEXTURED = ("street", "kitchen", "room", "city")
SHOWN = 4  # subjects in the contact sheet
FASTER = 4  # `fast` trains so many times fewer steps


@dataclass(frozen=True)
class Subject:
    """One person of the benchmark: the clip to learn from, and cases with their true renders."""

    number: int
    reference: Clip
    truths: list[Clip]

    @property
    def class_word(self) -> str:
        return self.reference.spec.identity.gender


@dataclass(frozen=True)
class Setting:
    """How hard learning is made. hard: the scene is textured, not named, the camera sways, and
    training takes twice as many steps."""

    fast: bool = False
    hard: bool = False

    @property
    def name(self) -> str:
        return ("hard" if self.hard else "easy") + ("-fast" if self.fast else "")


def benchmark(
    out: Path,
    *,
    subjects: int | None = None,
    methods: Sequence[str] = (),
    fast: bool = False,
    hard: bool = False,
    base: str = "mini",
    models: WeightsLocation = HUB,
) -> Path:
    """Learn and generate, measure and compare; returns `out`, with `metrics.json` in it.

    Held-out people (never seen in base training) are learned in scene A with motion A and generated
    in three others each, with other motions, two with an object, and compared with the true
    renders. methods: of `baselines`, also some joined by "+"; all of METHODS when empty. fast:
    three people, a case each, a quarter of the steps, ours, DreamBooth and words. What is there
    already, of the same base and settings, is not made again; several runs of other methods may
    share `out`. models: where VideoMAE's weights may lie, for FVD; never downloaded for it.
    Raises UsageError for a method that is not known.
    """
    names = list(methods) or (
        ["ours", "words_only", "dreambooth", "vae", "truth"] if fast else list(METHODS)
    )
    asked = {name: named(name) for name in names}
    setting = Setting(fast, hard)
    require_writable(out)
    folder = find_base(base)
    config = base_config(folder)
    times = (2 if hard else 1) / (FASTER if fast else 1)
    recipe = scaled(load_recipe(config.get("personalize", "personalize")), times)
    net = load_perception(perception_of(folder))
    look = embed.videomae_embedder(models) if find_local(VIDEOMAE, models) else None
    people = range(subjects or (3 if fast else SUBJECTS))
    with progress("benchmark", total=len(people) * len(names)) as bar:
        for number in people:
            one = subject(number, config, setting)
            for name, method in asked.items():
                place = out / setting.name / name / f"{number:02}"
                score(one, method, recipe, setting, place, base, net)
                bar.advance(1)
    shown = [subject(number, config, setting) for number in people[:SHOWN]]
    there = [*METHODS, *ABLATIONS, *sorted(path.name for path in (out / setting.name).glob("*+*"))]
    titles = {name: named(name).title for name in there}
    distances = fvd(look, list(asked), people, config, setting, out / setting.name)
    write_report(out, setting.name, titles, hash_of(folder), distances)
    video.contact_sheet(
        out / f"contact_sheet-{setting.name}.png", sheet(shown, asked, out / setting.name)
    )
    return out


def specs(number: int, setting: Setting) -> tuple[Spec, list[Spec]]:
    """What a subject's reference shows, and its cases: other scenes, motions, views and objects."""
    rng = np.random.default_rng([number, 2024])
    scenes, motions = rng.permutation(SCENES), rng.permutation(MOVES)
    if setting.hard:
        first = TEXTURED[number % len(TEXTURED)]
        scenes = np.array([first, *(s for s in scenes if s != first)])
    things = ["none", *rng.permutation(OBJECTS[1:])]
    person = sample_spec(FIRST + number, "held-out")

    def stage(case: int) -> Spec:
        color = sample_spec(FIRST + 100 * case + number).object
        return replace(
            person,
            motion=replace(
                person.motion, name=str(motions[case]), travel=0.0, amplitude=1.0, tempo=1.0,
                yaw=float(rng.normal(0, 0.4)),
            ),
            scene=replace(person.scene, name=str(scenes[case]), seed=int(rng.integers(2**31))),
            object=replace(color, name=str(things[max(case - 1, 0)])),
            camera=replace(
                person.camera, scale=float(rng.uniform(0.68, 0.78)), ground=0.92,
                x=float(rng.normal(0, 0.04)), pan=0.03 if setting.hard and case == 0 else 0.0,
            ),
        )  # fmt: skip

    reference, *cases = [stage(case) for case in range(CASES + 1)]
    return reference, cases[-1:] if setting.fast else cases


def subject(number: int, config: dict[str, Any], setting: Setting) -> Subject:
    """Render a subject's reference and its cases' truths."""
    size, fps = int(config["size"]), float(config["fps"])
    reference, cases = specs(number, setting)
    truths = [render(case, int(config["frames"]), size, fps, start=1.0) for case in cases]
    return Subject(number, render(reference, FRAMES, size, fps), truths)


def score(
    one: Subject, method: Method, recipe: Recipe, setting: Setting, place: Path, base: str,
    net: Perception,
) -> dict[str, Any]:  # fmt: skip
    """A method's means over one subject's cases; from `place`, if they are there already."""
    recipe = method.change(recipe) if method.change else recipe
    if method.described:
        named = describe_identity(one.reference.spec.identity).partition(f"{one.class_word} ")[2]
        recipe = replace(recipe, extras=replace(recipe.extras, appearance=named))
    key = json.loads(json.dumps({
        "base": hash_of(find_base(base)), "version": __version__, "fast": setting.fast,
        "hard": setting.hard, "recipe": to_dict(recipe) if method.change else None,
    }))  # fmt: skip
    record = place / "scores.json"
    if record.is_file():
        before = json.loads(record.read_text())
        if before["key"] == key:
            return before["scores"]
    with quietly():
        cases = make(one, method, recipe, setting, place, base)
    rows = [measure(net, made, true, one.reference)
            for made, true in zip(cases, one.truths, strict=True)]  # fmt: skip
    flat = [row | {f"delta_e_{n}": v for n, v in row["delta_e_parts"].items()} for row in rows]
    means = mean(flat)
    with write_aside(record) as aside:
        aside.write_text(json.dumps({"key": key, "scores": means, "cases": rows}, indent=1) + "\n")
    return means


def make(
    one: Subject, method: Method, recipe: Recipe, setting: Setting, place: Path, base: str
) -> list[np.ndarray]:
    """A method's videos, uint8 (F, H, W, 3), one for each case of a subject."""
    if method is METHODS["truth"]:
        return [truth.frames for truth in one.truths]
    if method is METHODS["vae"]:
        vae = load_base(base).vae
        return [decode_latents(vae, encode_frames(vae, truth.frames)) for truth in one.truths]
    place.mkdir(parents=True, exist_ok=True)
    weights = None
    if method.change is not None:
        clip = write_reference(one.reference, place)
        where = SCENE_WORDS[one.reference.spec.scene.name][0]
        weights = personalize(
            clip,
            TOKEN,
            PersonalizeOptions(
                class_word=one.class_word,
                base=base,
                out=place / "run",
                recipe=recipe,
                scene=None if setting.hard else where,
                estimate=False,
            ),
        )
        shutil.rmtree(place / "run" / "training", ignore_errors=True)  # a tenth of a gigabyte
    made = []
    for number, truth in enumerate(one.truths):
        identity = truth.spec.identity
        who = describe_identity(identity) if weights is None else f"{TOKEN} {one.class_word}"
        prompt = caption(truth.spec, seed=1, person=who, appearance=False)
        size, fps = truth.frames.shape[1], truth.fps
        pose, target = place / f"case{number}.poses.json", place / f"case{number}.mp4"
        skeleton.write_poses(pose, skeleton.Poses(truth.keypoints, size, size, fps))
        generate(
            prompt,
            pose,
            GenerateOptions(weights=weights, base=base, out=target, fit="none", seed=number),
        )
        made.append(video.read(target).frames)
    return made


def fvd(
    look: embed.VideoEmbedder | None, methods: list[str], people: range, config: dict[str, Any],
    setting: Setting, folder: Path,
) -> dict[str, float]:  # fmt: skip
    """Frechet video distance of each method's videos to the true ones of the same people; nothing
    without a network that looks at them."""
    if look is None:
        return {}
    truths = [t.frames for n in people for t in subject(n, config, setting).truths]
    true = np.concatenate([look(frames) for frames in truths])
    found = {}
    for name in methods:
        files = [f for n in people for f in sorted((folder / name / f"{n:02}").glob("case*.mp4"))]
        if len(files) == len(true):  # the truth and the VAE leave none
            made = np.concatenate([look(video.read(file).frames) for file in files])
            found[name] = frechet(made, true)
    return found


def sheet(
    people: list[Subject], methods: dict[str, Method], folder: Path
) -> list[tuple[str, np.ndarray]]:
    """Rows to look at: each person's reference, the last case's truth, and what methods made."""
    rows = []
    for one in people:
        truth = one.truths[-1]
        rows.append((f"person {one.number}: reference", one.reference.frames))
        rows.append((f"truth: {caption(truth.spec, seed=1, appearance=False)}", truth.frames))
        for name, method in methods.items():
            path = folder / name / f"{one.number:02}" / f"case{len(one.truths) - 1}.mp4"
            if path.is_file():
                rows.append((method.title, video.read(path).frames))
    return rows
