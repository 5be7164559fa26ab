"""Search for words that describe a person's appearance: "with short brown hair in a red shirt ...".

Of many descriptions, the search takes the one under which the base's denoising error on the person
is lowest, as in the diffusion classifier (Li et al. 2023, arXiv 2303.16203), and keeps of it the
words that other frames confirm. What the base can express in words need not be learned by the
token. Ours; the paper's captions do not name it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from animateanywhere.backbones.base import Base, encode_text
from animateanywhere.core.messages import progress
from animateanywhere.core.reporter import Bar
from animateanywhere.datasets.subject import Subject
from animateanywhere.diffusion.losses import add_noise, level, target
from animateanywhere.methods.animate_anywhere import method
from animateanywhere.methods.animate_anywhere.encoded_clip import encode_clip
from animateanywhere.methods.animate_anywhere.settings import Loss
from animateanywhere.metrics import evenly_spaced
from animateanywhere.preprocessing.captions.appearance import Words, phrase

AUTO = "auto"  # the value of `[extras] appearance` that requests the search
FRAMES = 3  # frames of the clip on which the error is measured, and as many to confirm the words
TIMES = (1.0, 0.9)  # timesteps, as shares of the last: the prompt matters most near pure noise
TRIES = 200  # descriptions that are tried, approximately
LEAST = 0.01  # relative reduction of the error that a further detail must achieve
# The same on the other frames, of each detail and of all together. Of ten rendered people and six
# clips of real ones (docs/experiments.md), details that are there and not there overlap under 0.05;
# the descriptions that are wrong as a whole gain 0.02 to 0.13, the others 0.17 and more
CONFIRMED, CONFIRMED_ALL = 0.03, 0.15
COLORS = (
    "black", "white", "gray", "red", "orange", "yellow", "green", "teal", "blue", "purple", "pink",
    "brown", "beige",
)  # fmt: skip
HAIR_COLORS = ("black", "brown", "blond", "red", "gray")
# Words for each slot of a description; any slot may stay empty
TOPS = ("a {} shirt", "a {} t-shirt", "a {} jacket", "a {} sweater", "a {} vest", "a {} dress")
BOTTOMS = ("{} trousers", "{} jeans", "{} shorts", "a {} skirt")
HAIR = ("short {} hair", "long {} hair", "curly {} hair", "{} hair in a bun", "a {} ponytail",
        "a bald head")  # fmt: skip
SHOES = ("{} shoes",)
HATS = ("a {} cap", "a {} hat", "a {} beanie")
BAGS = ("a {} backpack", "a {} bag")
BEARD, GLASSES = ("a beard",), ("glasses",)
PATTERNS = (
    "{color} and {} striped {kind}", "{color} and {} checked {kind}", "{color} {kind} with {} dots",
    "{color} {kind} with {} pinstripes", "{color} {kind} with a {} logo",
)  # fmt: skip

Error = Callable[[str], float]


def find_appearance(model: Base, subject: Subject) -> str:
    """A phrase to follow the class word, such as "with short brown hair in a red shirt and blue
    jeans", composed from lists of clothes and colors; "" if no word reduces the error."""
    return phrase(find_words(model, subject))


def find_words(model: Base, subject: Subject) -> Words:
    """The words of `find_appearance`, by slot."""
    some = evenly_spaced(len(subject.frames), 2 * FRAMES).tolist()
    with progress("appearance search", total=TRIES) as bar:
        words = search(errors(model, subject.take(some[::2]), bar))
        return confirmed(words, errors(model, subject.take(some[1::2]), bar, seed=1))


def errors(model: Base, subject: Subject, bar: Bar, seed: int = 0) -> Error:
    """A function of a phrase that returns the base's squared prediction error within the person's
    mask, averaged over FRAMES frames and the timesteps. seed: of the noise."""
    some = evenly_spaced(len(subject.frames), FRAMES).tolist()
    repeated = (
        x.repeat(len(TIMES), 1, 1, 1)[:, None] for x in encode_clip(model, subject.take(some))
    )
    latents, poses, masks = repeated  # (B, 1, C, h, w)
    network = method.build(model, Loss(guide=False), video=False)
    scheduler: Any = model.scheduler_for(network)
    last = scheduler.config.num_train_timesteps - 1
    times = torch.tensor([round(last * share) for share in TIMES])
    times = times.repeat_interleave(len(some)).to(latents.device)  # (B,)
    levels = level(scheduler, times)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed)).to(latents)
    x = add_noise(latents, noise, levels)  # (B, 1, C, h, w)
    wanted = target(latents, noise, levels, scheduler.config.prediction_type)
    known: dict[str, float] = {}

    @torch.no_grad()
    def error(phrase: str) -> float:
        if phrase not in known:
            text = encode_text(model, [f"a {subject.class_word} {phrase}".strip()])
            prediction = model.family.predict(network, x, times, poses, text.expand(len(x), -1, -1))
            squares = masks * (wanted - prediction).square()
            known[phrase] = float(squares.sum() / masks.sum().clamp_min(1e-6))
            bar.advance(1)
        return known[phrase]

    return error


def search(error: Error) -> Words:
    """Greedy search for the words with the lowest error: slot by slot, kind and color in turn."""
    words: Words = {}

    def fill(slot: str, kinds: Iterable[str], colors: Iterable[str]) -> tuple[str, str]:
        """Fill a slot with the best kind in the best color, if that reduces the error enough;
        return both."""

        def error_with(kind: str, color: str) -> float:
            return error(phrase(words | {slot: kind.format(color)}))

        kinds, colors = list(kinds), list(colors)
        kind = kinds[0]
        color = min(colors, key=lambda color: error_with(kind, color))
        kind = min(kinds, key=lambda kind: error_with(kind, color))
        if kind != kinds[0] and "{}" in kind:
            color = min(colors, key=lambda color: error_with(kind, color))
        if error_with(kind, color) < (1 - LEAST) * error(phrase(words)):
            words[slot] = kind.format(color)
        return kind, color

    top, color = fill("top", TOPS, COLORS)
    if "dress" not in words.get("top", ""):
        fill("bottom", BOTTOMS, COLORS)
        top, color = fill("top", TOPS, COLORS)  # again: without a bottom, it described both
    fill("hair", HAIR, HAIR_COLORS)
    fill("shoes", SHOES, COLORS)
    if "top" in words:
        kind = top.replace("a {} ", "")
        patterns = ["a " + p.replace("{color}", color).replace("{kind}", kind) for p in PATTERNS]
        fill("top", patterns, [c for c in COLORS if c != color])
    fill("hat", HATS, COLORS)
    fill("bag", BAGS, COLORS)
    fill("beard", BEARD, ("",))
    fill("glasses", GLASSES, ("",))
    return words


def confirmed(words: Words, error: Error) -> Words:
    """The words of which each lowers the error by CONFIRMED; none if all do not by CONFIRMED_ALL.

    The weakest are left out one after another.
    """
    while words:
        without = {slot: {s: w for s, w in words.items() if s != slot} for slot in words}
        weakest = min(words, key=lambda slot: error(phrase(without[slot])))
        if error(phrase(words)) < (1 - CONFIRMED) * error(phrase(without[weakest])):
            break
        words = without[weakest]
    return words if error(phrase(words)) < (1 - CONFIRMED_ALL) * error("") else {}
