"""`aa evaluate --bench puppets`: rendered people, learned in one scene and generated in others, by
our method and by baselines, compared with the true renders."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from animateanywhere import __version__
from animateanywhere.backbones.base import base_config, find_base, hash_of, load_base
from animateanywhere.backbones.vae import decode_latents, encode_frames
from animateanywhere.commands.generate import GenerateOptions, generate
from animateanywhere.commands.personalize import PersonalizeOptions, personalize
from animateanywhere.core.files import require_writable
from animateanywhere.core.messages import progress, quietly
from animateanywhere.core.run_folder import owned
from animateanywhere.evaluation import embed
from animateanywhere.evaluation.held_out import SUBJECTS, Setting, Subject, subject
from animateanywhere.evaluation.instruments import Instruments, instruments
from animateanywhere.evaluation.records import is_benchmark, scored
from animateanywhere.evaluation.report import write_report
from animateanywhere.evaluation.report_page import Section, write_page
from animateanywhere.evaluation.truth import measure, write_reference
from animateanywhere.media import video
from animateanywhere.methods.animate_anywhere.baselines import ABLATIONS, METHODS, Method, named
from animateanywhere.methods.animate_anywhere.settings import Recipe, load_recipe, scaled, to_dict
from animateanywhere.metrics import frechet
from animateanywhere.pose import skeleton
from animateanywhere.preprocessing.weights import HUB, VIDEOMAE, WeightsLocation, find_local
from animateanywhere.puppets import caption, describe_identity
from animateanywhere.puppets.caption import SCENE_WORDS

TOKEN = "sks"
SHOWN = 4  # subjects in the contact sheet
FASTER = 4  # with `fast`, training takes a quarter of the steps
People = Literal["plain", "detailed"]


def benchmark(
    out: Path,
    *,
    subjects: int | None = None,
    methods: Sequence[str] = (),
    fast: bool = False,
    hard: bool = False,
    people: People | None = None,
    base: str = "mini",
    models: WeightsLocation = HUB,
) -> Path:
    """Run the benchmark, or resume it; returns `out`, which contains `metrics-SETTING.json`,
    `table-SETTING.md`, `contact_sheet-SETTING.png` and `report-SETTING.html`.

    Held-out people (not in the data of base training) are learned from one clip and generated in
    three other scenes each, with other motions, two of them with an object, and compared with the
    true renders. subjects: number of people. methods: names from `baselines`, also several joined
    by "+"; by default all of METHODS. fast: three people with one case each, a quarter of the
    steps, six methods. people: plain or with details; by default as in the corpus of the base
    (`detailed` in its base.toml). Results in `out` for the same base and settings are reused, so
    runs with different methods can share it. models: where VideoMAE's weights are searched, for
    FVD; they are not downloaded. Raises UsageError for an unknown method.
    """
    names = list(methods) or (
        ["ours", "drawn", "words_only", "dreambooth", "vae", "truth"] if fast else list(METHODS)
    )
    chosen = {name: named(name) for name in names}
    require_writable(out)
    setting = setting_of(find_base(base), people, fast, hard)
    with owned(out, "benchmark", is_benchmark):
        return _benchmark(out, chosen, setting, subjects, base, models)


def _benchmark(
    out: Path, chosen: dict[str, Method], setting: Setting, subjects: int | None, base: str,
    models: WeightsLocation,
) -> Path:  # fmt: skip
    """`benchmark` in its folder."""
    folder = find_base(base)
    config = base_config(folder)
    times = (2 if setting.hard else 1) / (FASTER if setting.fast else 1)
    recipe = scaled(load_recipe(config.get("personalize", "personalize")), times)
    tools = instruments(folder)
    embedder = embed.videomae_embedder(models) if find_local(VIDEOMAE, models) else None
    people = range(subjects or (3 if setting.fast else SUBJECTS))
    with progress("benchmark", total=len(people) * len(chosen)) as bar:
        for number in people:
            one = subject(number, config, setting)
            for name, method in chosen.items():
                place = out / setting.name / name / f"{number:02}"
                score(one, method, recipe, setting, place, base, tools)
                bar.advance(1)
    shown = [subject(number, config, setting) for number in people[:SHOWN]]
    known = [*METHODS, *ABLATIONS, *sorted(path.name for path in (out / setting.name).glob("*+*"))]
    titles = {name: named(name).title for name in known}
    distances = fvd(embedder, list(chosen), people, config, setting, out / setting.name)
    tables = write_report(
        out, setting.name, titles, hash_of(folder), distances, held_against="drawn"
    )
    pictures = out / f"contact_sheet-{setting.name}.png"
    video.contact_sheet(pictures, sheet(shown, chosen, out / setting.name))
    name = config["name"]
    write_page(
        out / f"report-{setting.name}.html", f"People learned by {name}, in other scenes",
        [Section("Against the true videos", "", tables)], pictures,
    )  # fmt: skip
    return out


def setting_of(base: Path, people: People | None, fast: bool, hard: bool) -> Setting:
    """The setting that was asked for; people: if None, as in the corpus of the base."""
    known = bool(base_config(base).get("detailed"))
    return Setting(fast, hard, known if people is None else people == "detailed")


def score(
    one: Subject, method: Method, recipe: Recipe, setting: Setting, place: Path, base: str,
    tools: Instruments,
) -> dict[str, Any]:  # fmt: skip
    """Mean scores of a method over one subject's cases. They are read from `place` if they were
    computed with the same base and settings before."""
    recipe = method.change(recipe) if method.change else recipe
    if method.described:
        named = describe_identity(one.reference.spec.identity).partition(f"{one.class_word} ")[2]
        recipe = replace(recipe, extras=replace(recipe.extras, appearance=named))
    key = {
        "base": hash_of(find_base(base)), "version": __version__, "fast": setting.fast,
        "hard": setting.hard, "recipe": to_dict(recipe) if method.change else None,
        "detailed": setting.detailed, "candidates": setting.candidates,
        "faces": tools.face_detector is not None, "collage": method.collage,
    }  # fmt: skip

    def cases() -> list[dict[str, Any]]:
        with quietly():
            videos = generate_cases(one, method, recipe, setting, place, base)
        return [
            measure(tools.net, frames, true, one.reference, tools.face_detector, candidates)
            for frames, true, candidates in zip(videos, one.truths, one.candidates, strict=True)
        ]

    return scored(place / "scores.json", key, cases)


def generate_cases(
    one: Subject, method: Method, recipe: Recipe, setting: Setting, place: Path, base: str
) -> list[np.ndarray]:
    """A method's videos (F, H, W, 3) uint8, one for each case of a subject."""
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
        learned = place.parents[1] / (method.weights_of or place.parent.name) / place.name / "run"
        weights = personalize(
            clip,
            TOKEN,
            PersonalizeOptions(
                class_word=one.class_word,
                base=base,
                out=learned,
                recipe=recipe,
                scene=None if setting.hard else where,
                estimate=False,
            ),
        )
        shutil.rmtree(learned / "training", ignore_errors=True)  # 0.1 GB
    videos = []
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
            GenerateOptions(
                weights=weights,
                base=base,
                out=target,
                overwrite=True,
                fit="none",
                seed=number,
                collage=None if method.collage else False,
            ),
        )
        videos.append(video.read(target).frames)
    return videos


def fvd(
    embedder: embed.VideoEmbedder | None, methods: list[str], people: range,
    config: dict[str, Any], setting: Setting, folder: Path,
) -> dict[str, float]:  # fmt: skip
    """Fréchet video distance (Unterthiner et al. 2018) of each method's videos to the true ones of
    the same people; {} without an embedder."""
    if embedder is None:
        return {}
    truths = [t.frames for n in people for t in subject(n, config, setting).truths]
    true = np.concatenate([embedder(frames) for frames in truths])
    distances = {}
    for name in methods:
        files = [f for n in people for f in sorted((folder / name / f"{n:02}").glob("case*.mp4"))]
        if len(files) == len(true):  # the methods "truth" and "vae" write no videos
            generated = np.concatenate([embedder(video.read(file).frames) for file in files])
            distances[name] = frechet(generated, true)
    return distances


def sheet(
    people: list[Subject], methods: dict[str, Method], folder: Path
) -> list[tuple[str, np.ndarray]]:
    """Rows of the contact sheet: each person's reference, and the last case's true render and
    videos of all methods."""
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
