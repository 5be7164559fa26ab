"""The prompt of `aa cast`: what the person of the picture does, and where."""

from __future__ import annotations

import re

from rich.markup import escape

from animateanywhere.backbones.personal_weights import find_weights, read_metadata
from animateanywhere.backbones.prompt_weights import has_words, plain
from animateanywhere.core.errors import UsageError
from animateanywhere.core.messages import say, warn
from animateanywhere.core.naming import PERSON_WORDS, unlearned_token
from animateanywhere.core.paths import RUNS

PRONOUNS = frozenset("he she they".split())
# Of more than one person, of whom the picture shows one
SEVERAL = frozenset(
    """two three four five six several many few both couple crowd group men women people persons
    guys boys girls children kids they dancers players""".split()
)


def check_words(prompt: str) -> None:
    """Raise UsageError for a prompt without words, or with the token of a learned person."""
    if not has_words(prompt):
        raise UsageError(
            'the prompt has no words: say what the person does and where, as in "the person walks '
            'on a beach"'
        )
    found = find_weights(prompt, RUNS)
    token = unlearned_token(prompt) if found is None else read_metadata(found[0])["token"]
    if token:
        raise UsageError(
            f'"{token}" stands for a learned person, and here the picture says who it is: leave it '
            "out, or use `aa generate`"
        )


def full_prompt(prompt: str, appearance: str | None) -> str:
    """The prompt as the network reads it: with a person, and with what is said of their appearance
    behind the first word for them. Says what is added, and what the picture cannot show."""
    words = [word.lower() for word in re.findall(r"\w+", plain(prompt))]
    full = prompt.strip()
    if not (PERSON_WORDS | PRONOUNS) & set(words):
        full = f"a person, {full}"
    if several := [word for word in words if word in SEVERAL]:
        warn(
            f'the prompt says "{several[0]}", and the picture is of one person: others are made '
            "up, and may look alike"
        )
    if appearance and has_words(appearance):
        full = _inserted(full, appearance.strip())
    if full != prompt.strip():
        say(escape(f'prompt: "{full}"'))
    return full


def _inserted(prompt: str, appearance: str) -> str:
    """A prompt with an appearance behind the first word for a person: "a man in red walks"."""
    for found in re.finditer(r"\w+", prompt):
        if found[0].lower() in PERSON_WORDS | PRONOUNS:
            return f"{prompt[: found.end()]} {appearance}{prompt[found.end() :]}"
    return f"{prompt}, {appearance}"
