"""The people of `aa evaluate --bench cast`: those of `--bench puppets` in the same scenes, each
known from one picture instead of a clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from animateanywhere.core.frame_size import square
from animateanywhere.evaluation.attributes import render_variants
from animateanywhere.evaluation.held_out import FIRST, FRAMES, Setting, specs
from animateanywhere.evaluation.retrieval import line_up, moments, others_of_class
from animateanywhere.methods.context_anyone.reference_picture import reference_picture
from animateanywhere.puppets import Camera, Clip, Identity, Spec, render

START = 1.0  # seconds of a motion at which pictures and videos begin
PEOPLE = 100  # that there are; `held_out.SUBJECTS` of them by default
FREE = "free"  # name of the stratum
STRATA = {FREE: "Without a pose, against the person as the video shows them"}


@dataclass(frozen=True)
class Case:
    """A person in a scene and motion.

    others: people among whom the person is to be recognized. All is rendered when it is needed, and
    gone with the case.
    """

    spec: Spec
    others: Sequence[Identity]
    frames: int
    size: int
    fps: float

    @cached_property
    def truth(self) -> Clip:
        """The true video."""
        return render(self.spec, self.frames, self.size, self.fps, START)

    @cached_property
    def empty(self) -> np.ndarray:
        """The scene alone, uint8 (H, W, 3)."""
        bare = replace(self.spec, object=replace(self.spec.object, name="none"))
        return render(bare, 1, self.size, self.fps, START, person=False).frames[0]

    @cached_property
    def candidates(self) -> list[Clip]:
        """True renders of the person and the others, of some frames (`retrieval.moments`)."""
        return line_up(self.truth, self.others)

    @cached_property
    def variants(self) -> dict[str, list[Clip]]:
        """The same, of every other such frame, of the person and of people who differ in one
        attribute, by its name."""
        half = self.moments[::2]
        return render_variants(
            self.spec.identity, lambda people: line_up(self.truth, people[1:], half)
        )

    @property
    def moments(self) -> range:
        """The frames of candidates."""
        return moments(self.frames)


@dataclass(frozen=True)
class Person:
    """A person of the benchmark. picture: the spec of the reference picture; known: that of the
    clip which the baseline that learns the person learns from."""

    number: int
    picture: Spec
    known: Spec
    cases: list[Case]

    @property
    def identity(self) -> Identity:
        return self.picture.identity

    @cached_property
    def shot(self) -> Clip:
        """The reference picture as it was taken: a clip of one frame."""
        return self._shot(self.picture)

    @cached_property
    def stranger(self) -> Clip:
        """Another person in the same pose and scene."""
        return self._shot(replace(self.picture, identity=self.cases[0].others[0]))

    @cached_property
    def clip(self) -> Clip:
        """What `--bench puppets` learns the person from."""
        return render(self.known, FRAMES, self.cases[0].size, self.cases[0].fps)

    def _shot(self, spec: Spec) -> Clip:
        return render(spec, 1, self.cases[0].size, self.cases[0].fps, START)


def cut_out(shot: Clip) -> np.ndarray:
    """A picture as the network sees it, (H, W, 3) uint8: the person on white."""
    return reference_picture(shot.frames[0], shot.masks[0] / 255, square(shot.frames.shape[1]))


def person(number: int, config: dict[str, Any], fast: bool = False) -> Person:
    """A person and the cases: three, or the last with `fast`, as in `--bench puppets`.

    config: of the base, for size, length and rate of the clips, and whether people are detailed.
    """
    setting = Setting(fast, detailed=bool(config.get("detailed")))
    known, cases = specs(number, setting)
    others = others_of_class(known.identity, setting.candidates - 1, FIRST, setting.detailed)
    size, fps, frames = int(config["size"]), float(config["fps"]), int(config["frames"])
    return Person(
        number, _picture(number, known), known,
        [Case(spec, others, frames, size, fps) for spec in cases],
    )  # fmt: skip


def _picture(number: int, known: Spec) -> Spec:
    """The person alone in the scene of the known clip, from the front, as large as fits, in the
    midst of a motion that no case has."""
    yaw = float(np.random.default_rng([FIRST + number, 5]).normal(0, 0.25))
    name = known.motion.name
    height = 0.8 / known.identity.height
    return replace(
        known, motion=replace(known.motion, yaw=yaw, name="walk" if name == "turn" else name),
        camera=Camera(height, 0.93, 0.0, known.camera.pitch, 0.0),
        object=replace(known.object, name="none"),
    )  # fmt: skip
