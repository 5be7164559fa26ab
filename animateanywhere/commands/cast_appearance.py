"""Words for the person of a picture, where `aa cast` is asked to find them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from PIL import Image
from rich.markup import escape

from animateanywhere.backbones.base import load_base
from animateanywhere.backbones.prompt_weights import plain
from animateanywhere.core.errors import UsageError
from animateanywhere.core.frame_size import Size
from animateanywhere.core.messages import say
from animateanywhere.core.naming import PERSON_WORDS
from animateanywhere.datasets.subject import Subject
from animateanywhere.methods.animate_anywhere.appearance_search import AUTO, FRAMES, find_words
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.captions.appearance import (
    describe_appearance,
    phrase,
    without_named,
)
from animateanywhere.preprocessing.captions.describe import check_available
from animateanywhere.preprocessing.character import Character
from animateanywhere.preprocessing.ground import on_ground

# Of OpenPose-18: each joint's partner on the other side
OTHER_SIDE = [0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16]


def check_appearance(appearance: str | None, backends: Backends) -> None:
    """Raise UsageError before any work for words and a model that is to find them, or for a model
    that is not there."""
    if backends.caption == "template":
        return
    if appearance is not None and appearance != AUTO:
        raise UsageError(
            f"--caption {backends.caption} finds words for the person, and --appearance gives "
            "them: leave out one of both"
        )
    check_available(backends)


def find_appearance(
    prompt: str, known: Sequence[Character], appearance: str | None, backends: Backends
) -> str | None:
    """The words for the person of pictures, as `appearance` and the caption backend ask for: those
    that are given, or those found, without what the prompt names itself. Says what is left out.

    With the backend "template" it is those under which the bundled base sees the person best.
    """
    if appearance != AUTO and backends.caption == "template":
        return appearance
    if backends.caption == "template":
        words = find_words(load_base(), _subject(prompt, known))
    else:
        words = describe_appearance(
            np.stack([on_ground(one.pixels, one.mask) for one in known]), backends
        )
    if not words:
        say("appearance: no words found that fit the picture")
        return None
    kept = without_named(words, plain(prompt))
    if left := [text for slot, text in words.items() if slot not in kept]:
        listed = ", ".join(left)
        say(escape(f"appearance: {listed} left out, since the prompt says it itself"))
    return phrase(kept)


def _subject(prompt: str, known: Sequence[Character]) -> Subject:
    """Pictures as frames of the bundled base: each and its mirror image in turn, the latter to
    confirm the words, until there are as many as are looked at."""
    size = load_base().frame
    both = [frame for one in known for frame in _mirrored(one, size)]
    frames = list(islice(cycle(both), max(len(both), 2 * FRAMES)))
    pixels, masks, keypoints = (np.stack(rows) for rows in zip(*frames, strict=True))
    said = re.findall(r"\w+", plain(prompt).lower())
    noun = next((word for word in said if word in PERSON_WORDS), "person")
    return Subject(Path(), pixels, masks, keypoints, [""] * len(pixels), 8.0, noun, None)


def _mirrored(one: Character, size: Size) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Pixels, mask and keypoints of a picture at a frame's size, and those of its mirror image."""
    pixels = np.asarray(Image.fromarray(one.pixels).resize(size, Image.Resampling.LANCZOS))
    mask = np.asarray(Image.fromarray(one.mask).resize(size, Image.Resampling.BOX))
    points = one.keypoints.copy()
    points[:, :2] *= np.array(size, np.float32) / len(one.pixels)
    there = points[OTHER_SIDE] * (-1, 1, 1) + (size.width - 1, 0, 0)
    return [
        (pixels, mask, points),
        (pixels[:, ::-1].copy(), mask[:, ::-1].copy(), there.astype(np.float32)),
    ]
