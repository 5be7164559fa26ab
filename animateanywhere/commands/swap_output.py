"""What `aa swap` writes: the name of the result, the video with its sound, the contact sheet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from rich.markup import escape

from animateanywhere.commands.swap_chunks import Plan
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import require_free
from animateanywhere.core.formats import GIF_FPS, WITH_SOUND, format_of
from animateanywhere.core.json_file import read_table
from animateanywhere.core.messages import progress, say, warn
from animateanywhere.evaluation.sidecar import recorder
from animateanywhere.media import output, video
from animateanywhere.media.provenance import SWAPPED, Made
from animateanywhere.media.sound import Packets, Sound, has_sound, sound_to_copy
from animateanywhere.methods.anycharv.long_scene import made_frames
from animateanywhere.methods.anycharv.stitch import paste
from animateanywhere.preprocessing.character import Character
from animateanywhere.preprocessing.ground import on_ground
from animateanywhere.preprocessing.scene.prepared import Scene
from animateanywhere.preprocessing.scene.scan import FULL, Facts, read_scene

SHEET = 640  # pixels of the longer side of the frames that a contact sheet is made of
CLOSE = 0.95  # of a rate: nearer ones are not worth a word
MARKED = (255, 40, 40)  # color of what is not the scene's own


def check_out(out: Path | None, facts: Facts) -> None:
    """Raise UsageError for a name in whose format the result cannot be written."""
    if out is None:
        return
    if out.suffix.lower() == ".png":
        if not facts.is_picture:
            raise UsageError(f"--out {out}: a video is not written as one picture; give .mp4")
        if out.is_dir():
            raise UsageError(f"--out {out}: a folder, although its name ends in .png")
        return
    if format_of(out) == ".gif" and facts.fps > GIF_FPS:
        raise UsageError(
            f"--out {out}: a GIF shows at most {GIF_FPS:g} frames per second; lower --fps"
        )


def say_changes(facts: Facts, out: Path | None, chosen: bool) -> None:
    """Say what of a scene's rate and size is not its own in the result. chosen: whether the rate
    was."""
    name, own = facts.path.name, facts.own_fps
    if facts.path.is_dir() and facts.part.fps is None and not chosen:
        say(escape(f"{name}: a folder of pictures, taken as {own:g} a second; --scene-fps sets "
                   "another rate"))  # fmt: skip
    elif not chosen and facts.fps < CLOSE * own:
        say(escape(f"{name}: {own:.4g} frames per second, of which {facts.fps:g} are taken; "
                   f"--fps {own:.4g} takes all"))  # fmt: skip
    width, height = facts.size
    suffix = ".mp4" if out is None and not facts.is_picture else out and out.suffix.lower()
    if suffix in WITH_SOUND and (width % 2 or height % 2):
        say(escape(f"{name}: {width} x {height} pixels become {width + width % 2} x "
                   f"{height + height % 2} in a file {suffix}, whose sides are even: the edge is "
                   "repeated"))  # fmt: skip


def check_free(out: Path, overwrite: bool, command: str = "swap") -> None:
    """Raise UsageError where a result would overwrite files that are not of an earlier one."""
    earlier = read_table(out.with_suffix(".json"))
    own = earlier.get("command") == command
    other = out.with_suffix(str(earlier.get("format", out.suffix)))
    if own and other.suffix != out.suffix.lower() and other.exists() and not overwrite:
        raise UsageError(
            f"{out.with_suffix('.json')} tells how {other} was made, and --out {out} would "
            "overwrite it: choose another name, or add --overwrite"
        )
    require_free(out, overwrite, own and other.suffix == out.suffix.lower())
    for suffix in (".json", ".estimate.json"):
        require_free(out.with_suffix(suffix), overwrite, own)


def check_sheet(sheet: Path, out: Path | None, overwrite: bool, made: Made = SWAPPED) -> None:
    """Raise UsageError where a contact sheet would overwrite the result beside it, or what is no
    contact sheet of the same command."""
    if out is not None and out.resolve() in (sheet.resolve(), *sheet.resolve().parents):
        raise UsageError(f"--contact-sheet {sheet} would overwrite --out {out}: give another name")
    require_free(sheet, overwrite, video.is_contact_sheet(sheet, made))


def result_name(folder: Path, name: str, suffix: str, settings: dict[str, Any]) -> Path:
    """A file in `folder`, with a number appended where a result of other settings has the name."""
    return next(result_names(folder, name, suffix, settings))


def result_names(folder: Path, name: str, suffix: str, settings: dict[str, Any]) -> Iterator[Path]:
    """The file of `result_name`, and after it further ones with other numbers."""
    for number in count(1):
        path = folder / (f"{name}{suffix}" if number == 1 else f"{name}-{number}{suffix}")
        taken = path.exists() or path.with_suffix(".json").exists()
        if not taken or read_table(path.with_suffix(".json")) == settings:
            yield path


def write_result(
    out: Path, plan: Plan, pieces: Sequence[Path], character: Sequence[Character],
    settings: dict[str, Any], no_audio: bool, contact_sheet: Path | None,
) -> None:  # fmt: skip
    """Write the scene with the pieces laid over it, its sound copied, the settings beside it, and
    the contact sheet."""
    scene = plan.scene
    shown = video.sheet_frames(scene.total) if contact_sheet is not None else np.empty(0, int)
    kept: list[tuple[np.ndarray, ...]] = []
    frames = _stitched(plan, pieces, set(shown.tolist()), kept)
    record = recorder(out, settings)
    if out.suffix.lower() == ".png":
        (picture,) = frames
        output.write_picture(out, picture, SWAPPED, record)
    else:
        sound = None if no_audio else _sound(scene, out.suffix.lower())
        output.write(out, frames, scene.total, scene.facts.fps, sound, SWAPPED, record)
    if contact_sheet is not None:
        own, changed, result = (np.stack(rows) for rows in zip(*kept, strict=True))
        pictures = np.stack([on_ground(one.pixels, one.mask) for one in character])
        video.contact_sheet(contact_sheet, [
            ("character, cut out", pictures), (f"scene: {scene.facts.path.name}", own),
            ("what the network saw (frame), and what of the scene was exchanged (red)", changed),
            ("result", result),
        ], made=SWAPPED)  # fmt: skip


def _sound(scene: Scene, suffix: str) -> Packets | Sound | None:
    facts = scene.facts
    if facts.is_picture or facts.path.is_dir():
        return None
    asked = suffix if suffix in WITH_SOUND else ".mp4"
    found = sound_to_copy(facts.path, scene.total / facts.fps, facts.part.start, asked)
    why = ""
    if found is None and has_sound(facts.path):
        why = "none of it can be decoded in this part"
    elif found is not None and suffix not in WITH_SOUND:
        why = f"a file {suffix} has none" if suffix else "a folder of pictures has none"
    elif found is not None and facts.part.fps is not None:
        why = "--scene-fps changes the speed of the scene"
    if why:
        warn(escape(f"the sound of {facts.path.name} is left out: {why}"))
        return None
    return found


def _stitched(
    plan: Plan, pieces: Sequence[Path], shown: set[int], kept: list[tuple[np.ndarray, ...]]
) -> Iterator[np.ndarray]:
    """The frames of the result; those with the numbers `shown` are kept, small, as the scene's,
    with marks, and as the result's."""
    facts, stay = plan.scene.facts, set(plan.scene.stay)
    made = made_frames(plan.base, pieces)
    following = next(made, None)
    with progress("writing", total=plan.scene.total) as bar:
        for some in read_scene(facts, FULL):
            for number, frame in enumerate(some.frames, start=some.first):
                result, marked = frame, frame
                if following is not None and following[0] == number:
                    _, square, picture, patch, index = following
                    if number not in stay:
                        result = paste(frame, square, picture, patch, index, plan.collage)
                        if number in shown:
                            marked = paste(
                                frame, square, picture, patch, index, plan.collage, MARKED
                            )
                            marked = _outlined(marked // 2 + frame // 2, square)
                    following = next(made, None)
                if number in shown:
                    kept.append(tuple(map(_small, (frame, marked, result))))
                yield result
                bar.advance(1)


def _outlined(frame: np.ndarray, square: np.ndarray) -> np.ndarray:
    picture = Image.fromarray(frame)
    left, top, side = (int(number) for number in square)
    width = max(min(picture.size) // 150, 1)
    ImageDraw.Draw(picture).rectangle(
        [left, top, left + side - 1, top + side - 1], outline=MARKED, width=width
    )
    return np.asarray(picture)


def _small(frame: np.ndarray) -> np.ndarray:
    picture = Image.fromarray(frame)
    picture.thumbnail((SHEET, SHEET))
    return np.asarray(picture)
