"""Which backend finds poses and masks: the best of those that need no download, or as asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from animateanywhere.console import say
from animateanywhere.errors import UsageError
from animateanywhere.extraction.weights import (
    GROUNDING_DINO,
    HUB,
    RT_DETR,
    SAM,
    VITPOSE,
    Place,
    Source,
    at_hand,
    fetch,
)

BEST = {"pose": ("vitpose", "mediapipe"), "mask": ("grounded-sam", "mediapipe")}
NEEDS: dict[str, tuple[Source, ...]] = {
    "vitpose": (RT_DETR, VITPOSE), "grounded-sam": (GROUNDING_DINO, SAM), "mediapipe": (),
}  # fmt: skip


@dataclass(frozen=True)
class Backends:
    """What finds poses and masks and writes captions, and where its weights come from."""

    pose: str = "auto"  # or exact, vitpose, mediapipe
    mask: str = "auto"  # or exact, grounded-sam, mediapipe
    caption: str = "template"  # or openai, which sends a few frames away
    caption_model: str | None = None  # of openai, else its default
    caption_fallback: str | None = None  # "template", where openai gives no answer
    place: Place = HUB  # of the weights


def choose(kind: str, wanted: Backends, clip: Path, truth: Path | None = None) -> str:
    """The backend for the "pose"s or "mask"s of a clip; says why where it was left to choose.

    truth: file of exact poses or masks beside the clip. Raises UsageError for an unknown backend,
    for "exact" without a file, and, before any work, for weights that cannot be had.
    """
    asked = getattr(wanted, kind)
    options = ("auto", "exact", *BEST[kind])
    if asked not in options:
        raise UsageError(f"--{kind} {asked}: choose one of {', '.join(options)}")
    if asked == "exact" and truth is None:
        raise UsageError(f"--{kind} exact: no {clip.stem}.{kind}s file beside {clip}")
    if asked != "auto":
        for source in NEEDS.get(asked, ()):
            fetch(source, wanted.place)
        return asked
    if truth is not None:
        say(f"{kind}s: exact, from {truth.name}")
        return "exact"
    for backend in BEST[kind]:
        missing = [source.name for source in NEEDS[backend] if not at_hand(source, wanted.place)]
        if not missing:
            break
    best = BEST[kind][0]
    why = "" if backend == best else f", for want of weights for {best} (--{kind} {best} gets them)"
    say(f"{kind}s: {backend}{why}")
    return backend
