"""The ways to make a video of a picture's person that `aa evaluate --bench cast` compares: each
returns a video in the pose of the truth, and one whose motion is asked for in words."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from animateanywhere.backbones.base import Base, base_config, find_base, hash_of
from animateanywhere.backbones.vae import decode_latents, encode_frames
from animateanywhere.collage.limb_collage import Collage, Cutout
from animateanywhere.collage.over_frames import with_limbs
from animateanywhere.commands.cast_motion import fitted, rendered_motion
from animateanywhere.commands.cast_train import cast_train, recipe_of
from animateanywhere.commands.generate import GenerateOptions, generate
from animateanywhere.commands.personalize import PersonalizeOptions, personalize
from animateanywhere.core.errors import UsageError
from animateanywhere.core.messages import say
from animateanywhere.evaluation.truth import write_reference
from animateanywhere.media import video
from animateanywhere.methods.animate_anywhere.settings import load_recipe, scaled
from animateanywhere.methods.context_anyone import generation
from animateanywhere.methods.context_anyone.ablations import ABLATIONS, ablated
from animateanywhere.methods.context_anyone.cast_base import load_cast_base
from animateanywhere.methods.context_anyone.generation import Options
from animateanywhere.methods.context_anyone.held_out import Case, Person, cut_out
from animateanywhere.methods.context_anyone.method import Reference
from animateanywhere.pose import skeleton
from animateanywhere.puppets import Clip, caption, describe_identity
from animateanywhere.puppets.caption import SCENE_WORDS

TOKEN = "sks"
FASTER = 4  # with `fast`, a person is learned in a quarter of the steps


class Made(NamedTuple):
    """Videos uint8 (F, H, W, 3) of a case: in the truth's pose, and without one. None where the
    method makes none."""

    posed: np.ndarray | None
    free: np.ndarray | None


@dataclass(frozen=True)
class Bases:
    """What the methods share, each loaded or made when it is first needed."""

    folder: Path  # of the base for `aa cast`
    fast: bool
    trained: Path  # folder of those that ablations train
    # Of the person at hand, by base: the reference
    references: dict[tuple[str, str], Reference] = field(default_factory=dict)
    ablations: dict[str, Base] = field(default_factory=dict)

    @cached_property
    def hash(self) -> str:
        """That of the base, by which results are known again."""
        return hash_of(self.folder)

    @cached_property
    def ours(self) -> Base:
        """The base."""
        return load_cast_base(self.folder)

    def ablation(self, name: str) -> Base:
        """The base of an ablation, which `train_ablation` trained."""
        if name not in self.ablations:
            self.ablations[name] = load_cast_base(self.trained / name)
        return self.ablations[name]

    def reference(self, base: Base, name: str, shot: Clip) -> Reference:
        """What a base knows of the picture of this name; read once for a person."""
        key = (str(base.folder), name)
        if key not in self.references:
            self.references[key] = generation.read_reference(base, [cut_out(shot)])
        return self.references[key]


def train_ablation(bases: Bases, name: str) -> None:
    """Train the base of an ablation, or go on with it; nothing if that is done.

    The rendered people are those of the base where they are still in its folder; otherwise all
    ablations share some of their own, but for one that needs others.
    """
    recipe = ablated(recipe_of(bases.folder), name)
    corpus = bases.folder / "corpus"
    if not corpus.is_dir():
        corpus = bases.trained / "corpus"
    say(f"training {ABLATIONS[name].title}")
    own = ABLATIONS[name].own_people
    cast_train(recipe, bases.trained / name, corpus=None if own else corpus)


def words_of(case: Case, person: str) -> str:
    """The prompt of a case, with somebody in it."""
    return caption(case.spec, seed=1, person=person, appearance=False)


def _cast(base: Base, prompt: str, reference: Reference | None, case: Case, seed: int) -> Made:
    """What a base makes of a case."""
    posed = None
    if _posed(base):
        poses = generation.encode_motion(base, case.truth.keypoints)
        posed = _frames(base, prompt, reference, case, poses, seed)
    return Made(posed, _frames(base, prompt, reference, case, None, seed))


def _posed(base: Base) -> bool:
    return bool(base.denoiser.config.pose_channels)


def _frames(
    base: Base, prompt: str, reference: Reference | None, case: Case, poses: torch.Tensor | None,
    seed: int,
) -> np.ndarray:  # fmt: skip
    """A case's frames (F, H, W, 3) uint8 by pose latents, None for the network's own motion."""
    latents = generation.cast_latents(base, prompt, reference, case.frames, poses, Options(seed))
    return decode_latents(base.vae, latents, clip=True)[: case.frames]


def _by_picture(bases: Bases, base: Base, one: Person, case: Case, seed: int) -> Made:
    """A base with the person's picture."""
    prompt = words_of(case, f"the {one.identity.gender}")
    return _cast(base, prompt, bases.reference(base, "own", one.shot), case, seed)


def ours(bases: Bases, one: Person, case: Case, place: Path, seed: int) -> Made:
    """All of it, by one picture."""
    return _as_cast(bases, "own", one.shot, one, case, seed)


def _as_cast(bases: Bases, name: str, shot: Clip, one: Person, case: Case, seed: int) -> Made:
    """As `aa cast` makes it with this base of a picture: by the motion that the prompt names where
    none is given, and with the picture's limbs over what the network drew."""
    base = bases.ours
    reference = bases.reference(base, name, shot)
    prompt = words_of(case, f"the {one.identity.gender}")
    moves, laid = (bool(base.config.get(key, False)) for key in ("prompt_motion", "collage"))
    mask = shot.masks[0].astype(np.float32) / 255
    limbs = Collage([Cutout(shot.frames[0], mask, shot.keypoints[0])] if laid else [])

    def frames(poses: np.ndarray | None) -> np.ndarray:
        latents = None if poses is None else generation.encode_motion(base, poses)
        made = _frames(base, prompt, reference, case, latents, seed)
        return made if poses is None or not limbs else with_limbs(made, poses, limbs, steady=True)

    own = None
    if moves:
        driving = rendered_motion(prompt, seed, case.frames, case.fps)
        own = fitted(base, driving, shot.keypoints).fitted
    return Made(frames(case.truth.keypoints) if _posed(base) else None, frames(own))


def drawn(bases: Bases, one: Person, case: Case, place: Path, seed: int) -> Made:
    """What the network draws by one picture, in its own motion where none is given."""
    return _by_picture(bases, bases.ours, one, case, seed)


def ablation(name: str) -> Callable[[Bases, Person, Case, Path, int], Made]:
    """The same by the base of an ablation."""

    def make(bases: Bases, one: Person, case: Case, place: Path, seed: int) -> Made:
        return _by_picture(bases, bases.ablation(name), one, case, seed)

    return make


def words(bases: Bases, one: Person, case: Case, place: Path, seed: int) -> Made:
    """The same network without a picture, with the renderer's description of the person."""
    return _cast(bases.ours, words_of(case, describe_identity(one.identity)), None, case, seed)


def stranger(bases: Bases, one: Person, case: Case, place: Path, seed: int) -> Made:
    """All of it by the picture of somebody else: what comes of no knowledge of the person."""
    return _as_cast(bases, "stranger", one.stranger, one, case, seed)


def personalized(bases: Bases, one: Person, case: Case, place: Path, seed: int) -> Made:
    """The base that the base was trained from, after learning the person from a clip, whose limbs
    it lays by default; with the pose, which it needs."""
    lender = find_base(str(bases.ours.config["parts"]))
    weights, class_word = place / "run" / "personal.safetensors", one.identity.gender
    place.mkdir(parents=True, exist_ok=True)
    if not weights.is_file():
        recipe = load_recipe(str(base_config(lender).get("personalize", "personalize")))
        weights = personalize(
            write_reference(one.clip, place), TOKEN,
            PersonalizeOptions(
                class_word=class_word, base=str(lender), out=place / "run",
                recipe=scaled(recipe, 1 / FASTER if bases.fast else 1),
                scene=SCENE_WORDS[one.known.scene.name][0], estimate=False,
            ),
        )  # fmt: skip
        shutil.rmtree(place / "run" / "training", ignore_errors=True)
    truth = case.truth
    pose, out = place / "motion.json", place / "made.mp4"
    skeleton.write_poses(pose, skeleton.Poses(truth.keypoints, case.size, case.size, case.fps))
    generate(
        words_of(case, f"{TOKEN} {class_word}"), pose,
        GenerateOptions(weights=weights, base=str(lender), out=out, overwrite=True, fit="none",
                        seed=seed),
    )  # fmt: skip
    return Made(video.read(out).frames, None)


def pasted(bases: Bases, one: Person, case: Case, place: Path, seed: int) -> Made:
    """The picture, cut out and laid still on a picture of the scene, as large as the true person
    and where that one begins."""
    shot, truth = one.shot, case.truth
    (top, bottom, left, right), (high, low, near, far) = _box(shot.masks[0]), _box(truth.masks[0])
    height = low - high
    width = max(round((right - left) * height / (bottom - top)), 1)

    def resized(pixels: np.ndarray) -> np.ndarray:
        part = Image.fromarray(pixels[top:bottom, left:right])
        return np.asarray(part.resize((width, height), Image.Resampling.LANCZOS), np.float32)

    person, share = resized(shot.frames[0]), resized(shot.masks[0])[..., None] / 255
    still = case.empty.astype(np.float32)
    x = (near + far - width) // 2
    inside = slice(max(-x, 0), min(width, case.size - x))
    there = slice(max(x, 0), max(x, 0) + inside.stop - inside.start)
    under = still[high:low, there]
    still[high:low, there] = under + share[:, inside] * (person[:, inside] - under)
    frames = np.repeat(still.round().clip(0, 255).astype(np.uint8)[None], case.frames, 0)
    return Made(frames, frames)


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of what a mask (H, W) shows."""
    rows, columns = (np.flatnonzero((mask > 127).any(axis)) for axis in (1, 0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def vae(bases: Bases, one: Person, case: Case, place: Path, seed: int) -> Made:
    """The true video through the VAE."""
    coder = bases.ours.vae
    latents = encode_frames(coder, case.truth.frames, clip=True)
    frames = decode_latents(coder, latents, clip=True)[: case.frames]
    return Made(frames, frames)


def truth(bases: Bases, one: Person, case: Case, place: Path, seed: int) -> Made:
    """The true video."""
    return Made(case.truth.frames, case.truth.frames)


@dataclass(frozen=True)
class Method:
    """One row of the table. make: (bases, person, case, folder, seed) -> the videos."""

    title: str
    make: Callable[[Bases, Person, Case, Path, int], Made]


METHODS: dict[str, Method] = {
    "ours": Method("ours, one picture", ours),
    "drawn": Method("the network alone, one picture", drawn),
    "words": Method("the same network, person described in words", words),
    "personalized": Method("person learned from a clip, with its limbs", personalized),
    "pasted": Method("the picture, pasted into the scene", pasted),
    "stranger": Method("ours, a stranger's picture", stranger),
    "vae": Method("ground truth through the VAE", vae),
    "truth": Method("ground truth", truth),
}
KNOWN: dict[str, Method] = METHODS | {
    name: Method(found.title, ablation(name)) for name, found in ABLATIONS.items()
}


def check_methods(names: list[str], folder: Path) -> None:
    """Raise UsageError for unknown methods, and for ablations of a base without its recipe."""
    for name in names:
        if name not in KNOWN:
            raise UsageError(f"no method {name}: give one of {', '.join(KNOWN)}")
    if any(name in ABLATIONS for name in names):
        recipe_of(folder)
