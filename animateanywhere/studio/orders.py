"""What the page asks for as command lines of `aa`, which are the same as a user's."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from animateanywhere.core import consent
from animateanywhere.core.errors import UsageError
from animateanywhere.core.frame_size import parse_aspect
from animateanywhere.core.naming import check_class_word, check_token
from animateanywhere.core.paths import ASSETS
from animateanywhere.studio.clips import clip_of, file_of
from animateanywhere.studio.form import Form, number_of, text_of
from animateanywhere.studio.job import Job
from animateanywhere.studio.motions import motion_file
from animateanywhere.studio.place import Place, Unknown
from animateanywhere.studio.subjects import subject_of

SEEDS = 2**32 - 1
OF_BASE = ("fps", "frames", "size", "steps", "guidance_scale")
FITS = ("none", "frame", "bones")
Order = tuple[str, list[str]]  # what pages call it, and the arguments of `aa`


def order(place: Place, kind: str, form: Form) -> Job:
    """The job of a form. Raises UsageError for values that no command takes, Unknown for ids of
    nothing."""
    if kind not in ORDERS:
        raise UsageError(f"{kind}: not a job")
    title, arguments = ORDERS[kind](place, form)
    return Job(kind, title, arguments, dict(form))


def _check(place: Place, form: Form) -> Order:
    """Prepare a clip, and estimate time and memory of learning it."""
    clip = clip_of(place, text_of(form, "clip"))
    word, scene = text_of(form, "class_word"), text_of(form, "scene")
    check_class_word(word or None)
    out = place.file("subjects", clip["id"])
    options = {
        "base": base_of(place, form), "class-word": word, "place": scene,
        "start": number_of(form, "start", 0, 1e6), "frames": number_of(form, "frames", 8, 64, int),
        "person": number_of(form, "person", 1, 20, int), "out": out, "json": True,
    }  # fmt: skip
    return f"Look at {clip['name']}", _command("check", options, file_of(place, clip["id"]))


def _learn(place: Place, form: Form) -> Order:
    """Learn a prepared person."""
    folder, token = subject_of(place, text_of(form, "subject")), text_of(form, "token")
    check_token(token)
    _require_consent(place, form)
    options = {
        "token": token, "base": base_of(place, form),
        "seed": number_of(form, "seed", 0, SEEDS, int), "appearance": text_of(form, "appearance"),
    }  # fmt: skip
    return f"Learn {token}", _command("personalize", options, folder)


def _require_consent(place: Place, form: Form) -> None:
    """Ask once, as `aa personalize` does at a terminal, whether the person agreed. Raises
    UsageError where that was not said."""
    with suppress(Unknown):
        if clip_of(place, text_of(form, "subject")).get("bundled"):
            return  # rendered
    said = consent.answer()
    if said is None and form.get("agreed") is True:
        consent.keep()
    elif not said:
        raise UsageError(consent.REFUSED)


def _generate(place: Place, form: Form) -> Order:
    """Generate a video."""
    prompt, motion = text_of(form, "prompt"), text_of(form, "motion")
    if not prompt:
        raise UsageError("the prompt has no words: say who and where")
    aspect, fit = text_of(form, "aspect"), text_of(form, "fit") or "bones"
    parse_aspect(aspect or None)
    if fit not in FITS:
        raise UsageError(f"fit: one of {', '.join(FITS)}")
    options: dict[str, Any] = {
        "pose": motion_file(place, motion), "seed": number_of(form, "seed", 0, SEEDS, int),
        "steps": number_of(form, "steps", 1, 1000, int),
        "guidance": number_of(form, "guidance", 0, 100),
        "frames": number_of(form, "frames", 1, 512, int), "negative": text_of(form, "negative"),
        "aspect": aspect, "fit": fit,
    }  # fmt: skip
    if person := text_of(form, "person"):
        options["weights"] = place.path_of(person)
    else:
        options["base"] = base_of(place, form)
    return prompt, _command("generate", options, prompt)


def _motion(place: Place, form: Form) -> Order:
    """Find the keypoints of a clip, to follow them."""
    clip = clip_of(place, text_of(form, "clip"))
    out = place.file("motions", clip["id"], ".json")
    out.parent.mkdir(parents=True, exist_ok=True)
    arguments = _command("pose", {"out": out, "overwrite": True}, file_of(place, clip["id"]))
    return f"Find the motion of {clip['name']}", arguments


ORDERS: dict[str, Callable[[Place, Form], Order]] = {
    "check": _check, "learn": _learn, "generate": _generate, "motion": _motion,
}  # fmt: skip


def bases(place: Place) -> list[dict[str, Any]]:
    """The bases that are ready here: name, frames per second, length and width of a clip."""
    own = sorted((place.runs / "bases").glob("*/base.toml"))
    found = []
    for path in (ASSETS / "mini" / "base.toml", *own):
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if table.get("command", "generate") != "generate" or "fps" not in table:
            continue
        found.append({key: table.get(key) for key in OF_BASE} | {"name": path.parent.name})
    return found


def base_of(place: Place, form: Form) -> str:
    """The name of a base that is ready."""
    name = text_of(form, "base") or "mini"
    if name not in [one["name"] for one in bases(place)]:
        raise UsageError(f"base {name} is not ready here: `aa bases` lists them")
    return name


def _command(name: str, options: Mapping[str, Any], last: str | Path) -> list[str]:
    """A command with its options and its argument. A value that begins with a dash is one, too."""
    given = {key: value for key, value in options.items() if value not in (None, "")}
    flags = [f"--{key}" if value is True else f"--{key}={value}" for key, value in given.items()]
    return [name, *flags, "--", str(last)]
