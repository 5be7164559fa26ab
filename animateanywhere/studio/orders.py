"""What the page asks for as command lines of `aa`, which are the same as a user's."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from animateanywhere.core.errors import UsageError
from animateanywhere.core.frame_size import parse_aspect
from animateanywhere.core.naming import check_class_word, check_token
from animateanywhere.studio import picture_orders
from animateanywhere.studio.clips import clip_of, file_of
from animateanywhere.studio.command_line import (
    SEEDS,
    Order,
    command_line,
    require_consent,
    sampling,
)
from animateanywhere.studio.form import Form, choice_of, number_of, text_of
from animateanywhere.studio.job import Job, files_of
from animateanywhere.studio.motions import motion_file
from animateanywhere.studio.place import Place, Unknown
from animateanywhere.studio.ready import base_of
from animateanywhere.studio.subjects import subject_of

FITS = ("none", "frame", "bones")


def order(place: Place, kind: str, form: Form) -> Job:
    """The job of a form. Raises UsageError for values that no command takes, Unknown for ids of
    nothing."""
    if kind not in ORDERS:
        raise UsageError(f"{kind}: not a job")
    title, arguments = ORDERS[kind](place, form)
    job = Job(kind, title, arguments, dict(form))
    for name in sorted(files_of(job)):
        with suppress(Unknown):  # of something else
            job.names[name] = clip_of(place, name)["name"]
    return job


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
    return f"Look at {clip['name']}", command_line("check", options, file_of(place, clip["id"]))


def _learn(place: Place, form: Form) -> Order:
    """Learn a prepared person."""
    folder, token = subject_of(place, text_of(form, "subject")), text_of(form, "token")
    check_token(token)
    require_consent(place, form, [text_of(form, "subject")])
    options = {
        "token": token, "base": base_of(place, form),
        "seed": number_of(form, "seed", 0, SEEDS, int), "appearance": text_of(form, "appearance"),
    }  # fmt: skip
    return f"Learn {token}", command_line("personalize", options, folder)


def _generate(place: Place, form: Form) -> Order:
    """Generate a video."""
    prompt, motion = text_of(form, "prompt"), text_of(form, "motion")
    if not prompt:
        raise UsageError("the prompt has no words: say who and where")
    aspect, fit = text_of(form, "aspect"), choice_of(form, "fit", FITS) or "bones"
    parse_aspect(aspect or None)
    options: dict[str, Any] = {
        "pose": motion_file(place, motion), **sampling(form),
        "frames": number_of(form, "frames", 1, 512, int), "negative": text_of(form, "negative"),
        "aspect": aspect, "fit": fit,
    }  # fmt: skip
    if person := text_of(form, "person"):
        options["weights"] = place.path_of(person)
    else:
        options["base"] = base_of(place, form)
    return prompt, command_line("generate", options, prompt)


def _motion(place: Place, form: Form) -> Order:
    """Find the keypoints of a clip, to follow them."""
    clip = clip_of(place, text_of(form, "clip"))
    out = place.file("motions", clip["id"], ".json")
    out.parent.mkdir(parents=True, exist_ok=True)
    arguments = command_line("pose", {"out": out, "overwrite": True}, file_of(place, clip["id"]))
    return f"Find the motion of {clip['name']}", arguments


ORDERS: dict[str, Callable[[Place, Form], Order]] = {
    "check": _check, "learn": _learn, "generate": _generate, "motion": _motion,
    "check-swap": picture_orders.check_swap, "swap": picture_orders.swap,
    "check-cast": picture_orders.check_cast, "cast": picture_orders.cast,
}  # fmt: skip
