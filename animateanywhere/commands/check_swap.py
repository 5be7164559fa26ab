"""`aa check PICTURE --scene VIDEO`: whether a character and a scene suit `aa swap`, before any long
work."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np

from animateanywhere.backbones.base import Base
from animateanywhere.backbones.low_memory import to_device
from animateanywhere.commands.check_cast import LEAST, write_cut_outs
from animateanywhere.commands.check_report import FOLDER, Report, about, report_of
from animateanywhere.commands.scene_folder import scene_folder
from animateanywhere.commands.swap import PEOPLE
from animateanywhere.commands.swap_chunks import Plan, estimate_scene
from animateanywhere.commands.swap_settings import DEFAULT, SwapOptions, grow_of, sampling_of
from animateanywhere.core.device import best_device
from animateanywhere.core.errors import UsageError
from animateanywhere.core.estimate import Estimate
from animateanywhere.core.files import require_writable
from animateanywhere.core.findings import Finding
from animateanywhere.core.messages import quietly
from animateanywhere.media.source import WHOLE, Part
from animateanywhere.methods.anycharv.full_size import is_full_size
from animateanywhere.methods.anycharv.route import Route, route_of
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.character import (
    Character,
    compared,
    proportions,
    read_character,
)
from animateanywhere.preprocessing.scene.parts import read_keypoints
from animateanywhere.preprocessing.scene.prepared import PEOPLE as PERSONS
from animateanywhere.preprocessing.scene.prepared import Scene, prepare_scene
from animateanywhere.preprocessing.scene.scan import scene_facts
from animateanywhere.preprocessing.who import Who


def check_swap(
    characters: Sequence[Path], scene: Path, *, person: int | None = None,
    character_person: int | None = None, base: str | None = None, out: Path | None = None,
    backends: Backends | None = None, part: Part = WHOLE,
) -> Report:  # fmt: skip
    """Check pictures of a character and a scene; arguments as for `swap`. base: to estimate time
    and memory with; None: the default, if it is there.

    Masks and poses are written to `out`, by default where `aa swap` reads them: what is corrected
    there is kept. Faults of the files are findings; other wrong use raises UsageError.
    """
    # Pictures to look at, of each character with each scene
    shown = out or FOLDER.joinpath(scene.stem, *(path.stem for path in characters))
    require_writable(shown)
    ready = _base_of(base)  # first: where it cannot be loaded, nothing was looked at for nothing
    shown.mkdir(parents=True, exist_ok=True)
    backends = backends or Backends()
    found: dict[str, list[Finding]] = {path.name: [] for path in (*characters, scene)}
    known: list[Character] = []
    who = Who(characters, character_person, shown / PEOPLE)
    who.clear()
    for path in characters:
        try:
            one = read_character(path, who, backends, LEAST)
        except UsageError as error:
            found[path.name].append(about(path, error))
        else:
            known.append(one)
            found[path.name] += one.findings
    who.require_used()
    prepared, persons = _scene(scene, out, person, backends, part, found[scene.name])
    if known and prepared is not None:
        keypoints = np.concatenate([read_keypoints(part) for part in prepared.parts])
        found[characters[0].name] += [*compared(known, keypoints), *proportions(known, keypoints)]
    files = who.written()
    if persons is not None:
        files["persons of the scene"] = persons
    if known:
        files["cut-out"] = write_cut_outs(shown / "character.png", known)
    if prepared is not None:
        files["scene"] = prepared.folder
    estimates: dict[str, Estimate] = {}
    if ready is not None and len(known) == len(characters) and prepared is not None:
        estimates = {"swap": _estimate(known, prepared, *ready)}
    return report_of(found, estimates, {what: file for what, file in files.items()
                                        if file.exists()})  # fmt: skip


def _scene(
    scene: Path, out: Path | None, person: int | None, backends: Backends, part: Part,
    findings: list[Finding],
) -> tuple[Scene | None, Path | None]:  # fmt: skip
    """The prepared scene, None where it is unusable, and where a picture of its persons would be,
    None where nothing was looked for; adds to its findings."""
    try:
        facts = scene_facts(scene, None, part, "check")
    except UsageError as error:
        findings.append(about(scene, error))
        return None, None
    owned: AbstractContextManager[tuple[Path, str]] = (
        scene_folder(scene, ends=False) if out is None else nullcontext((out, ""))
    )
    with owned as (folder, _):
        try:
            with quietly():  # findings are reported by the caller
                prepared = prepare_scene(facts, folder, person, backends)
        except UsageError as error:
            findings.append(about(scene, error))
            return None, folder / PERSONS
    findings += prepared.findings
    return prepared, folder / PERSONS


def _base_of(name: str | None) -> tuple[Base, Route] | None:
    """The base to estimate with; None without one, and for those that read a prompt or are of full
    size, whose memory `aa swap` estimates before it begins."""
    try:
        route = route_of(name or DEFAULT)
    except UsageError:
        if name is not None:
            raise
        return None  # this installation lacks it
    if route.prompted:
        return None
    base = route.load(name or DEFAULT)
    return None if is_full_size(base) else (base, route)


def _estimate(known: Sequence[Character], scene: Scene, base: Base, route: Route) -> Estimate:
    """Time and memory of the swap by a pass through the network."""
    options = SwapOptions()
    with quietly(), to_device(base, best_device()):
        pixels, masks, poses = zip(*((one.pixels, one.mask, one.keypoints) for one in known),
                                   strict=True)  # fmt: skip
        character = route.read_character(base, pixels, masks, poses, "")
        grow, sampling = grow_of(base, known, options), sampling_of(base, options)
        return estimate_scene(
            Plan(base, route, character, scene, sampling, grow, options.keep, None, "")
        )
