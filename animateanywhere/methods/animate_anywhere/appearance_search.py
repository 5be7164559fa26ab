"""A person's appearance in the base's own words: "with short brown hair in a red shirt and ...".

Of many descriptions, the one under which the base predicts the person best, as in classifying by
diffusion (Li et al. 2023, arXiv 2303.16203). What a base can say of somebody it need not be taught:
the token then has the rest to learn. Ours; the paper's captions do not name it.
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

AUTO = "auto"  # of `[extras] appearance`
FRAMES = 3  # of the clip
TIMES = (1.0, 0.9)  # shares of the way to noise: there words count most
TRIES = 185  # of descriptions, about
LEAST = 0.01  # share of the error by which something more to say must lessen it
COLORS = (
    "black", "white", "gray", "red", "orange", "yellow", "green", "teal", "blue", "purple", "pink",
    "brown", "beige",
)  # fmt: skip
HAIR_COLORS = ("black", "brown", "blond", "red", "gray")
# What there is to say, by the place it has in a description; each also may go unsaid.
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
FACE, WORN = ("hair", "beard", "glasses"), ("top", "bottom", "shoes", "hat", "bag")

Words = dict[str, str]  # by place
Error = Callable[[str], float]


def find_appearance(model: Base, subject: Subject) -> str:
    """A phrase to follow the class word, such as "with short brown hair in a red shirt and blue
    jeans", from lists of clothes and colors; "" where no word helps."""
    with progress("appearance search", total=TRIES) as bar:
        return search(errors(model, subject, bar))


def errors(model: Base, subject: Subject, bar: Bar) -> Error:
    """A function of a phrase: the base's error on the person, mean over a few frames and times."""
    some = evenly_spaced(len(subject.frames), FRAMES).tolist()
    repeated = (
        x.repeat(len(TIMES), 1, 1, 1)[:, None] for x in encode_clip(model, subject.take(some))
    )
    latents, poses, masks = repeated  # (B, 1, C, h, w)
    scheduler: Any = model.scheduler
    last = scheduler.config.num_train_timesteps - 1
    times = torch.tensor([round(last * share) for share in TIMES])
    times = times.repeat_interleave(len(some)).to(latents.device)  # (B,)
    levels = level(scheduler, times)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0)).to(latents)
    x = add_noise(latents, noise, levels)  # (B, 1, C, h, w)
    wanted = target(latents, noise, levels, scheduler.config.prediction_type)
    network = method.build(model, Loss(guide=False), video=False)
    known: dict[str, float] = {}

    @torch.no_grad()
    def error(phrase: str) -> float:
        if phrase not in known:
            text = encode_text(model, [f"a {subject.class_word} {phrase}".strip()])
            made = model.family.predict(network, x, times, poses, text.expand(len(x), -1, -1))
            apart = masks * (wanted - made).square()
            known[phrase] = float(apart.sum() / masks.sum().clamp_min(1e-6))
            bar.advance(1)
        return known[phrase]

    return error


def search(error: Error) -> str:
    """Place after place, kind and color in turn; kept is what lessens the error."""
    words: Words = {}

    def settle(place: str, kinds: Iterable[str], colors: Iterable[str]) -> tuple[str, str]:
        """Say the best kind in the best color, if it helps; return them."""

        def tried(kind: str, color: str) -> float:
            return error(phrase(words | {place: kind.format(color)}))

        kinds, colors = list(kinds), list(colors)
        kind = kinds[0]
        color = min(colors, key=lambda color: tried(kind, color))
        kind = min(kinds, key=lambda kind: tried(kind, color))
        if kind != kinds[0] and "{}" in kind:
            color = min(colors, key=lambda color: tried(kind, color))
        if tried(kind, color) < (1 - LEAST) * error(phrase(words)):
            words[place] = kind.format(color)
        return kind, color

    top, color = settle("top", TOPS, COLORS)
    if "dress" not in words.get("top", ""):
        settle("bottom", BOTTOMS, COLORS)
        top, color = settle("top", TOPS, COLORS)  # again: what is below was taken for it
    settle("hair", HAIR, HAIR_COLORS)
    settle("shoes", SHOES, COLORS)
    if "top" in words:
        kind = top.replace("a {} ", "")
        patterns = ["a " + p.replace("{color}", color).replace("{kind}", kind) for p in PATTERNS]
        settle("top", patterns, [c for c in COLORS if c != color])
    settle("hat", HATS, COLORS)
    settle("bag", BAGS, COLORS)
    settle("beard", BEARD, ("",))
    settle("glasses", GLASSES, ("",))
    return phrase(words)


def phrase(words: Words) -> str:
    """Such as "with short brown hair and glasses in an orange shirt, blue jeans and red shoes"."""
    parts = []
    for before, places in (("with", FACE), ("in", WORN)):
        said = [words[place] for place in places if place in words]
        if said:
            listed = " and ".join([", ".join(said[:-1]), said[-1]]) if said[1:] else said[0]
            parts.append(f"{before} {listed}")
    text = " ".join(parts)
    for vowel in "aeiou":
        text = text.replace(f" a {vowel}", f" an {vowel}")
    return text
