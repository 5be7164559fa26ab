"""`aa check PICTURE --scene VIDEO`: whether a character and a scene suit `aa swap`, before any long
work."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from animateanywhere.commands.check import FOLDER, Report, about
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import require_writable
from animateanywhere.core.findings import Finding, verdict
from animateanywhere.core.messages import quietly
from animateanywhere.media.source import WHOLE, Part
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.character import (
    Character,
    compared,
    proportions,
    read_character,
)
from animateanywhere.preprocessing.scene.parts import read_keypoints
from animateanywhere.preprocessing.scene.prepared import Scene, prepare_scene
from animateanywhere.preprocessing.scene.scan import scene_facts

LEAST = 128  # pixels of a square that a base for swaps sees, at least


def check_swap(
    character: Path, scene: Path, *, person: int | None = None, out: Path | None = None,
    backends: Backends | None = None, part: Part = WHOLE,
) -> Report:  # fmt: skip
    """Check a picture of a character and a scene; person: the number of the one in the scene.

    Masks and poses are written to `out`, by default runs/check/<scene>/scene. Faults of the files
    are findings; other wrong use raises UsageError.
    """
    out = out or FOLDER / scene.stem / "scene"
    require_writable(out)
    out.mkdir(parents=True, exist_ok=True)
    backends = backends or Backends()
    found: dict[str, list[Finding]] = {character.name: [], scene.name: []}
    one: Character | None = None
    other: Scene | None = None
    try:
        one = read_character(character, None, backends, LEAST, out / "character-people.png")
        found[character.name] += one.findings
    except UsageError as error:
        found[character.name].append(about(character, error))
    try:
        facts = scene_facts(scene, None, part)
        with quietly():  # findings are reported below
            other = prepare_scene(facts, out, person, backends)
        found[scene.name] += other.findings
    except UsageError as error:
        found[scene.name].append(about(scene, error))
    if one is not None and other is not None:
        shown = np.concatenate([read_keypoints(part) for part in other.parts])
        found[character.name] += [*compared([one], shown), *proportions([one], shown)]
    return Report(verdict([each for some in found.values() for each in some]), found, {})
