"""Attributes of a puppet read off a video: whether each looks as it does on the person, or rather
as on someone who differs in that attribute alone.

Everybody can be rendered as the video shows the person, so no network has to name anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np

from animateanywhere.metrics import appearance_distance
from animateanywhere.puppets import Clip, Identity
from animateanywhere.puppets.spec import (
    BAGS,
    BOTTOMS,
    COLORS,
    HAIR_COLORS,
    HAIR_STYLES,
    HATS,
    PATTERNS,
    TOPS,
)

SHOE_COLORS = ("black", "white", "brown", "red", "blue", "gray")  # those of `sample_identity`
DIFFERENT = 24  # gray levels by which a pixel differs
LEAST = 12  # such pixels, in all frames, by which two people are told apart
MOST = 4  # others for an attribute, at random: of the 13 colors each case has some


def variants(person: Identity) -> dict[str, list[Identity]]:
    """For each attribute, at most `MOST` people who differ from a person in it alone, as far as
    captions can say it: in the kind, color or pattern of clothes, hair, hat, bag, beard, glasses.
    Always the same for a person."""
    rng, found = np.random.default_rng(0), {}
    for name, changes in _changes(person):
        others = [replace(person, **change) for change in changes]
        others = [other for other in others if other != person]
        if others:
            found[name] = [others[n] for n in sorted(rng.permutation(len(others))[:MOST])]
    return found


def _changes(who: Identity) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Attributes, with the fields of an identity that a variant replaces."""

    def colored(field: str, palette: dict[str, Any], names: Sequence[str]) -> list[dict[str, Any]]:
        own = getattr(who, f"{field}_color")
        return [
            {f"{field}_color": name, f"{field}_rgb": palette[name]} for name in names if name != own
        ]

    yield "hair", [{"hair_style": style} for style in HAIR_STYLES]
    if who.hair_style != "bald":
        yield "hair color", colored("hair", HAIR_COLORS, [*HAIR_COLORS])
    yield "top", [{"top": top} for top in TOPS if top != "dress"] * (who.top != "dress")
    yield "top color", colored("top", COLORS, [*COLORS])
    if who.detail is None or not who.detail.print_seed:  # a print covers the pattern
        yield "pattern", [{"pattern": pattern} for pattern in PATTERNS]
    if who.top != "dress":
        yield "bottom", [{"bottom": bottom} for bottom in BOTTOMS]
        yield "bottom color", colored("bottom", COLORS, [*COLORS])
    yield "shoe color", colored("shoe", COLORS, SHOE_COLORS)
    yield "hat", [{"hat": hat} for hat in HATS]
    yield "bag", [{"bag": bag} for bag in BAGS]
    if who.gender == "man":
        yield "beard", [{"beard": not who.beard}]
    yield "glasses", [{"glasses": not who.glasses}]


def render_variants(
    person: Identity, render: Callable[[list[Identity]], list[Clip]]
) -> dict[str, list[Clip]]:
    """For each attribute, clips of the person and then of the `variants`. render: the clips of
    people."""
    groups = variants(person)
    clips = iter(render([person, *(who for some in groups.values() for who in some)]))
    true = next(clips)
    return {name: [true, *islice(clips, len(some))] for name, some in groups.items()}


def read_attributes(made: np.ndarray, clips: dict[str, list[Clip]]) -> dict[str, float]:
    """For each attribute that can be seen, 1 if frames are nearer to the person than to everybody
    who differs in it, and 0 otherwise.

    made: uint8 (F, H, W, 3). clips: of `render_variants`, in the same pose and place. Distances by
    `metrics.appearance_distance`, where any of the renders differ. Those who cannot be told from
    the person in these frames are left out, and so are attributes without any other.
    """
    found = {}
    for name, (true, *others) in clips.items():
        apart = {n: place for n, clip in enumerate(others)
                 if (place := _differs(clip, true)).sum() >= LEAST}  # fmt: skip
        if apart:
            region = np.any([*apart.values()], 0).astype(np.uint8)
            own, *rest = (
                appearance_distance(made, clip.frames, region)
                for clip in (true, *(others[n] for n in apart))
            )
            found[name] = float(own <= min(rest))
    return found


def _differs(clip: Clip, true: Clip) -> np.ndarray:
    """Where two renders differ, bool (F, H, W)."""
    far: np.ndarray = np.abs(clip.frames.astype(np.int16) - true.frames).max(-1) > DIFFERENT
    return far
