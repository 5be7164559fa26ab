"""What the tabs Swap and Cast ask for, as command lines: looks at pictures, and videos of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from animateanywhere.core.errors import UsageError
from animateanywhere.core.naming import check_class_word
from animateanywhere.studio.clips import clip_of, file_of
from animateanywhere.studio.command_line import Order, command_line, require_consent, sampling
from animateanywhere.studio.form import Form, choice_of, number_of, text_of, texts_of
from animateanywhere.studio.motions import motion_file
from animateanywhere.studio.place import Place
from animateanywhere.studio.ready import base_of, bases

MOST = 4  # pictures of a person
LONGEST = 9000  # frames of a scene, as `aa swap`
FITS = ("none", "bones")


def check_swap(place: Place, form: Form) -> Order:
    """Look at a character and a scene."""
    pictures, scene = _pictures(place, form), file_of(place, text_of(form, "scene"))
    base = base_of(place, form, "swap") if bases(place, "swap") else None
    options = {
        "scene": scene, "also": pictures[1:], "base": base, **_persons(form), **_part(form),
        "json": True,
    }  # fmt: skip
    return f"Look at {_swapped(place, form)}", command_line("check", options, pictures[0])


def swap(place: Place, form: Form) -> Order:
    """Put a character into a scene."""
    pictures, scene = _pictures(place, form), file_of(place, text_of(form, "scene"))
    base, fit = base_of(place, form, "swap"), choice_of(form, "fit", FITS) or "none"
    options: dict[str, Any] = {
        "scene": scene, "base": base, **_persons(form), "fit": fit, **_part(form),
        **sampling(form),
    }  # fmt: skip
    if any(one["prompted"] for one in bases(place, "swap") if one["name"] == base):
        check_class_word(word := text_of(form, "class_word") or None)
        options |= {"class-word": word, "appearance": text_of(form, "appearance"),
                    "place": text_of(form, "place")}  # fmt: skip
    require_consent(place, form, [*texts_of(form, "pictures"), text_of(form, "scene")])
    return f"Swap {_swapped(place, form)}", command_line("swap", options, *pictures)


def check_cast(place: Place, form: Form) -> Order:
    """Look at the pictures of a person."""
    pictures, names = _pictures(place, form), texts_of(form, "pictures")
    options = {
        "cast": True, "also": pictures[1:], "person": number_of(form, "person", 1, 20, int),
        "out": place.own / "looks" / "-".join(names), "json": True,
    }  # fmt: skip
    return f"Look at {_names(place, form)}", command_line("check", options, pictures[0])


def cast(place: Place, form: Form) -> Order:
    """Make a video of the person of pictures."""
    pictures, prompt = _pictures(place, form), text_of(form, "prompt")
    if not prompt:
        raise UsageError("the prompt has no words: say what the person does and where")
    motion = text_of(form, "motion")
    options = {
        "also": pictures[1:], "base": base_of(place, form, "cast"),
        "pose": motion_file(place, motion) if motion else None,
        "person": number_of(form, "person", 1, 20, int), "whole": form.get("whole") is True,
        "frames": number_of(form, "frames", 1, 512, int),
        "appearance": text_of(form, "appearance"),
        "likeness": number_of(form, "likeness", 0, 100), **sampling(form),
    }  # fmt: skip
    require_consent(place, form, texts_of(form, "pictures"))
    return prompt, command_line("cast", options, pictures[0], prompt)


def _pictures(place: Place, form: Form) -> list[Path]:
    """The files of the pictures of a person. Raises UsageError for none and too many, Unknown."""
    names = texts_of(form, "pictures")
    if not 1 <= len(names) <= MOST:
        raise UsageError(f"pictures: choose one to {MOST} of the same person")
    return [file_of(place, name) for name in names]


def _persons(form: Form) -> dict[str, Any]:
    """The numbers of persons where a scene or a picture shows several."""
    return {"person": number_of(form, "person", 1, 20, int),
            "character-person": number_of(form, "character_person", 1, 20, int)}  # fmt: skip


def _part(form: Form) -> dict[str, Any]:
    """The part of a scene: a look finds what a swap reads only where both are of the same."""
    return {"start": number_of(form, "start", 0, 1e6) or None,
            "frames": number_of(form, "frames", 1, LONGEST, int)}  # fmt: skip


def _names(place: Place, form: Form) -> str:
    return " and ".join(clip_of(place, name)["name"] for name in texts_of(form, "pictures"))


def _swapped(place: Place, form: Form) -> str:
    return f"{_names(place, form)} in {clip_of(place, text_of(form, 'scene'))['name']}"
