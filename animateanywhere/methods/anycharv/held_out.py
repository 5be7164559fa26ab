"""The people and scenes of `aa evaluate --bench swap`, which no training ever saw, and the true
video of each swap."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from animateanywhere.methods.anycharv.triplets import on_skeleton
from animateanywhere.metrics import silhouette_iou
from animateanywhere.puppets import (
    OBJECTS,
    Camera,
    Clip,
    Identity,
    Spec,
    render,
    render_batch,
    sample_spec,
)
from animateanywhere.puppets.sample import sample_occluder

FIRST = 2000  # seed of the first person; the scenes' follow those of all people
PEOPLE = SCENES = 24
NEXT = 13  # from one case of a person to the next, in scenes: of another kind
STRANGERS = 3
REFERENCE = 32  # frames of the clip that a person is learned from: 4 s
UNLIKE = 0.73  # overlap of outlines below which two bodies are unlike: a third of all cases
KINDS = ("plain", "back", "object", "occluder")  # of scenes, in turn
STRATA = {
    "unlike": f"Unlike bodies (outlines overlap by less than {UNLIKE})",
    "back": "The scene shows the back, the picture the front",
    "object": "With an object",
    "occluder": "With something in front of the person",
}


@dataclass(frozen=True)
class Case:
    """One person in another one's scene.

    truth: the new person on the old one's skeleton. scene: the old person. empty: the scene alone,
    uint8 (F, H, W, 3). strangers: people who never were there, otherwise as `scene`. strata: names
    of those that the case belongs to.
    """

    truth: Clip
    scene: Clip
    empty: np.ndarray
    strangers: list[Clip]
    strata: tuple[str, ...]


@dataclass(frozen=True)
class Guest:
    """A person who is put into scenes. picture: one frame, from the front, in another scene."""

    number: int
    picture: Clip
    reference: Spec
    cases: list[Case]
    size: int
    fps: float

    @property
    def identity(self) -> Identity:
        return self.reference.identity

    @cached_property
    def clip(self) -> Clip:
        """The clip that the baseline which learns the person learns from."""
        return render(self.reference, REFERENCE, self.size, self.fps)


def guest(number: int, config: dict[str, Any], picture_size: int, fast: bool = False) -> Guest:
    """Render a person and the cases: two, or one with `fast`.

    config: of the base, for size, length and rate of the clips, and whether people are detailed.
    picture_size: of the square that the picture is cut from, in pixels.
    """
    size, fps = int(config["size"]), float(config["fps"])
    detailed = bool(config.get("detailed"))
    reference = _reference(number, detailed)
    person = reference.identity
    cases = [
        _case(person, scene_spec((number + NEXT * case) % SCENES, detailed), config)
        for case in range(1 if fast else 2)
    ]
    picture = render(replace(reference, motion=replace(reference.motion, name="idle")), 1,
                     picture_size)  # fmt: skip
    return Guest(number, picture, reference, cases, size, fps)


def scene_spec(number: int, detailed: bool) -> Spec:
    """The scene of a number, with the person who is replaced: of `KINDS[number % 4]`."""
    seed = FIRST + PEOPLE + number
    rng = np.random.default_rng([seed, 5])
    spec = sample_spec(seed, "held-out", detailed)
    kind = KINDS[number % len(KINDS)]
    turned = rng.normal(0, 0.4) + (np.pi if kind == "back" else 0)
    name = spec.motion.name
    motion = replace(spec.motion, yaw=float(turned), name="walk" if name == "turn" else name)
    thing = str(rng.choice(OBJECTS[1:])) if kind == "object" else "none"
    occluder = sample_occluder(rng) if kind == "occluder" else None
    return replace(spec, motion=motion, object=replace(spec.object, name=thing), occluder=occluder)


def _reference(number: int, detailed: bool) -> Spec:
    """A person alone in a scene of their own, from the front, as large as fits."""
    spec = sample_spec(FIRST + number, "held-out", detailed)
    yaw = float(np.random.default_rng([FIRST + number, 5]).normal(0, 0.25))
    height = 0.84 / spec.identity.height
    return replace(
        spec, motion=replace(spec.motion, yaw=yaw, travel=0.0, name="walk"),
        camera=Camera(height, 0.95, 0.0, spec.camera.pitch, 0.0),
        object=replace(spec.object, name="none"), occluder=None,
    )  # fmt: skip


def _case(person: Identity, old: Spec, config: dict[str, Any]) -> Case:
    frames, size, fps = int(config["frames"]), int(config["size"]), float(config["fps"])

    def clip(spec: Spec, shown: bool = True) -> Clip:
        return render(spec, frames, size, fps, start=1.0, person=shown)

    new = replace(old, identity=on_skeleton(person, old.identity))
    seeds = [old.seed + 1000 * (1 + k) for k in range(STRANGERS)]
    others = [sample_spec(seed, "held-out").identity for seed in seeds]
    strangers = [replace(old, identity=on_skeleton(who, old.identity)) for who in others]
    return Case(
        clip(new), clip(old), clip(old, shown=False).frames, [clip(one) for one in strangers],
        strata(person, old, size),
    )  # fmt: skip


def strata(person: Identity, old: Spec, size: int = 64) -> tuple[str, ...]:
    """The names of the strata that a person in place of another one belongs to."""
    bodies = render_batch([old, replace(old, identity=person)], [1.0, 1.0], size)
    overlap = silhouette_iou(bodies[1].masks / 255, bodies[0].masks)
    found = {
        "unlike": overlap < UNLIKE,
        "back": abs(np.angle(np.exp(1j * old.motion.yaw))) > np.pi / 2,
        "object": old.object.name != "none",
        "occluder": old.occluder is not None,
    }
    return tuple(name for name in STRATA if found[name])
