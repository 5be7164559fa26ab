"""The prompt of a generated video: with the person's appearance, and as long as the base reads."""

from __future__ import annotations

import re
from bisect import bisect_left

from rich.markup import escape

from animateanywhere.backbones.base import Base
from animateanywhere.backbones.loading import Loaded
from animateanywhere.backbones.personal_weights import mentions
from animateanywhere.backbones.prompt_weights import BRACKETED, is_weighted, plain, unsupported
from animateanywhere.core.messages import say, warn
from animateanywhere.preprocessing.captions.template import with_appearance

QUOTED = 60  # words


def full_prompt(prompt: str, loaded: Loaded, appearance: str | None) -> str:
    """The prompt with words for the person's appearance behind the person, of which as many are
    left out as the length that the base reads demands; says what is added, left out and ignored.

    appearance: these words; None for those that the weights were learned with.
    """
    base, learned = loaded.base, loaded.learned
    full = prompt
    if loaded.weights is not None and mentions(prompt, learned["token"]):
        known = learned.get("appearance", "")
        wanted = known if appearance is None else appearance.strip()
        words = wanted
        full = _inserted(prompt, learned, words)
        while words and not _fits(full, base):
            words = _shortened(words)
            full = _inserted(prompt, learned, words)
        if words != wanted:
            warn(escape(
                "the prompt is as long as the base can read: left out of the appearance: "
                f'"{wanted.removeprefix(words).strip(" ,")}"'
            ))  # fmt: skip
    if full != prompt:
        say(f'prompt with appearance: "{escape(full)}"; --appearance "" leaves it out')
    check_prompt(full, base, "prompt")
    return full


def check_prompt(prompt: str, base: Base, name: str) -> None:
    """Warn of what the base does not read of a prompt, called `name` in messages: words beyond its
    length, weights, and other syntax of web UIs."""
    for message in unsupported(prompt):
        warn(escape(message))
    if is_weighted(prompt) and base.family.encode_weighted is None:
        warn(f"the weights in the {name} are ignored: {base.family.name} does not honor them")
    words = plain(prompt).split()
    lengths = range(1, len(words) + 1)
    kept = bisect_left(
        lengths, True, key=lambda n: not _fits(" ".join(words[:n]), base, weighted=False)
    )
    if kept < len(words):
        rest, more = words[kept : kept + QUOTED], len(words) - kept - QUOTED
        tail = f" and {more} more words" if more > 0 else ""
        warn(escape(f'the {name} is too long, and ignored from here on: "{" ".join(rest)}"{tail}'))


def _inserted(prompt: str, learned: dict[str, str], words: str) -> str:
    """The prompt with appearance words behind the person, also where the token has a weight."""
    token, kind = learned["token"], learned["class_word"]
    bracketed = re.search(BRACKETED.format(re.escape(token)), prompt, re.IGNORECASE)
    if bracketed is None:
        return with_appearance(prompt, token, kind, words)
    bare = prompt[: bracketed.start()] + token + prompt[bracketed.end() :]
    text, start = with_appearance(bare, token, kind, words), bracketed.start()
    return text[:start] + bracketed[0] + text[start + len(token) :]


def _shortened(words: str) -> str:
    """Appearance words without the last detail: "with black hair in a red shirt and jeans" without
    "and jeans"."""
    cuts = [found.start() for found in re.finditer(r",\s|\s+(?:and|in|with)\s", words)]
    return words[: cuts[-1]] if cuts else ""


def _fits(prompt: str, base: Base, weighted: bool = True) -> bool:
    text = plain(prompt) if weighted else prompt
    return len(base.tokenizer(text).input_ids) <= base.tokenizer.model_max_length
