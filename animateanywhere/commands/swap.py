"""`aa swap`: the person of a picture into a scene video, in the place of the person there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.markup import escape

from animateanywhere.backbones.base import Base
from animateanywhere.backbones.low_memory import to_device
from animateanywhere.commands.collage_choice import collage_of
from animateanywhere.commands.scene_folder import scene_folder
from animateanywhere.commands.swap_chunks import Plan, sample_scene
from animateanywhere.commands.swap_memory import fitting, within_memory
from animateanywhere.commands.swap_output import (
    check_free,
    check_out,
    check_sheet,
    result_name,
    say_changes,
    write_result,
)
from animateanywhere.commands.swap_settings import (
    DEFAULTS,
    SwapOptions,
    grow_of,
    of_all_chunks,
    sampling_of,
    sidecar,
)
from animateanywhere.core.device import best_device
from animateanywhere.core.errors import UsageError
from animateanywhere.core.estimate import Estimate, compare, in_words
from animateanywhere.core.files import require_no_input, require_writable
from animateanywhere.core.findings import Finding, warn_findings
from animateanywhere.core.messages import say, warn
from animateanywhere.core.naming import check_class_word
from animateanywhere.media import content_credentials, video
from animateanywhere.media.content_credentials import check_signer
from animateanywhere.methods.animate_anywhere.cost.predict import estimate_generation
from animateanywhere.methods.animate_anywhere.prompt import check_prompt
from animateanywhere.methods.anycharv import generation
from animateanywhere.methods.anycharv.full_size import is_full_size
from animateanywhere.methods.anycharv.route import Route, route_of
from animateanywhere.methods.anycharv.vace import prompt_of
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
from animateanywhere.preprocessing.who import Who

PEOPLE = "character-people.png"


def swap(characters: Sequence[Path], scene: Path, options: SwapOptions = DEFAULTS) -> Path:
    """Put the character of one or several pictures into a scene; returns the path of the result, a
    video of the scene's size, rate and sound with a JSON sidecar of all settings.

    Masks and poses are written to runs/<scene>, where they can be corrected, and are used again for
    the next character. Raises UsageError for unusable input.
    """
    backends = options.backends or Backends()
    _check_files(characters, scene, options)
    check_signer()
    route = route_of(options.base)
    _check_words(route, options)
    with scene_folder(scene, options.runs) as (folder, contents):
        base = route.load(options.base)
        sampling = sampling_of(base, options)
        prompt = _prompt(base, options) if route.prompted else ""
        rate = float(base.config["fps"]) if options.fps == "base" else options.fps
        facts = scene_facts(scene, rate, options.part)
        check_out(options.out, facts)
        say_changes(facts, options.out, options.fps is not None)
        _warn_credentials(scene)
        passes = to_device(base, best_device())
        who = Who(characters, options.character_person, folder / PEOPLE)
        known = [read_character(path, who, backends, base.frame.height) for path in characters]
        who.require_used()
        for one in known:
            warn_findings(one.path.name, one.findings)
            for note in (found.text for found in one.findings if found.level == "note"):
                say(escape(f"{one.path.name}: {note}"))
        prepared = prepare_scene(facts, folder, options.person, backends)
        _compare(known, prepared, options)
        begun = time.monotonic()
        with passes:
            expected = None  # by the first pass
            if route.prompted:
                base, expected = _expected(base, prepared, len(known), sampling, begun)
            elif is_full_size(base):
                base = within_memory(base)
            collage = collage_of(base, known, options.collage)
            settings = sidecar(known, prepared, contents, base, sampling, options, prompt)
            settings["collage"] = collage is not None
            name = known[0].path.stem
            out = options.out or result_name(folder, name, settings["format"], settings)
            pixels, masks, poses = zip(
                *((one.pixels, one.mask, one.keypoints) for one in known), strict=True
            )
            character = route.read_character(base, pixels, masks, poses, prompt)
            plan = Plan(
                base, route, character, prepared, sampling, grow_of(base, known, options),
                options.keep,
                np.stack(poses) if options.fit == "bones" else None, of_all_chunks(settings),
                collage,
            )  # fmt: skip
            pieces, estimate = sample_scene(plan, expected)
            write_result(
                out, plan, pieces, known, settings, options.no_audio, options.contact_sheet
            )
        for path in pieces:  # large, and of no more use
            path.unlink(missing_ok=True)
        with suppress(OSError):  # those of another command are left
            pieces[0].parent.rmdir()
        if estimate is not None:
            compare(out.with_suffix(".estimate.json"), estimate, begun)
    say(f"wrote [bold]{escape(str(out))}[/bold]")
    return out


def _check_words(route: Route, options: SwapOptions) -> None:
    """Raise UsageError for options that the base has no use for, or for what is no class word."""
    check_class_word(options.class_word)
    if not route.prompted:
        for name in ("class_word", "appearance", "place", "pose_in_box"):
            if getattr(options, name) is not None:
                raise UsageError(
                    f"--{name.replace('_', '-')}: only for bases of Wan VACE, such as "
                    f"wan-vace-1.3b; {options.base} looks at the pictures alone"
                )


def _prompt(base: Base, options: SwapOptions) -> str:
    """The prompt for a base that reads one, which is said."""
    words = options.class_word or "person", options.appearance or "", options.place or ""
    prompt = prompt_of(*words)
    check_prompt(prompt, base, "prompt")
    say(escape(f'prompt: "{prompt}"; --class-word, --appearance and --place change it'))
    return prompt


def _expected(
    base: Base, scene: Scene, pictures: int, sampling: generation.Options, begun: float
) -> tuple[Base, Estimate | None]:
    """Estimate and print time and memory, as for `aa generate` of as many frames, with the pictures
    in front of each window; the base with windows that fit. Raises as `fitting`."""
    swapped = scene.total - len(scene.passed_through)

    def look(base: Base) -> tuple[Estimate | None, list[Finding]]:
        longer = int(base.config["frames"]) + base.packed * pictures
        base = replace(base, config=base.config | {"frames": longer})
        return estimate_generation(base, swapped, sampling.steps or 1, begun)

    base, estimate = fitting(base, look)
    if estimate is not None:
        say(f"swapping takes about {in_words(estimate)} on this machine (estimated)")
    return base, estimate


def _check_files(characters: Sequence[Path], scene: Path, options: SwapOptions) -> None:
    """Raise UsageError for files that are missing, are the same, or would be overwritten."""
    for path in (*characters, scene):
        video.check_file(path)
    require_writable(options.runs if options.out is None else options.out.parent)
    for path in characters:
        if path.resolve() == scene.resolve():
            raise UsageError(f"{path}: both the character and the scene; give two files")
    written = [path for path in (options.out, options.contact_sheet) if path is not None]
    require_no_input(written, (*characters, scene))
    if len({path.resolve() for path in written}) < len(written):
        raise UsageError(f"--out and --contact-sheet are both {options.out}; give two names")
    if options.out is not None:
        check_free(options.out, options.overwrite)
    if options.contact_sheet is not None:
        require_writable(options.contact_sheet.parent)
        check_sheet(options.contact_sheet, options.out, options.overwrite)


def _warn_credentials(scene: Path) -> None:
    """Say that the result has its own Content Credentials, not the scene's: these are signed for
    the scene's bytes."""
    signed = None if scene.is_dir() else content_credentials.read(scene)
    if signed is not None:
        by = f" of {signed.tool}" if signed.tool else ""
        warn(
            escape(
                f"{scene}: its Content Credentials (C2PA){by} are not carried into the result, "
                "since they are signed for that file alone: keep it to show where the scene is from"
            )
        )


def _compare(character: Sequence[Character], scene: Scene, options: SwapOptions) -> None:
    """Warn of what the scene shows and the pictures do not, and of another build."""
    shown = np.concatenate([read_keypoints(part) for part in scene.parts])
    found = compared(character, shown)
    if options.fit == "none":
        found += proportions(character, shown)
    warn_findings(" and ".join(one.path.name for one in character), found)
