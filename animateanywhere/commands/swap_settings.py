"""The options of `aa swap`, what follows from them and the base, and the record of a result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from animateanywhere import __version__
from animateanywhere.backbones.base import Base, sampler_of
from animateanywhere.core.paths import RUNS
from animateanywhere.diffusion.sampling import make_scheduler
from animateanywhere.media.provenance import SWAPPED, planned
from animateanywhere.media.source import WHOLE, Part
from animateanywhere.methods.anycharv import generation
from animateanywhere.methods.anycharv.settings import GROW, Mask
from animateanywhere.methods.anycharv.stitch import Keep
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.character import MOST_GROWTH, Character, cut_out_digest
from animateanywhere.preprocessing.scene.parts import corrected_in
from animateanywhere.preprocessing.scene.prepared import Scene
from animateanywhere.preprocessing.scene.scan import Facts

DEFAULT = "mini-swap"


@dataclass(frozen=True)
class SwapOptions:
    """Options of `swap`. Equal options give equal bytes on one machine."""

    base: str = DEFAULT  # name or folder
    # To write (`core.formats`; .png for a picture); None: a new file in runs/<scene>
    out: Path | None = None
    overwrite: bool = False  # files that are not earlier results of this command, too
    person: int | None = None  # number of the one whose place is taken; None: the only one
    character_person: int | None = None  # number of the character in a picture of several
    # The region in which the network draws; None: as the base learned it last
    mask: Mask | None = None
    grow: float | None = None  # of the box, as a share of its longer side; None: by the character
    fit: Literal["none", "bones"] = "none"  # whether the skeleton gets the character's proportions
    # For bases that read a prompt: who and where, in words, and what the place of the person shows
    class_word: str | None = None  # None: person
    appearance: str | None = None  # "in a red coat"
    place: str | None = None  # "on a beach"
    pose_in_box: Literal["skeleton", "gray"] | None = None  # None: skeleton
    keep: Keep = "changed"  # which pixels of the scene stay, see `stitch.patches`
    # Frames per second of the result; None: the scene's, at most 30; "base": the base's
    fps: float | Literal["base"] | None = None
    part: Part = WHOLE  # of the scene
    runs: Path = RUNS  # where the scene has its folder, of masks and poses
    seed: int = 0
    steps: int | None = None  # denoising steps; None: the base's default
    guidance: float | None = None  # None: the base's default
    sampler: str | None = None  # None: the base's default
    # Whether the picture's own limbs are laid over what the network drew; None: the base's default
    collage: bool | None = None
    no_audio: bool = False
    contact_sheet: Path | None = None  # PNG of the character, the scene, what changed, the result
    backends: Backends | None = None  # of poses and masks


DEFAULTS = SwapOptions()


def sampling_of(base: Base, options: SwapOptions) -> generation.Options:
    """The options of sampling, with the base's defaults filled in."""
    asked = generation.Options(
        options.seed, options.steps, mask=options.mask, inside=options.pose_in_box or "skeleton"
    )
    asked = replace(asked, mask=generation.mask_of(base, asked))
    guidance = options.guidance
    return replace(
        asked, steps=generation.steps_of(base, asked), sampler=_sampler(base, options),
        guidance=float(base.config["guidance_scale"]) if guidance is None else guidance,
    )  # fmt: skip


def _sampler(base: Base, options: SwapOptions) -> str:
    """The sampler asked for, or the base's. Raises UsageError for one that does not suit it."""
    name = options.sampler or sampler_of(base)
    make_scheduler(base.scheduler.config, name)
    return name


def grow_of(base: Base, character: Sequence[Character], options: SwapOptions) -> float:
    """By how much the person's box is grown: as asked for, or by what the character wears."""
    if options.grow is not None:
        return options.grow
    usual = float(base.config.get("grow", GROW))
    return min(usual + max(one.growth for one in character), MOST_GROWTH)


def sidecar(
    character: Sequence[Character], scene: Scene, contents: str, base: Base,
    sampling: generation.Options, options: SwapOptions, prompt: str,
) -> dict[str, Any]:  # fmt: skip
    """Everything that a result depends on, as JSON data. contents: a digest of the scene's file.
    prompt: "" if the base reads none."""
    facts = scene.facts
    corrected = {str(part.first): marks for part in scene.parts
                 if any((marks := corrected_in(part)).values())}  # fmt: skip
    return {
        "command": "swap",
        "characters": [{"file": one.path.name, "sha256": one.digest, "cut_out": cut_out_digest(one)}
                       for one in character],
        "scene": {
            "file": facts.path.name,
            "sha256": contents,
            "start": facts.part.start,
            "fps": facts.part.fps,
            "poses": scene.poses,
            "masks": scene.masks,
            "corrected": corrected,
        },
        "person": options.person,
        "character_person": options.character_person,
        "base": {"name": base.config["name"], "hash": base.hash},
        "window": int(base.config["frames"]),  # frames, less where the memory is small
        **({"prompt": prompt, "class_word": options.class_word, "appearance": options.appearance,
            "place": options.place, "pose_in_box": sampling.inside} if prompt else {}),
        "mask": sampling.mask,
        "grow": round(grow_of(base, character, options), 4),
        "fit": options.fit,
        "keep": options.keep,
        "frames": scene.total,
        "passed_through": scene.passed_ranges,
        "fps": facts.fps,
        "size": list(facts.size),
        "format": _suffix(facts, options),
        "sound": not options.no_audio,
        "seed": sampling.seed,
        "steps": sampling.steps,
        "guidance": sampling.guidance,
        "sampler": sampling.sampler,
        "version": __version__,
        "torch": torch.__version__,
        "provenance": planned(SWAPPED, _suffix(facts, options)),
    }  # fmt: skip


def of_all_chunks(settings: dict[str, Any]) -> str:
    """The settings that every chunk depends on, as text: not which frames were corrected, as each
    chunk depends on its own masks and poses, and those before a correction are used again; nor
    whether limbs are laid over them."""
    scene = {key: value for key, value in settings["scene"].items() if key != "corrected"}
    return repr({key: value for key, value in settings.items() if key != "collage"}
                | {"scene": scene})  # fmt: skip


def _suffix(facts: Facts, options: SwapOptions) -> str:
    if options.out is not None:
        return options.out.suffix.lower()
    return ".png" if facts.is_picture else ".mp4"
