"""The people of the benchmark, whom base training never saw: what is rendered of each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from animateanywhere.evaluation.retrieval import FEW, MANY, line_up, others_of_class
from animateanywhere.puppets import (
    MOTIONS,
    OBJECTS,
    SCENES,
    Clip,
    Identity,
    Spec,
    render,
    sample_spec,
)

FIRST = 1000  # seed of the first subject; base training evaluates on held-out seeds below 100
SUBJECTS, CASES = 12, 3
FRAMES = 32  # of a reference: 4 s
MOVES = tuple(name for name in MOTIONS if name not in ("sit", "idle"))
TEXTURED = ("street", "kitchen", "room", "city")


@dataclass(frozen=True)
class Subject:
    """One person of the benchmark: the reference clip to learn from, the true render of each case,
    and other people among whom the person is to be recognized."""

    number: int
    reference: Clip
    truths: list[Clip]
    others: list[Identity]

    @property
    def class_word(self) -> str:
        return self.reference.spec.identity.gender

    @cached_property
    def candidates(self) -> list[list[Clip]]:
        """True renders of the person and the others in each case; all methods share them."""
        return [line_up(truth, self.others) for truth in self.truths]


@dataclass(frozen=True)
class Setting:
    """The difficulty of the benchmark. hard: the reference's scene is textured and not named in the
    captions, its camera moves, and training takes twice as many steps. detailed: people have
    details that captions name coarsely or not at all (`puppets.Detail`)."""

    fast: bool = False
    hard: bool = False
    detailed: bool = False

    @property
    def name(self) -> str:
        words = ("hard" if self.hard else "easy", "detailed" * self.detailed, "fast" * self.fast)
        return "-".join(word for word in words if word)

    @property
    def candidates(self) -> int:
        """The number of people among whom a person is to be recognized."""
        return FEW if self.fast else MANY


def specs(number: int, setting: Setting) -> tuple[Spec, list[Spec]]:
    """What to render for a subject: its reference, and its cases, which have other scenes, motions,
    camera views and objects."""
    rng = np.random.default_rng([number, 2024])
    scenes, motions = rng.permutation(SCENES), rng.permutation(MOVES)
    if setting.hard:
        first = TEXTURED[number % len(TEXTURED)]
        scenes = np.array([first, *(s for s in scenes if s != first)])
    things = ["none", *rng.permutation(OBJECTS[1:])]
    person = sample_spec(FIRST + number, "held-out", setting.detailed)
    person = replace(person, occluder=None)

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
    others = others_of_class(reference.identity, setting.candidates - 1, FIRST, setting.detailed)
    return Subject(number, render(reference, FRAMES, size, fps), truths, others)
