"""Evaluation of checkpoint selection on rendered people, whose true videos are known.

    .venv/bin/python benchmarks/choice.py --people 3 --out runs/choice

Learns held-out puppets, each in another scene and motion, and computes the validation score of
every saved step: with the bundled recipe, and with a hard one, in which scenes degrade step by step
(no regularization and no background augmentation) and selection matters. In addition it generates
videos of other scenes and motions with the same weights, and measures them against the true
renders. The true error of a step is the color error of the person, relative to that of the base
with the person described in words, plus leak, plus the share of frames in a wrong scene.

Prints two Markdown tables: Spearman's rank correlation of score and true error over the steps, and
of their parts; and the true errors of the selected, the last and the truly best step.
About 10 minutes per person on two idle cores; run it again to resume.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn

from animateanywhere.backbones.base import BUNDLED, Base, encode_poses, load_base
from animateanywhere.commands.demo import stage_spec
from animateanywhere.commands.personalize import PersonalizeOptions, personalize
from animateanywhere.evaluation import truth
from animateanywhere.evaluation.perception import load_perception
from animateanywhere.methods.animate_anywhere import checkpoint_selection, method
from animateanywhere.methods.animate_anywhere.generation import Sampling
from animateanywhere.methods.animate_anywhere.generation import render as generate
from animateanywhere.methods.animate_anywhere.settings import Loss, Recipe, load_recipe
from animateanywhere.puppets import Clip, caption, describe_identity, render

FPS, SIZE, FRAMES, STEPS = 8.0, 128, 4, 10
# motion and scene of each person's clip, and how its captions name the scene
CLIPS = (
    ("walk", "room", "in a room"), ("wave", "park", "in a park"),
    ("dance", "street", "on a street"),
    ("turn", "kitchen", "in a kitchen"), ("squat", "forest", "in a forest"),
)  # fmt: skip
# Motions and scenes of the true videos; some scenes are also those of validation
CASES = (
    ("raise", "mountains"), ("dance", "desert"), ("walk", "beach"), ("squat", "forest"),
    ("wave", "city"), ("idle", "stage"),
)  # fmt: skip
SETTINGS = ("bundled", "hard")
TRUTH = {"person_delta_e": "identity", "wrong_scene": "scene", "leak": "leak"}


def measured(base: Base, unet: nn.Module, who: str, reference: Clip, cases: list[Clip]) -> Any:
    """Mean of the true errors over the cases; who: the person, in the words of the prompt."""
    net = load_perception(BUNDLED / "perception")
    rows = []
    for case in cases:
        prompt = caption(case.spec, seed=1, person=who, appearance=False)
        poses = encode_poses(base, base.family.draw(case.keypoints, SIZE, SIZE))
        frames = np.stack([*generate(base, unet, prompt, poses, 0, Sampling(steps=STEPS))])
        rows.append(truth.measure(net, frames, case, reference))
    found = truth.mean(rows)
    return {**{n: found[n] for n in ("person_delta_e", "leak")},
            "wrong_scene": 1 - found["scene_accuracy"]}  # fmt: skip


def learn(person: int, number: int, out: Path, recipe: Recipe) -> list[dict[str, Any]]:
    """Scores of all saved steps of a person, each with its true error, "truth", and parts of it."""
    motion, scene, words = CLIPS[number % len(CLIPS)]
    reference = render(stage_spec(motion, scene, "none", 7, person), frames=32, size=SIZE, fps=FPS)
    cases = [
        render(stage_spec(*case, "none", 11 + number, person), FRAMES, SIZE, FPS / 2, start=1.0)
        for case in CASES
    ]
    out.mkdir(parents=True, exist_ok=True)
    clip, record = out / "reference.mp4", out / "truth.json"
    if not record.is_file():
        truth.write_reference(reference, out)
        base = load_base("mini")
        unet = method.build(base, Loss(guide=False), video=True).eval()
        who = describe_identity(reference.spec.identity)
        record.write_text(json.dumps({"words": measured(base, unet, who, reference, cases)}))
    token, kind = "sks", reference.spec.identity.gender
    scorer = checkpoint_selection.scorer

    def both(model: Base, parts: Mapping[str, nn.Module], *rest: Any) -> Callable[..., bool]:
        """The scorer, followed by the measurement of the true error."""
        score = scorer(model, parts, *rest)

        def on_save(step: int, parameters: Mapping[str, torch.Tensor]) -> bool:
            stop, known = score(step, parameters), json.loads(record.read_text())
            name = f"{rest[0].name} {step}"
            if name not in known and (rest[0].kind == "motion" or step):
                image = parts["unet"] is model.denoiser
                unet = method.build(model, Loss(guide=False), True) if image else parts["unet"]
                found = measured(model, unet.eval(), f"{token} {kind}", reference, cases)
                record.write_text(json.dumps({**known, name: found}))
            return stop

        return on_save

    checkpoint_selection.scorer = both
    try:
        personalize(
            clip,
            token,
            PersonalizeOptions(
                class_word=kind, scene=words, base="mini", out=out / token, recipe=recipe
            ),
        )
    finally:
        checkpoint_selection.scorer = scorer
    known = json.loads(record.read_text())
    rows = []
    for row in checkpoint_selection.read(out / token):
        found = known[f"{row['stage']} {row['step']}"]
        share = found["person_delta_e"] / known["words"]["person_delta_e"]
        whole = share + found["leak"] + found["wrong_scene"]
        rows.append({**row, "truth": whole, **{f"true {name}": found[name] for name in TRUTH}})
    return rows


def correlation(rows: list[dict[str, Any]], a: str, b: str) -> float:
    """Spearman's rank correlation over the steps; NaN if one of the values is constant."""
    x, y = ([row[name] for row in rows] for name in (a, b))
    return float("nan") if len(set(x)) < 2 or len(set(y)) < 2 else float(spearmanr(x, y)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--people", type=int, default=3)
    parser.add_argument("--first", type=int, default=900, help="seed of the first person")
    parser.add_argument("--every", type=int, default=50, help="steps between scorings")
    parser.add_argument("--setting", choices=("both", *SETTINGS), default="both")
    parser.add_argument("--out", type=Path, default=Path("runs") / "choice")
    options = parser.parse_args()
    people = {}
    for setting in SETTINGS if options.setting == "both" else [options.setting]:
        recipe = recipe_of(setting, options.every)
        for number in range(options.people):
            person = options.first + number
            out = options.out / setting / str(person)
            people[setting, person] = learn(person, number, out, recipe)
    table(people)


def recipe_of(setting: str, every: int) -> Recipe:
    """The bundled recipe, scored more often and without early stopping, or the hard one."""
    recipe = load_recipe("personalize")
    stages = tuple(replace(s, save_every=min(every, s.steps)) for s in recipe.stage)
    recipe = replace(recipe, stage=stages, extras=replace(recipe.extras, patience=0))
    if setting == "bundled":
        return recipe
    stage = replace(recipe.stages("appearance")[0], steps=240, save_every=30, prior_batch=0)
    return replace(
        recipe, stage=(stage,),
        personal=replace(recipe.personal, prior_images=1, prior_clips=1, prior_steps=1),
        extras=replace(recipe.extras, placements=1, background_augmentation=0.0, fit_vae_steps=0),
    )  # fmt: skip


def table(people: dict[tuple[str, int], list[dict[str, Any]]]) -> None:
    """Print rank correlations over the steps of the appearance stage, and the selected steps."""
    pairs = [("score", "truth"), *((part, f"true {name}") for name, part in TRUTH.items())]
    print("| setting | person | steps |", *(f"{a} : {b} |" for a, b in pairs))
    print("|---" * (3 + len(pairs)) + "|")
    for (setting, person), rows in people.items():
        own = [row for row in rows if row["stage"] == "appearance"]
        values = [correlation(own, *pair) for pair in pairs]
        print(f"| {setting} | {person} | {len(own)} |", *(f"{value:.2f} |" for value in values))
    print("\n| setting | person | stage | selected step | true error | of the last | of the best |")
    print("|---|---|---|---|---|---|---|")
    for (setting, person), rows in people.items():
        for stage in dict.fromkeys(row["stage"] for row in rows):
            own = [row for row in rows if row["stage"] == stage]
            selected, errors = checkpoint_selection.best(own), [row["truth"] for row in own]
            best = own[int(np.argmin(errors))]
            print(
                f"| {setting} | {person} | {stage} | {selected['step']} | {selected['truth']:.3f} "
                f"| {errors[-1]:.3f} | {best['truth']:.3f} (step {best['step']}) |"
            )


if __name__ == "__main__":
    main()
