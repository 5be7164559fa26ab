"""What the page asks for as command lines of `aa`, which are the same as a user's."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from animateanywhere.core import consent
from animateanywhere.core.errors import UsageError
from animateanywhere.core.frame_size import parse_aspect
from animateanywhere.core.json_file import parse_json
from animateanywhere.core.naming import check_class_word, check_token
from animateanywhere.core.paths import ASSETS
from animateanywhere.core.tensor_file import read_about
from animateanywhere.studio.clips import clip_of, file_of
from animateanywhere.studio.job import Job
from animateanywhere.studio.motions import motion_file
from animateanywhere.studio.place import Place, Unknown
from animateanywhere.studio.subjects import subject_of

LONGEST = 2000  # letters of a prompt
SEEDS = 2**32 - 1
OF_BASE = ("fps", "frames", "size", "steps", "guidance_scale")
FITS = ("none", "frame", "bones")
Form = Mapping[str, Any]


def order(place: Place, kind: str, form: Form) -> Job:
    """The job of a form. Raises UsageError for values that no command takes, Unknown for ids of
    nothing."""
    if kind not in ORDERS:
        raise UsageError(f"{kind}: not a job")
    return ORDERS[kind](place, form)


def _check(place: Place, form: Form) -> Job:
    """Prepare a clip, and estimate time and memory of learning it."""
    clip, path = clip_of(place, _text(form, "clip")), file_of(place, _text(form, "clip"))
    word, scene = _text(form, "class_word"), _text(form, "scene")
    check_class_word(word or None)
    out = place.file("subjects", _text(form, "clip"))
    options = {
        "base": base_of(place, form), "class-word": word, "place": scene,
        "start": _number(form, "start", 0, 1e6), "frames": _number(form, "frames", 8, 64, int),
        "person": _number(form, "person", 1, 20, int), "out": str(out),
    }  # fmt: skip
    arguments = ["check", *_flags(options), "--json", "--", str(path)]
    return Job("check", f"Look at {clip['name']}", arguments, dict(form))


def _learn(place: Place, form: Form) -> Job:
    """Learn a prepared person."""
    folder, token = subject_of(place, _text(form, "subject")), _text(form, "token")
    check_token(token)
    _require_consent(place, form)
    words = form.get("appearance")
    options = {
        "token": token,
        "base": base_of(place, form),
        "seed": _number(form, "seed", 0, SEEDS, int),
    }
    if isinstance(words, str) and words.strip():
        options["appearance"] = _text(form, "appearance")
    arguments = ["personalize", *_flags(options), "--", str(folder)]
    return Job("learn", f"Learn {token}", arguments, dict(form))


def _require_consent(place: Place, form: Form) -> None:
    """Ask once, as `aa personalize` does at a terminal, whether the person agreed. Raises
    UsageError where that was not said."""
    with suppress(Unknown):
        if clip_of(place, _text(form, "subject")).get("bundled"):
            return  # rendered
    said = consent.answer()
    if said is None and form.get("agreed") is True:
        consent.keep()
    elif not said:
        raise UsageError(consent.REFUSED)


def _generate(place: Place, form: Form) -> Job:
    """Generate a video."""
    prompt, motion = _text(form, "prompt"), _text(form, "motion")
    if not prompt:
        raise UsageError("the prompt has no words: say who and where")
    aspect, fit = _text(form, "aspect"), _text(form, "fit") or "bones"
    parse_aspect(aspect or None)
    if fit not in FITS:
        raise UsageError(f"fit: one of {', '.join(FITS)}")
    options: dict[str, Any] = {
        "pose": str(motion_file(place, motion)), "seed": _number(form, "seed", 0, SEEDS, int),
        "steps": _number(form, "steps", 1, 1000, int),
        "guidance": _number(form, "guidance", 0, 100),
        "frames": _number(form, "frames", 1, 512, int), "negative": _text(form, "negative"),
        "aspect": aspect, "fit": fit,
    }  # fmt: skip
    if person := _text(form, "person"):
        options["weights"] = str(weights_of(place, person))
    else:
        options["base"] = base_of(place, form)
    return Job("generate", prompt, ["generate", *_flags(options), "--", prompt], dict(form))


def _motion(place: Place, form: Form) -> Job:
    """Find the keypoints of a clip, to follow them."""
    clip = clip_of(place, _text(form, "clip"))
    out = place.file("motions", clip["id"], ".json")
    out.parent.mkdir(parents=True, exist_ok=True)
    arguments = ["pose", f"--out={out}", "--overwrite", "--", str(file_of(place, clip["id"]))]
    return Job("motion", f"Find the motion of {clip['name']}", arguments, dict(form))


ORDERS: dict[str, Callable[[Place, Form], Job]] = {
    "check": _check, "learn": _learn, "generate": _generate, "motion": _motion,
}  # fmt: skip


def weights_of(place: Place, name: str) -> Path:
    """The weights of a learned person by id."""
    return place.path_of(name)


def people(place: Place, folders: list[Path]) -> list[dict[str, Any]]:
    """The learned people of these runs."""
    found = []
    for folder in folders:
        weights = folder / "personal.safetensors"
        try:
            about = read_about(weights)
            token, word = about["token"], about.get("class_word", "person")
        except (UsageError, KeyError, OSError):
            continue
        picture = folder / "subject" / "frames" / "0000.png"
        found.append({
            "id": place.id_of(weights), "token": token, "class_word": word,
            "appearance": about.get("appearance", ""), "base": about.get("base"),
            "picture": place.id_of(picture) if picture.is_file() else None,
            "subject": place.id_of(folder / "subject") if picture.is_file() else None,
            "learned": weights.stat().st_mtime, "run": str(folder.relative_to(place.runs)),
        })  # fmt: skip
    return sorted(found, key=lambda one: -float(one["learned"]))


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
    name = _text(form, "base") or "mini"
    if name not in [one["name"] for one in bases(place)]:
        raise UsageError(f"base {name} is not ready here: `aa bases` lists them")
    return name


def _flags(options: Mapping[str, Any]) -> list[str]:
    """Options as arguments; a value that begins with a dash is one, too."""
    return [f"--{name}={value}" for name, value in options.items() if value not in (None, "")]


def _text(form: Form, key: str) -> str:
    """A line of text of a form, "" where there is none. Raises UsageError for other values."""
    value = form.get(key) or ""
    if not isinstance(value, str):
        raise UsageError(f"{key}: give text")
    words = " ".join(value.split())
    if len(words) > LONGEST or "\0" in words:
        raise UsageError(f"{key}: at most {LONGEST} letters")
    return words


def _number(form: Form, key: str, least: float, most: float, kind: type = float) -> Any:
    """A number of a form; None where there is none. Raises UsageError for another one."""
    value = form.get(key)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"{key}: give a number")
    if not least <= value <= most:
        raise UsageError(f"{key}: from {least:g} to {most:g}")
    return kind(value)


def form_of(body: bytes) -> dict[str, Any]:
    """The form in the body of a request. Raises UsageError for something else, and where a text in
    it could not be written: halves of a surrogate pair."""
    try:
        form = parse_json(body.decode())
        json.dumps(form, ensure_ascii=False).encode()
    except ValueError:
        form = None
    if not isinstance(form, dict):
        raise UsageError("not a form")
    return form
