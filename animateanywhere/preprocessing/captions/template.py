"""Captions of training frames: templates, appearance words, and parsing of a model's answer."""

from __future__ import annotations

import ast
import json
import re
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from animateanywhere.core.errors import Failure
from animateanywhere.core.naming import PERSON_WORDS

SCENES = (
    "on a beach", "in a forest", "on a street", "in a park", "in a room", "in a kitchen",
    "in the snow", "on a stage", "in a desert", "in a city at night",
)  # fmt: skip
ACTIONS = (
    "walks", "is dancing", "jumps", "is waving", "runs", "sits", "is doing squats", "turns around",
    "raises both arms", "kicks a leg", "dances", "is walking", "stands",
)  # fmt: skip
OBJECTS = (
    "with a red ball", "with a blue umbrella", "with a white dog", "with a green balloon",
    "with a brown guitar", "with a yellow suitcase", "with a black book", "with a gray surfboard",
)  # fmt: skip


ADJECTIVES = ("young", "old", "elderly", "tall", "short", "small", "little", "slim", "big", "happy")
PICTURES, MAX_SIDE = 4, 512  # shown to a model of each clip, and their longer side in pixels
NOTHING = {"", "none", "nothing"}
WORN = frozenset(
    """hair beard mustache glasses sunglasses shirt t-shirt tshirt top blouse jacket coat hoodie
    sweater pullover vest suit tie dress skirt trousers pants jeans shorts leggings socks shoes
    sneakers boots sandals hat cap beanie scarf gloves belt watch necklace earrings ring clothes
    clothing outfit uniform""".split()
)  # appearance must bind to the token, so a model's words for it are dropped


class Description(NamedTuple):
    """What a caption says about a clip, apart from the person's identity and appearance."""

    scene: str = ""  # with or without its preposition: "in a room", "a room"
    action: str = ""  # "dancing"
    objects: tuple[str, ...] = ()  # "a guitar"


def background_captions(token: str, class_word: str) -> list[str]:
    """Captions of the person in many scenes and actions, for background augmentation.

    With and without an article, and with and without an object, whose color must not be learned as
    the person's. A text encoder sums a caption up in its last token, so a token that was learned
    in few captions weakens in others.
    """
    out = []
    for number in range(6 * len(SCENES)):
        person = f"{'a ' if number % 2 else ''}{token} {class_word}"
        action = f" {ACTIONS[number % len(ACTIONS)]}" if number % 3 else ""
        place = SCENES[number // 6]
        out += [
            f"{person}{action} {place}",
            f"{person}{action} {OBJECTS[number % len(OBJECTS)]} {place}",
        ]
    return out


def fill_template(class_word: str, description: Description) -> str:
    """A caption such as "a <token> man dancing with a guitar in a room".

    Scene, action and objects are named, so they stay editable; the appearance is not, so it binds
    to the token. `<token>` stands for the word chosen by `aa personalize`.
    """
    words = ["a", "<token>", class_word, description.action]
    if description.objects:
        words.append("with " + " and ".join(description.objects))
    if description.scene.strip():
        scene = description.scene.strip().rstrip(".")
        placed = scene.split()[0].lower() in {"in", "on", "at", "by", "under", "near", "outside",
                                              "inside", "beside", "before", "against"}  # fmt: skip
        words += [scene if placed else f"in {scene}"]
    return " ".join(word for word in words if word)


def with_appearance(text: str, token: str, class_word: str, appearance: str) -> str:
    """Insert the appearance words into a caption or prompt.

    They follow the token and the noun for the person behind it (the class word, or another one such
    as "young woman"), otherwise the token, otherwise they are appended. A text that contains them
    already is returned unchanged.
    """
    if not appearance or appearance in text:
        return text
    nouns = "|".join(map(re.escape, sorted({class_word.lower(), *PERSON_WORDS})))
    noun = rf"(?:\s+(?:(?:{'|'.join(ADJECTIVES)})\s+)*(?:{nouns}))*"
    found = re.search(rf"(?<!\w){re.escape(token)}{noun}(?!\w)", text, re.IGNORECASE)
    if found is None:
        return f"{text} {appearance}"
    return f"{text[: found.end()]} {appearance}{text[found.end() :]}"


def sample_pictures(frames: np.ndarray) -> list[Image.Image]:
    """At most PICTURES small pictures, evenly spaced over frames, uint8 (F, H, W, 3)."""
    picked = frames[np.linspace(0, len(frames) - 1, min(len(frames), PICTURES)).astype(int)]
    pictures = [Image.fromarray(frame) for frame in picked]
    for picture in pictures:
        picture.thumbnail((MAX_SIDE, MAX_SIDE))
    return pictures


def parse_answer(text: str | None, backend: str) -> Description:
    """Parse a model's answer, {"scene": ..., "action": ..., "objects": [...]}.

    Takes the first {...} of the text, as JSON or as a Python literal; "objects" may be missing.
    Clothes and whatever else is worn are dropped. Raises Failure if scene and action are missing.
    """
    fields = parse_fields(text or "")
    scene, action, things = fields.get("scene"), fields.get("action"), fields.get("objects", [])
    if isinstance(scene, str) and _is_worn(scene):  # "a room with a man in a red shirt"
        scene = re.split(r"\b(?:with|where|wearing|and)\b|,", scene)[0]
        scene = "" if _is_worn(scene) else scene
    if isinstance(things, str):
        things = things.split(",")
    if isinstance(scene, str) and isinstance(action, str) and isinstance(things, list):
        objects = [_normalized(str(thing)) for thing in things if not _is_worn(str(thing))]
        kept = tuple(thing for thing in objects if thing not in NOTHING)[:2]
        if _normalized(scene) or _normalized(action):
            words = "" if _is_worn(action) else _normalized(action)
            return Description(_normalized(scene), words, kept)
    shown = " ".join((text or "nothing").split())[:80]
    raise Failure(
        f"--caption {backend}: the model's answer cannot be used ({shown}); "
        "give another --caption-model, or --caption template"
    )


def parse_fields(text: str) -> dict[str, Any]:
    """The first {...} of a text, as JSON or as a Python literal; {} without one."""
    braced = re.search(r"\{.*?\}", text, re.DOTALL)
    for parse in (json.loads, ast.literal_eval):
        try:
            fields = parse(braced[0] if braced else text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        return fields if isinstance(fields, dict) else {}
    return {}


def _is_worn(words: str) -> bool:
    return bool(WORN & {word.strip(".,").lower() for word in words.split()})


def _normalized(words: str) -> str:
    """A lower-case phrase of at most 8 words, without punctuation."""
    kept = "".join(letter if letter.isalnum() or letter in "'-" else " " for letter in words)
    return " ".join(kept.lower().split()[:8])
