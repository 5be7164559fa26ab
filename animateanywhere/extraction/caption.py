"""Captions: what the prompt of a training frame says."""

from __future__ import annotations

from typing import NamedTuple

PLACES = (
    "on a beach", "in a forest", "on a street", "in a park", "in a room", "in a kitchen",
    "in the snow", "on a stage", "in a desert", "in a city at night",
)  # fmt: skip


THINGS = (
    "with a red ball", "with a blue umbrella", "with a white dog", "with a green balloon",
    "with a brown guitar", "with a yellow suitcase", "with a black book", "with a gray surfboard",
)  # fmt: skip


class Said(NamedTuple):
    """What a caption says beside who it is."""

    scene: str = ""  # with or without its preposition: "in a room", "a room"
    action: str = ""  # "dancing"
    objects: tuple[str, ...] = ()  # "a guitar"


def elsewhere(token: str, class_word: str) -> list[str]:
    """Captions that put the person in places all over the world, with and without an article,
    with and without a thing, whose color must not become the person's."""
    out = []
    for number, place in enumerate(PLACES * 2):
        who = f"{'a ' if number < len(PLACES) else ''}{token} {class_word}"
        out += [f"{who} {place}", f"{who} {THINGS[number % len(THINGS)]} {place}"]
    return out


def template(class_word: str, said: Said) -> str:
    """Such as "a <token> man dancing with a guitar in a room".

    Scene, action and objects are named, so they stay editable; looks are not, so they bind to the
    token. `<token>` stands for the word chosen in `personalize`.
    """
    words = ["a", "<token>", class_word, said.action]
    if said.objects:
        words.append("with " + " and ".join(said.objects))
    if said.scene.strip():
        scene = said.scene.strip().rstrip(".")
        placed = scene.split()[0].lower() in {"in", "on", "at", "by", "under", "near", "outside",
                                              "inside", "beside", "before", "against"}  # fmt: skip
        words += [scene if placed else f"in {scene}"]
    return " ".join(word for word in words if word)
