"""Prompts with weighted words, in the syntax of the Stable Diffusion web UIs.

`(word)` counts 1.1 times, `((word))` 1.21 times, `(word:1.3)` 1.3 times, `[word]` 1 / 1.1 times;
`\\(` and `\\[` are brackets. A bracket that is not closed reaches to the end of the prompt.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import torch
from torch import Tensor

STEP = 1.1
BRACKETS = {"(": STEP, "[": 1 / STEP}
OPENING = {")": "(", "]": "["}
# An escaped bracket; an opening one; a weight that closes one; a closing one; other text
TOKENS = re.compile(
    r"\\([()\[\]\\])|([(\[])|:\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*\)|([)\]])|([^\\()\[\]:]+|.)",
    re.DOTALL,
)
BRACKETED = r"[(\[]+\s*{}\s*(?::\s*[+-]?[\d.]+\s*)?[)\]]+"  # a word with a weight of its own
FILE = r"<\w+:[^<>]*>"  # of weights, as web UIs load it
# What web UIs understand and this does not, with words for messages
OTHER = {
    FILE: "left out: --lora takes files of weights",
    r"\[[^\[\]]*[:|][^\[\]]*\]": "words that change between steps, all of which are used at once",
    r"\b(?:BREAK|AND)\b": "a part of its own, which is read as a word",
}


class Piece(NamedTuple):
    """A part of a prompt, and the weight of its words."""

    text: str
    weight: float


def parse(prompt: str) -> list[Piece]:
    """The parts of a prompt in order, without brackets; neighbors of one weight are one."""
    parts: list[Piece] = []
    opened: list[tuple[str, int]] = []  # brackets, and how many parts there were before

    def close(kind: str, factor: float) -> bool:
        if not opened or opened[-1][0] != kind:
            return False
        _, first = opened.pop()
        parts[first:] = [Piece(text, weight * factor) for text, weight in parts[first:]]
        return True

    for escaped, opening, number, closing, text in TOKENS.findall(re.sub(FILE, "", prompt)):
        if opening:
            opened.append((opening, len(parts)))
        elif (number and close("(", float(number))) or (
            closing and close(OPENING[closing], BRACKETS[OPENING[closing]])
        ):
            continue
        else:
            parts.append(Piece(escaped or text or closing or f":{number})", 1.0))
    while opened:
        close(opened[-1][0], BRACKETS[opened[-1][0]])
    merged: list[Piece] = []
    for text, weight in parts:
        if merged and merged[-1].weight == weight:
            merged[-1] = Piece(merged[-1].text + text, weight)
        else:
            merged.append(Piece(text, weight))
    return merged


def has_words(prompt: str) -> bool:
    """Whether a prompt has a letter or a digit, and is not commas and brackets alone."""
    return any(letter.isalnum() for letter in plain(prompt))


def plain(prompt: str) -> str:
    """The words of a prompt without weights."""
    return "".join(piece.text for piece in parse(prompt))


def without_token(prompt: str, token: str) -> str:
    """A prompt without a learned token, for whoever does not know it."""
    word = re.escape(token)
    return re.sub(rf"(?:{BRACKETED.format(word)}|(?<!\w){word}(?!\w))\s*", "", prompt, flags=re.I)


def is_weighted(prompt: str) -> bool:
    """Whether a word of a prompt has another weight than 1."""
    return any(weight != 1 for _, weight in parse(prompt))


def unsupported(prompt: str) -> list[str]:
    """What a prompt contains of the web UIs' syntax that is not understood, as messages."""
    found = ((part, why) for form, why in OTHER.items() for part in re.findall(form, prompt))
    return [f'"{part}" in the prompt is {why}' for part, why in found]


def weighted_ids(tokenizer: Any, pieces: list[Piece]) -> tuple[Tensor, Tensor]:
    """Token ids (1, T) int64, padded to the tokenizer's maximum length, and weights (1, T, 1)."""
    most = tokenizer.model_max_length - 2
    words = [
        (token, weight)
        for text, weight in pieces
        for token in tokenizer(text, add_special_tokens=False).input_ids
    ][:most]
    ids = tokenizer("", padding="max_length", max_length=most + 2, return_tensors="pt").input_ids
    weights = torch.ones(1, most + 2, 1)
    start, end = ids[0, 0].item(), ids[0, 1].item()
    ids[0, : len(words) + 2] = torch.tensor([start, *(token for token, _ in words), end])
    weights[0, 1 : len(words) + 1, 0] = torch.tensor([weight for _, weight in words])
    return ids, weights


def weigh(states: Tensor, empty: Tensor, weights: Tensor) -> Tensor:
    """Text states (B, T, D) with weights (B, T, 1): each moves away from the state of the empty
    prompt at its place, or towards it. A weight of 0 is that of no prompt."""
    return empty + weights.to(states) * (states - empty)
