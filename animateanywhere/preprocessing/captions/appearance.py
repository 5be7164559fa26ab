"""Words for a person's hair and clothes: by slots, as a phrase, and as a model finds them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from animateanywhere.core.errors import Failure
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.captions import openai_api, vlm
from animateanywhere.preprocessing.captions.template import NOTHING, parse_fields, sample_pictures
from animateanywhere.preprocessing.frame_cache import FrameFunction, FrameResult, cached_results

FACE, WORN = ("hair", "beard", "glasses"), ("top", "bottom", "shoes", "hat", "bag")
WHOLE = (
    "dress gown suit tuxedo uniform costume robe overalls jumpsuit swimsuit bikini clothes outfit"
)
# Words that name what is in a slot, also that nothing is
NAMES = {
    slot: frozenset(text.split())
    for slot, text in {
        "hair": "hair haired hairstyle ponytail bun braid braids curls bald blond blonde brunette",
        "beard": "beard bearded mustache moustache goatee shaved shaven",
        "glasses": "glasses sunglasses spectacles goggles",
        "top": "shirt t-shirt tshirt tee top blouse jacket coat hoodie sweater pullover "
        f"jersey vest cardigan blazer shirtless {WHOLE}",
        "bottom": f"trousers pants jeans shorts skirt leggings slacks chinos {WHOLE}",
        "shoes": "shoes shoe sneakers boots sandals heels slippers trainers socks barefoot",
        "hat": "hat cap beanie helmet hood crown bonnet beret turban bareheaded",
        "bag": "bag backpack handbag purse rucksack satchel",
    }.items()
}
COLORS = frozenset(
    """black white gray grey red orange yellow green teal blue purple pink brown beige gold silver
    khaki navy""".split()
)
COLORED = r"\b(?:in|wearing)\s+(?:(?:all|dark|light|bright)\s+)?([a-z]+)\s*([a-z]*)"
AFTER = frozenset(["", "and", "on", "in", "at", "by", "with", "who"])
NONE = frozenset(["no", "without"])  # what they deny goes to the next noun, or to one of these
OTHERS = frozenset(", . ; : ! ? and but with in on at by who wearing".split())
NOUNS = {"hair": "hair", "top": "top", "shoes": "shoes", "hat": "hat", "bag": "bag"}
UNSEEN = NOTHING | {"no", "unknown", "not visible", "not seen", "n a", "bare", "false"}
LONGEST = 6  # words of a slot
QUESTION = (
    "The pictures show one person, cut out. Describe hair and clothes in a few words each, with "
    "their colors, and leave out what is not seen. Fill in the dots and answer with nothing else: "
    + json.dumps(dict.fromkeys((*FACE, *WORN), "..."))
)
SCHEMA: dict[str, Any] = {
    "name": "appearance",
    "strict": True,
    "schema": {
        "type": "object",
        "properties": {slot: {"type": "string"} for slot in (*FACE, *WORN)},
        "required": [*FACE, *WORN],
        "additionalProperties": False,
    },
}

Words = dict[str, str]  # by slot


def phrase(words: Words) -> str:
    """Words as a phrase: "with short brown hair and glasses in an orange shirt, blue jeans and red
    shoes"."""
    parts = []
    for preposition, slots in (("with", FACE), ("in", WORN)):
        items = [words[slot] for slot in slots if slot in words]
        if items:
            listed = " and ".join([", ".join(items[:-1]), items[-1]]) if items[1:] else items[0]
            parts.append(f"{preposition} {listed}")
    text = " ".join(parts)
    for vowel in "aeiou":
        text = text.replace(f" a {vowel}", f" an {vowel}")
    return text


def named(text: str) -> set[str]:
    """The slots of which a text says something: "in a red dress" names top and bottom."""
    words = re.findall(r"[\w-]+", text.lower())
    found = {slot for slot, names in NAMES.items() if names & set(words)}
    for color, following in re.findall(COLORED, text.lower()):
        # "A man in black walks", not "in red light"
        if color in COLORS and (following in AFTER or following.endswith(("s", "ing"))):
            found |= {"top", "bottom"}
    return found


def items(text: str) -> list[str]:
    """What a text says of hair and clothes, each with its color: ["black hair", "hat"]. "No hat"
    and "without a hat" are none."""
    words, known = re.findall(r"[\w-]+|[,.;:!?]", text.lower()), frozenset().union(*NAMES.values())
    found, denied = list[str](), False
    for before, word, after in zip(["", *words], words, [*words[1:], ""], strict=False):
        denied = word in NONE or (denied and word not in OTHERS)
        if word in known:
            if not denied:
                found.append(f"{before} {word}" if before in COLORS else word)
            denied &= after in ("or", "nor")
    return found


def without_named(words: Words, prompt: str) -> Words:
    """Words without those of slots that a prompt names itself, so that it is not contradicted."""
    taken = named(prompt)
    return {slot: text for slot, text in words.items() if not ({slot} | named(text)) & taken}


def describe_appearance(pictures: np.ndarray, backends: Backends) -> Words:
    """Words for the person of cut-out pictures (K, H, W, 3) uint8, by the caption backend, "vlm" or
    "openai". The answer for the same pictures is cached.

    Raises:
        UsageError: weights or an API key are missing.
        Failure: the model gave no usable answer.
    """
    model = backends.caption_model

    @contextmanager
    def open_backend() -> Iterator[FrameFunction]:
        answer: Callable[[Sequence[Image.Image], str], str | None]
        if backends.caption == "vlm":
            answer = vlm.answering(model, backends.location)
        else:
            answer = partial(openai_api.ask, schema=SCHEMA, model=model)

        def describe(shown: np.ndarray) -> FrameResult:
            words = parse_appearance(answer(sample_pictures(shown), QUESTION), backends.caption)
            return {"words": np.array(json.dumps(words))}

        yield describe

    name = f"appearance-{backends.caption}-{re.sub('[^a-zA-Z0-9.-]+', '-', model or 'default')}"
    found = cached_results(pictures[None], name, open_backend, "describing the person")
    words: Words = json.loads(str(found[0]["words"]))
    return words


def parse_appearance(text: str | None, backend: str) -> Words:
    """Words by slot of a model's answer, {"hair": "short brown hair", "top": "red shirt", ...}.
    Raises Failure if it names nothing."""
    fields = parse_fields(text or "")
    words = {}
    for slot in (*FACE, *WORN):
        if (found := _item(slot, fields.get(slot))) is not None:
            words[slot] = found
    if words:
        return words
    shown = " ".join((text or "nothing").split())[:80]
    raise Failure(
        f"--caption {backend}: the model's answer names no hair and no clothes ({shown}); "
        "give another --caption-model, or the words by --appearance"
    )


def _item(slot: str, answer: object) -> str | None:
    """What an answer says of a slot, with its noun and article; None if it says nothing."""
    if not isinstance(answer, str):
        return None
    kept = "".join(letter if letter.isalnum() or letter in "'-" else " " for letter in answer)
    words = kept.lower().split()[:LONGEST]
    if " ".join(words) in UNSEEN or not words or words[0] in ("no", "not", "none"):
        return None
    if not NAMES[slot] & set(words):
        if slot not in NOUNS:
            return None
        words.append(NOUNS[slot])
    if words[0] in ("a", "an", "the"):
        words = words[1:]
    if not words[-1].endswith(("s", "hair")):
        words.insert(0, "a")
    return " ".join(words)
